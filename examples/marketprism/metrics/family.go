package metrics

import (
	"slices"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
)

// A Type is what Prometheus calls the type of a metric.
type Type string

// The types.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
)

// A Family is one metric: a row of the catalogue.
type Family struct {
	Name    string
	Type    Type
	Unit    string // "seconds", "bytes", "ratio", "" for a number of things
	Labels  []Label
	Help    string
	Buckets []float64 // upper bounds of a classic histogram; there is a native one as well
}

// LabelNames returns the names of the labels, in order.
func (f *Family) LabelNames() []string {
	names := make([]string, len(f.Labels))
	for i, l := range f.Labels {
		names[i] = l.Name
	}
	return names
}

// PerSymbol tells whether the family has series for each symbol.
func (f *Family) PerSymbol() bool {
	return slices.ContainsFunc(f.Labels, func(l Label) bool { return l.Name == "symbol" })
}

// A Label is a label with all values it can have. Values is nil where the configuration of the program
// decides them: markets, streams, consumers, symbols, and the tables and disks of a server.
type Label struct {
	Name   string
	Values []string
}

// Other is the value for what is in no closed set.
const Other = "other"

// Buckets of the histograms, in seconds unless they say otherwise.
var (
	networkBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	processBuckets = []float64{1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 1e-2}
	resyncBuckets  = []float64{.1, .25, .5, 1, 2, 5, 10, 30, 60, 120, 300}
	rowBuckets     = []float64{1, 10, 100, 1e3, 1e4, 1e5, 1e6}
)

// The labels and their closed sets.
var (
	venue    = []Label{{"exchange", []string{"binance"}}, {"market", nil}}
	symbol   = slices.Concat(venue, []Label{{"symbol", nil}})
	stream   = Label{"stream", nil}
	consumer = []Label{stream, {"consumer", nil}}
	table    = Label{"table", tables}
	service  = Label{"service", nil}

	connStates       = []string{"connected", "backoff", "closed"}
	reconnectReasons = []string{"read_error", "ping_timeout", "server_close", "stale", "dial_error", "max_age", "manual", "subscribe", Other}
	channels         = []string{"depth", "trade", "ticker", "control"}
	decodeChannels   = []string{"depth", "trade", "ticker", Other}
	dropReasons      = []string{"queue_full", "unknown_symbol"}
	endpoints        = []string{"depth", "exchangeInfo", "time", "trades", "aggTrades", Other}
	statusClasses    = []string{"2xx", "3xx", "4xx", "418", "429", "5xx", "error"}
	bookStates       = []string{"init", "buffering", "live", "stale"}
	gapReasons       = []string{"sequence", "disconnect", "overflow", "regressed", "removed", "stale", "invalid", Other}
	snapshotResults  = []string{"ok", "rate_limited", "timeout", "http_error", "decode_error", "cancelled", Other}
	updateResults    = []string{"applied", "old", "discarded"}
	sides            = []string{"bid", "ask"}
	levels           = []string{"DEBUG", "INFO", "WARN", "ERROR"}
	components       = []string{"collector", "syncer", "bus", "archive", "page", "main", Other}

	busErrors      = []string{"slow_consumer", "permission", Other}
	publishReasons = []string{"timeout", "no_responders", "max_payload", "stream_full", Other}
	ackKinds       = []string{"ack", "nak", "term", "in_progress"}
	tables         = []string{"depth_events", "book_snapshots", "trades", "tickers", "gaps", Other}
	dlqResults     = []string{"replayed", "discarded", "failed"}
)

func deadReasons() []string {
	return []string{string(natsbus.DeadDecode), string(natsbus.DeadRefused), string(natsbus.DeadExhausted),
		string(deadletter.MaxDeliveries), string(deadletter.Terminated), Other}
}

func storeReasons() (reasons []string) {
	for _, r := range chstore.Reasons() {
		reasons = append(reasons, string(r))
	}
	return reasons
}

func storeOps() (ops []string) {
	for _, op := range chstore.Ops() {
		ops = append(ops, string(op))
	}
	return append(ops, Other)
}

// known returns value if it is one of the closed set, and Other if not.
func known(value string, set []string) string {
	if slices.Contains(set, value) {
		return value
	}
	return Other
}
