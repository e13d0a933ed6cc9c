package monitoring

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/examples/marketprism/metrics"
)

// The names of the recording rules.
const (
	BooksLive    = "exchange_market:marketprism_books_live:ratio"
	GapRate      = "exchange_market:marketprism_syncer_gaps:rate5m"
	MessageRate  = "exchange_market_channel:marketprism_collector_messages_received:rate5m"
	RowRate      = "table:marketprism_store_inserted_rows:rate5m"
	InsertErrors = "table:marketprism_store_insert_errors:ratio_rate5m"
	ArchiveP99   = "table:marketprism_archiver_end_to_end_lag_seconds:p99_5m"
	PendingMax   = "stream_consumer:marketprism_consumer_pending_messages:max"
)

// A Recording is a rule that keeps the result of a query.
type Recording struct{ Name, Expr string }

// Recordings returns the recording rules of the present.
func Recordings() []Recording {
	return []Recording{
		{BooksLive, "sum by (exchange, market) (" + metrics.Books + `{state="live"}) / (sum by (exchange, market) (` + metrics.Books + ") > 0)"},
		{GapRate, "sum by (exchange, market) (rate(" + metrics.Gaps + "[5m]))"},
		{MessageRate, "sum by (exchange, market, channel) (rate(" + metrics.MessagesReceived + "[5m]))"},
		{RowRate, "sum by (table) (rate(" + metrics.StoreRows + "[5m]))"},
		{InsertErrors, "sum by (table) (rate(" + metrics.StoreErrors + "[5m])) / (sum by (table) (rate(" + metrics.StoreInserts + "[5m])) > 0)"},
		{ArchiveP99, quantile("0.99", "table", metrics.ArchiverLag, "5m")},
		{PendingMax, "max by (stream, consumer) (" + metrics.ConsumerPending + ")"},
	}
}

// BudgetRecordings returns the recording rules of the service levels. They look far back, so they are
// evaluated once a minute only.
func BudgetRecordings() (all []Recording) {
	for _, o := range Objectives() {
		for _, window := range windows {
			all = append(all, Recording{o.Recorded(window), o.Bad(window)})
		}
	}
	return all
}

// Alerts returns all alerts but the watchdog, by group.
func Alerts() []Alert {
	var all []Alert
	for _, g := range []struct {
		group, board string
		alerts       []Alert
	}{
		{"collector", "collector", collectorAlerts()},
		{"syncer", "collector", syncerAlerts()},
		{"bus", "bus", busAlerts()},
		{"archive", "archive", archiveAlerts()},
		{"slo", "slo", sloAlerts()},
		{"host", "host", hostAlerts()},
		{"meta", "monitoring", metaAlerts()},
	} {
		for _, a := range g.alerts {
			a.Group, a.Board = g.group, "marketprism-"+g.board
			all = append(all, a)
		}
	}
	return all
}

// Runbooks is where the sections of docs/runbooks.md are read, by the name of the alert in lower case.
const Runbooks = "https://github.com/marketprism/marketprism/blob/main/examples/marketprism/docs/runbooks.md#"

func (a *Alert) annotations(summary string) map[string]string {
	return map[string]string{"summary": summary, "runbook_url": Runbooks + strings.ToLower(a.Name), "dashboard": "/d/" + a.Board}
}

// labels are those that the rule adds. None may be a label of the series of any rule: two of these that
// differ in it alone would become one alert, and Prometheus refuses that.
func (a *Alert) labels() map[string]string {
	return map[string]string{"severity": a.Severity, "area": a.Group}
}

// watchdog is the alert that always fires.
func watchdog() Alert {
	const summary = "Always fires: its absence at the receiver means that alerts do not arrive"
	return Alert{Group: "watchdog", Name: "Watchdog", Expr: "vector(1)", Severity: "none", Summary: summary, Says: summary, Board: "marketprism-monitoring"}
}

// UnitTests returns the files below prometheus/rules/tests by their names: one for each step of time,
// since windows of days in steps of seconds take minutes.
func UnitTests() map[string][]byte {
	all := make(map[string][]Alert)
	for _, a := range append(Alerts(), watchdog()) {
		name := "alerts"
		if isOfBudget(a) {
			name = "budgets"
		}
		name += "_" + duration(a.step()) + ".yml"
		all[name] = append(all[name], a)
	}
	files := make(map[string][]byte)
	for name, alerts := range all {
		rules, _, _ := strings.Cut(name, "_")
		files[name] = encode(unitTests(alerts, "../recording.yml", "../"+rules+".yml"))
	}
	return files
}

// unitTests returns for each alert, all of one step, that it fires as soon as it has to and what it says
// then, that it is pending one evaluation before, and that it is quiet just inside each limit.
func unitTests(alerts []Alert, files ...string) testFile {
	file := testFile{RuleFiles: files, Interval: duration(alerts[0].step()), Order: []string{recordingGroup, budgetGroup}}
	for _, a := range alerts {
		if group := groupOf(a); !slices.Contains(file.Order, group) {
			file.Order = append(file.Order, group)
		}
		at := a.Since + a.For
		fires := a.test("fires in time", a.Fire, at, a.firing())
		if at > 0 {
			before := alertTest{At: moment(at - a.step()), Name: a.Name}
			fires.Alerts = append([]alertTest{before}, fires.Alerts...)
			if a.For > 0 {
				fires.Checks = []exprTest{{a.count("pending"), moment(at - a.step()), []sample{{"{}", 1}}}}
			}
		}
		file.Tests = append(file.Tests, fires)
		for i, quiet := range a.Quiet {
			file.Tests = append(file.Tests, a.test(fmt.Sprintf("is quiet just inside its limits (%d)", i+1), quiet, at))
		}
	}
	return file
}

func groupOf(a Alert) string { return "marketprism_" + a.Group }

func (a *Alert) count(state string) string {
	return fmt.Sprintf(`count(ALERTS{alertname="%s",alertstate="%s"})`, a.Name, state)
}

// firing is the alert as it arrives once Fire has made it fire.
func (a *Alert) firing() firingAlert {
	labels := a.labels()
	for _, pair := range strings.Split(a.On, ",") {
		if name, value, found := strings.Cut(pair, "="); found {
			labels[name] = strings.Trim(value, `"`)
		}
	}
	return firingAlert{labels, a.annotations(a.Says)}
}

func (a *Alert) test(what string, series []Series, at time.Duration, want ...firingAlert) ruleTest {
	t := ruleTest{Name: a.Name + " " + what, Interval: duration(a.step()), Alerts: []alertTest{{moment(at), a.Name, want}}}
	for _, s := range series {
		t.Series = append(t.Series, testSeries{s.Name, s.Values})
	}
	return t
}

// moment returns a time of a test as promtool reads it.
func moment(at time.Duration) string {
	if at == 0 {
		return "0s"
	}
	return duration(at)
}
