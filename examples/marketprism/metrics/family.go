package metrics

import (
	"math"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
)

// A Type is the Prometheus type of a metric.
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

// PerSymbol reports whether the family has series for each symbol.
func (f *Family) PerSymbol() bool {
	return slices.ContainsFunc(f.Labels, func(l Label) bool { return l.Name == "symbol" })
}

// A Label is a label with all its values. Values is nil if they depend on the configuration: markets, streams,
// consumers, symbols, and the tables and disks of a server.
type Label struct {
	Name   string
	Values []string
}

// Other is the value for anything outside a closed set.
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
	restPriorities   = priorityNames()
	snapshotResults  = []string{"ok", "rate_limited", "timeout", "http_error", "decode_error", "cancelled", Other}
	updateResults    = []string{"applied", "old", "discarded"}
	sides            = []string{"bid", "ask"}
	levels           = []string{"DEBUG", "INFO", "WARN", "ERROR"}
	components       = []string{"collector", "syncer", "bus", "archive", "page", "main", Other}

	busErrors      = []string{"slow_consumer", "permission", Other}
	publishReasons = []string{"timeout", "no_responders", "max_payload", "stream_full", Other}
	spillResults   = []string{"direct", "spilled", "drained", "refused", "dropped"}
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

// known returns value if it is in the closed set, and Other if not.
func known(value string, set []string) string {
	if slices.Contains(set, value) {
		return value
	}
	return Other
}

// A number is the value of a series that changes as things happen.
type number struct{ bits atomic.Uint64 }

func (n *number) get() float64  { return math.Float64frombits(n.bits.Load()) }
func (n *number) set(v float64) { n.bits.Store(math.Float64bits(v)) }
func (n *number) inc()          { n.add(1) }

func (n *number) add(v float64) {
	for {
		old := n.bits.Load()
		if n.bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// A series is a number with its name and labels.
type series struct {
	name   string
	labels []string
	number number
}

// A closedSet is the series of a family by the value of its last label.
type closedSet struct{ numbers map[string]*number }

// of returns the series of a value, or of Other.
func (s closedSet) of(value string) *number {
	if n := s.numbers[value]; n != nil {
		return n
	}
	return s.numbers[Other]
}

// The names of the metrics. The dashboards are built from these constants.
const (
	BuildInfo        = "marketprism_build_info"
	ServiceHeartbeat = "marketprism_service_heartbeat_timestamp_seconds"
	LogMessages      = "marketprism_log_messages_total"

	ConnectionStatus = "marketprism_collector_connection_status"
	Connections      = "marketprism_collector_connections"
	Reconnects       = "marketprism_collector_reconnects_total"
	MessagesReceived = "marketprism_collector_messages_received_total"
	ReceivedBytes    = "marketprism_collector_received_bytes_total"
	DecodeErrors     = "marketprism_collector_decode_errors_total"
	DroppedMessages  = "marketprism_collector_dropped_messages_total"
	LastMessage      = "marketprism_collector_last_message_timestamp_seconds"
	EventLag         = "marketprism_collector_event_lag_seconds"
	ClockOffset      = "marketprism_collector_clock_offset_seconds"
	QueueLength      = "marketprism_collector_queue_length"
	QueueCapacity    = "marketprism_collector_queue_capacity"
	QueueWaits       = "marketprism_collector_queue_waits_total"
	Pauses           = "marketprism_collector_pauses_total"
	RestRequests     = "marketprism_collector_rest_requests_total"
	RestDuration     = "marketprism_collector_rest_request_duration_seconds"
	RestUsedWeight   = "marketprism_collector_rest_used_weight"
	RestWeightLimit  = "marketprism_collector_rest_weight_limit"
	RestQueue        = "marketprism_collector_rest_queue_length"
	RestBlockedUntil = "marketprism_collector_rest_blocked_until_timestamp_seconds"

	Books            = "marketprism_syncer_books"
	Gaps             = "marketprism_syncer_gaps_total"
	Resyncs          = "marketprism_syncer_resyncs_total"
	ResyncDuration   = "marketprism_syncer_resync_duration_seconds"
	Snapshots        = "marketprism_syncer_snapshots_total"
	Updates          = "marketprism_syncer_updates_total"
	ApplyDuration    = "marketprism_syncer_apply_duration_seconds"
	BufferedUpdates  = "marketprism_syncer_buffered_updates"
	CrossedBooks     = "marketprism_syncer_crossed_books_total"
	AuditDifferences = "marketprism_syncer_audit_differences_total"
	CappedLevels     = "marketprism_syncer_capped_levels_total"
	RefusedNames     = "marketprism_syncer_refused_names_total"
	LeftOutNames     = "marketprism_syncer_left_out_names"

	BookSynced     = "marketprism_book_synced"
	BookLastUpdate = "marketprism_book_last_update_timestamp_seconds"
	BookUpdates    = "marketprism_book_updates_total"
	BookGaps       = "marketprism_book_gaps_total"
	BookMid        = "marketprism_book_mid_price"
	BookSpread     = "marketprism_book_spread_ratio"
	BookDepth      = "marketprism_book_depth_quote"
	Trades         = "marketprism_trades_total"
	TradesVolume   = "marketprism_trades_quote_volume_total"

	BusStatus      = "marketprism_bus_connection_status"
	BusReconnects  = "marketprism_bus_reconnects_total"
	BusErrors      = "marketprism_bus_async_errors_total"
	StreamMessages = "marketprism_stream_messages"
	StreamBytes    = "marketprism_stream_bytes"
	StreamMaxBytes = "marketprism_stream_max_bytes"

	PublisherMessages   = "marketprism_publisher_messages_total"
	PublisherBytes      = "marketprism_publisher_bytes_total"
	PublisherErrors     = "marketprism_publisher_errors_total"
	PublisherDuplicates = "marketprism_publisher_duplicates_total"
	PublisherSuppressed = "marketprism_publisher_suppressed_total"
	PublisherRetries    = "marketprism_publisher_retries_total"
	PublisherInflight   = "marketprism_publisher_inflight_messages"
	PublisherAck        = "marketprism_publisher_ack_duration_seconds"

	SpillAway        = "marketprism_spill_away"
	SpillBehind      = "marketprism_spill_behind"
	SpillQueued      = "marketprism_spill_queued_records"
	SpillQueuedBytes = "marketprism_spill_queued_bytes"
	SpillMaxBytes    = "marketprism_spill_max_bytes"
	SpillRecords     = "marketprism_spill_records_total"
	SpillRetries     = "marketprism_spill_retries_total"
	SpillFull        = "marketprism_spill_full_total"
	SpillCorrupt     = "marketprism_spill_corrupt_total"
	SpillKept        = "marketprism_spill_kept_files"
	SpillUnkept      = "marketprism_spill_unkept_total"

	ConsumerMessages     = "marketprism_consumer_messages_total"
	ConsumerRedeliveries = "marketprism_consumer_redeliveries_total"
	ConsumerAcks         = "marketprism_consumer_acks_total"
	ConsumerPending      = "marketprism_consumer_pending_messages"
	ConsumerAckPending   = "marketprism_consumer_ack_pending_messages"
	ConsumerInfo         = "marketprism_consumer_info_timestamp_seconds"
	ConsumerLag          = "marketprism_consumer_delivery_lag_seconds"
	ConsumerHandle       = "marketprism_consumer_handle_duration_seconds"

	DeadLetters         = "marketprism_dlq_messages"
	DeadLettersTotal    = "marketprism_dlq_published_total"
	DeadLetterOldest    = "marketprism_dlq_oldest_message_timestamp_seconds"
	DeadLetterProcessed = "marketprism_dlq_processed_total"
	DeadLetterErrors    = "marketprism_dlq_publish_errors_total"

	ArchiverHeartbeat = "marketprism_archiver_heartbeat_timestamp_seconds"
	ArchiverRows      = "marketprism_archiver_buffered_rows"
	ArchiverBytes     = "marketprism_archiver_buffered_bytes"
	ArchiverBatch     = "marketprism_archiver_batch_rows"
	ArchiverWatermark = "marketprism_archiver_watermark_timestamp_seconds"
	ArchiverLag       = "marketprism_archiver_end_to_end_lag_seconds"

	StoreStatus     = "marketprism_store_connection_status"
	StoreInserts    = "marketprism_store_inserts_total"
	StoreRetries    = "marketprism_store_insert_retries_total"
	StoreErrors     = "marketprism_store_insert_errors_total"
	StoreRows       = "marketprism_store_inserted_rows_total"
	StoreBytes      = "marketprism_store_inserted_bytes_total"
	StoreInsert     = "marketprism_store_insert_duration_seconds"
	StoreQuery      = "marketprism_store_query_duration_seconds"
	StoreParts      = "marketprism_store_active_parts"
	StoreTableRows  = "marketprism_store_table_rows"
	StoreTableBytes = "marketprism_store_table_bytes"
	StoreTierBytes  = "marketprism_store_tier_bytes"
	StoreDiskFree   = "marketprism_store_disk_free_bytes"
	StoreDiskTotal  = "marketprism_store_disk_total_bytes"
)

func (f Family) valueType() prometheus.ValueType {
	if f.Type == Counter {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}

// priorityNames returns the names of the priorities of REST requests, the most urgent first.
func priorityNames() (names []string) {
	for p := binance.PriorityGap; p <= binance.PriorityPoll; p++ {
		names = append(names, p.String())
	}
	return names
}
