package monitoring

import (
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/examples/marketprism/metrics"
)

// An Objective is a service level: which share of something may be bad over 30 days.
type Objective struct {
	Name   string // of its alerts: Name + "BudgetBurn" + pace
	Title  string
	Target float64 // the good share
	Record string  // the bad share of a window is recorded as this and the window

	// Bad is the bad share over a window, in PromQL.
	Bad  func(window string) string
	says string // what the bad share is of, in the summary

	// series are samples with these bad shares, for the unit tests, and on are their labels.
	series func(...stretch) []Series
	on     string
}

// Budget is the bad share that the objective allows.
func (o *Objective) Budget() float64 { return round(1 - o.Target) }

// Recorded names the recording rule of a window.
func (o *Objective) Recorded(window string) string { return o.Record + window }

// windows are those that the bad share is recorded over.
var windows = []string{"5m", "30m", "1h", "6h", "3d"}

// Objectives returns all service levels; docs/slo.md explains them.
func Objectives() []Objective {
	ratio := func(by, bad, all string) func(string) string {
		return func(window string) string {
			return "sum by (" + by + ") (rate(" + bad + "[" + window + "])) / (sum by (" + by + ") (rate(" + all + "[" + window + "])) > 0)"
		}
	}
	const stream, depth = `stream="MD_BOOKS"`, `table="depth_events"`
	return []Objective{
		{
			Name: "BookSync", Title: "Books in sync", Target: 0.999, Record: "exchange_market:marketprism_books_not_live:ratio_avg",
			Bad:  func(window string) string { return "1 - avg_over_time(" + BooksLive + "[" + window + "])" },
			on:   `exchange="binance",market="spot"`,
			says: "the books of {{ $labels.exchange }} {{ $labels.market }} were not known",
			series: func(s ...stretch) []Series {
				return []Series{spot(metrics.Books, level(s, 100000, 0), "state", "live"), spot(metrics.Books, level(s, 0, 100000), "state", "stale")}
			},
		}, {
			Name: "ArchiveLatency", Title: "Archived in time", Target: 0.99, Record: "table:marketprism_archive_late:ratio_rate",
			Bad: func(window string) string {
				// Prometheus 3 writes the bound as 10.0, Prometheus 2 as it was scraped.
				return "1 - " + ratio("table", metrics.ArchiverLag+`_bucket{le=~"10(\\.0)?"}`, metrics.ArchiverLag+"_count")(window)
			},
			on:   depth,
			says: "the rows of {{ $labels.table }} came later than 10 s",
			series: func(s ...stretch) []Series {
				return []Series{of(metrics.ArchiverLag+"_bucket", depth+`,le="10"`, count(s, 100000, 0)), of(metrics.ArchiverLag+"_count", depth, count(s, 100000, 100000))}
			},
		}, {
			Name: "Publish", Title: "Confirmed by the bus", Target: 0.9999, Record: "stream:marketprism_publish_failed:ratio_rate",
			Bad:  ratio("stream", metrics.PublisherErrors, metrics.PublisherMessages),
			on:   stream,
			says: "the messages to {{ $labels.stream }} were not confirmed at first",
			series: func(s ...stretch) []Series {
				return []Series{of(metrics.PublisherErrors, stream+`,reason="timeout"`, count(s, 0, 100000)), of(metrics.PublisherMessages, stream, count(s, 100000, 100000))}
			},
		}, {
			Name: "ArchiveLoss", Title: "Archive complete", Target: 0.9999, Record: "stream:marketprism_dead_letters:ratio_rate",
			Bad:  ratio("stream", metrics.DeadLettersTotal, metrics.ConsumerMessages),
			on:   stream,
			says: "the messages of {{ $labels.stream }} became dead letters",
			series: func(s ...stretch) []Series {
				return []Series{of(metrics.DeadLettersTotal, stream+`,reason="refused"`, count(s, 0, 100000)), of(metrics.ConsumerMessages, stream+`,consumer="archive"`, count(s, 100000, 100000))}
			},
		},
	}
}

// A pace is how fast a budget may be used up: so many times faster than it lasts for 30 days, over a
// long window and, so that the alert ends soon after its cause has, over a short one as well. The three
// are those of the Site Reliability Workbook, chapter 5.
type pace struct {
	name        string
	burn        float64
	long, short string
	length      time.Duration // of the long window
	brief       time.Duration // of the short one
	wait        time.Duration
	severity    string
	step        time.Duration // of the unit tests: windows of days in steps of seconds take minutes
}

var paces = []pace{
	{"Fast", 14.4, "1h", "5m", time.Hour, 5 * minute, 2 * minute, critical, minute},
	{"Slow", 6, "6h", "30m", 6 * time.Hour, 30 * minute, 15 * minute, warning, 3 * minute},
	{"Steady", 1, "3d", "6h", 72 * time.Hour, 6 * time.Hour, time.Hour, warning, 15 * minute},
}

// outage is how fast the fault of the unit tests uses up a budget.
const outage = 100

func sloAlerts() (all []Alert) {
	for _, o := range Objectives() {
		for _, p := range paces {
			all = append(all, o.alert(p))
		}
	}
	return all
}

// alert returns the alert of a pace. Its fault begins once there is a whole window of good samples, and
// goes on until the long window has used up its share.
func (o *Objective) alert(p pace) Alert {
	limit, bad := round(p.burn*o.Budget()), o.Budget()*outage
	long, short, wait := int(p.length/p.step), int(p.brief/p.step), int(p.wait/p.step)
	needed := int(float64(long)*p.burn/outage) + 1 // steps of the fault that are more than the long window's share
	at := long + needed - 1 + wait
	noticed := needed * 3 / 2
	return Alert{
		Name: o.Name + "BudgetBurn" + p.name, Severity: p.severity, For: p.wait, Step: p.step,
		Expr: o.Recorded(p.long) + " > {0} and " + o.Recorded(p.short) + " > {0}", Limits: limits(limit),
		Summary: o.summary(p), Says: withLabels(o.summary(p), o.on),
		Fire: o.series(stretch{long, 0}, stretch{at, bad}), Since: time.Duration(long+needed-1) * p.step, On: o.on,
		Quiet: [][]Series{
			o.series(stretch{at + 1, limit * 0.98}),                                                                 // always, and just not enough
			o.series(stretch{at + 1 - 4*(needed-1), 0}, stretch{4 * (needed - 1), bad / 4}),                         // enough for the short window alone
			o.series(stretch{at - noticed - short, 0}, stretch{noticed, bad}, stretch{short + 1, 0}, stretch{1, 0}), // over, and the long window still full of it
		},
	}
}

func (o *Objective) summary(p pace) string {
	return "Too many of " + o.says + " within " + p.long + ": so the budget of 30 days lasts for less than " + lasts(p.burn)
}

// withLabels puts the values of labels into a summary.
func withLabels(summary, labels string) string {
	for _, pair := range strings.Split(labels, ",") {
		name, value, _ := strings.Cut(pair, "=")
		summary = strings.ReplaceAll(summary, "{{ $labels."+name+" }}", strings.Trim(value, `"`))
	}
	return summary
}

// lasts is for how long a budget of 30 days lasts.
func lasts(burn float64) string {
	if days := 30 / burn; days >= 3 {
		return number(days) + " days"
	}
	return number(float64(int(30*24/burn))) + " hours"
}

// A stretch is a number of steps with one bad share.
type stretch struct {
	steps int
	bad   float64
}

// level returns a gauge that is at good without a fault, and at bad with nothing else.
func level(stretches []stretch, good, bad float64) string {
	var parts []string
	for _, s := range stretches {
		parts = append(parts, number(good+(bad-good)*s.bad)+"x"+strconv.Itoa(s.steps-1))
	}
	return strings.Join(parts, " ")
}

// count returns a counter that grows each step by good without a fault, and by bad with nothing else.
func count(stretches []stretch, good, bad float64) string {
	var parts []string
	at := 0.0
	for _, s := range stretches {
		by := good + (bad-good)*s.bad
		parts = append(parts, number(at+by)+"+"+number(by)+"x"+strconv.Itoa(s.steps-1))
		at += by * float64(s.steps)
	}
	return strings.Join(parts, " ")
}

// round takes the noise of binary fractions from a limit.
func round(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	if err != nil {
		panic(err) // it was a number a moment ago
	}
	return r
}
