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

// lateRatio names the share of rows stored later than 10 s after the event.
func lateRatio(window string) string { return "table:marketprism_archive_late:ratio_rate" + window }

// A Recording is a rule that keeps the result of a query.
type Recording struct{ Name, Expr string }

// Recordings returns all recording rules.
func Recordings() []Recording {
	all := []Recording{
		{BooksLive, "sum by (exchange, market) (" + metrics.Books + `{state="live"}) / (sum by (exchange, market) (` + metrics.Books + ") > 0)"},
		{GapRate, "sum by (exchange, market) (rate(" + metrics.Gaps + "[5m]))"},
		{MessageRate, "sum by (exchange, market, channel) (rate(" + metrics.MessagesReceived + "[5m]))"},
		{RowRate, "sum by (table) (rate(" + metrics.StoreRows + "[5m]))"},
		{InsertErrors, "sum by (table) (rate(" + metrics.StoreErrors + "[5m])) / (sum by (table) (rate(" + metrics.StoreInserts + "[5m])) > 0)"},
		{ArchiveP99, quantile("0.99", "table", metrics.ArchiverLag, "5m")},
		{PendingMax, "max by (stream, consumer) (" + metrics.ConsumerPending + ")"},
	}
	for _, window := range []string{"5m", "30m", "1h", "6h", "3d"} {
		// Prometheus 3 writes the bound as 10.0, Prometheus 2 as it was scraped.
		all = append(all, Recording{lateRatio(window), "1 - sum by (table) (rate(" + metrics.ArchiverLag + `_bucket{le=~"10(\\.0)?"}[` + window +
			"])) / (sum by (table) (rate(" + metrics.ArchiverLag + "_count[" + window + "])) > 0)"})
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

// anchor is where docs/runbooks.md speaks of the alert.
func (a *Alert) anchor() string { return "docs/runbooks.md#" + strings.ToLower(a.Name) }
