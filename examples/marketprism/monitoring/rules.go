package monitoring

import (
	"strings"

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
