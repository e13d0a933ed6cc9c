package monitoring

import (
	"slices"

	"github.com/marketprism/marketprism/examples/marketprism/metrics"
)

// Selectors of the variables.
const (
	proc  = `{job=~"$job",instance=~"$instance"}`
	venue = `{job=~"$job",instance=~"$instance",exchange=~"$exchange",market=~"$market"}`
)

func rate(name, selector string) string { return "rate(" + name + selector + "[$__rate_interval])" }

func sumRate(by, name, selector string) string {
	return "sum by (" + by + ") (" + rate(name, selector) + ")"
}

// percentiles are the p50 and the p99 of a histogram.
func percentiles(by, name, selector, legend string) []Target {
	var all []Target
	for _, q := range []struct{ q, name string }{{"0.5", "p50"}, {"0.99", "p99"}} {
		all = append(all, Target{"histogram_quantile(" + q.q + ", sum by (" + by + ", le) (" + rate(name+"_bucket", selector) + "))", q.name + " " + legend})
	}
	return all
}

func graph(title, unit, help string, queries ...Target) Panel {
	return Panel{Kind: "timeseries", Title: title, Unit: unit, Help: help, Queries: queries}
}

func stat(title, unit, help, good, expr string) Panel {
	return Panel{Kind: "stat", Title: title, Unit: unit, Help: help, Good: good, Queries: []Target{{expr, ""}}}
}

// Boards returns all dashboards.
func Boards() []Board {
	return []Board{overviewBoard(), collectorBoard(), busBoard(), archiveBoard(), marketBoard(), sloBoard(), hostBoard(), logsBoard(), monitoringBoard()}
}

func overviewBoard() Board {
	const where = "{{exchange}} {{market}}"
	return Board{UID: "overview", Title: "Overview", Panels: []Panel{
		stat("Exchange connection", "none", "1 if every required connection is open.", "1", "min("+metrics.ConnectionStatus+venue+")"),
		stat("Books live", "percentunit", "Share of synced books.", "0.95", "min("+BooksLive+`{exchange=~"$exchange",market=~"$market"})`),
		stat("Feed age", "s", "Time since the last event.", "<30", "max(time() - "+metrics.LastMessage+venue+")"),
		stat("Dead letters", "short", "Messages in the dead-letter stream.", "<1", "max("+metrics.DeadLetters+proc+")"),
		stat("Archiver heartbeat age", "s", "Time since the last progress.", "<120", "max(time() - "+metrics.ArchiverHeartbeat+proc+")"),
		stat("Firing alerts", "short", "Without the watchdog.", "<1", `sum(ALERTS{alertstate="firing",alertname!="Watchdog"}) or vector(0)`),
		graph("Messages", "ops", "Messages received by channel.", Target{"sum by (channel) (" + MessageRate + `{exchange=~"$exchange",market=~"$market"})`, "{{channel}}"}),
		graph("From exchange to archive", "s", "Time from an event to the confirmation of its INSERT.", percentiles("table", metrics.ArchiverLag, proc, "{{table}}")...),
		graph("Gaps and resyncs", "ops", "Books lost, and resyncs by reason.", Target{sumRate("exchange, market", metrics.Gaps, venue), "gaps " + where},
			Target{sumRate("reason", metrics.Resyncs, venue), "{{reason}}"}),
		graph("Consumer lag", "short", "Messages not yet delivered.", Target{PendingMax, "{{consumer}} {{stream}}"}),
		graph("Rows stored", "ops", "Rows confirmed by table.", Target{RowRate, "{{table}}"}),
		graph("Insert errors", "percentunit", "Share of failed inserts.", Target{InsertErrors, "{{table}}"}),
		{Kind: "table", Title: "Stalest books", Unit: "s", Help: "Time since the book's last change; long for quiet symbols.",
			Queries: []Target{{"topk(10, time() - " + metrics.BookLastUpdate + venue + ")", ""}}},
		{Kind: "logs", Title: "Errors", Unit: "none", Help: "Log lines of level error.", Queries: []Target{{`{service_name="marketprism"} | detected_level="error"`, ""}}},
	}}
}

func collectorBoard() Board {
	const where = "{{exchange}} {{market}}"
	return Board{UID: "collector", Title: "Collector and books", Panels: []Panel{
		graph("Connections", "short", "By state.", Target{"sum by (market, state) (" + metrics.Connections + venue + ")", "{{market}} {{state}}"}),
		graph("Reconnects", "ops", "By reason; max_age is planned.", Target{sumRate("reason", metrics.Reconnects, venue), "{{reason}}"}),
		graph("Bytes received", "Bps", "From the exchange.", Target{sumRate("market", metrics.ReceivedBytes, venue), "{{market}}"}),
		{Kind: "heatmap", Title: "Event lag", Unit: "s", Help: "Receipt minus the exchange's time of the event.",
			Queries: []Target{{"sum by (le) (" + rate(metrics.EventLag+"_bucket", venue) + ")", "{{le}}"}}},
		graph("Clock offset", "s", "The exchange's clock minus the local one.", Target{metrics.ClockOffset + venue, where}),
		graph("Queue to the books", "percentunit", "Fill; when it is full the exchange has to hold the rest, for less than a minute on spot.", Target{metrics.QueueLength + venue + " / (" + metrics.QueueCapacity + venue + " > 0)", where}),
		graph("Pauses", "ops", "Books that went on late, and connections that waited for them.", Target{sumRate("market", metrics.Pauses, venue), "late {{market}}"},
			Target{sumRate("market", metrics.QueueWaits, venue), "waits {{market}}"}),
		graph("Request weight", "percentunit", "Used of the minute's limit.", Target{metrics.RestUsedWeight + venue + " / (" + metrics.RestWeightLimit + venue + " > 0)", where}),
		graph("REST requests", "ops", "By endpoint and status.", Target{sumRate("endpoint, code", metrics.RestRequests, venue), "{{endpoint}} {{code}}"}),
		graph("REST time", "s", "Until the headers of the answer.", percentiles("endpoint", metrics.RestDuration, venue, "{{endpoint}}")...),
		graph("Snapshots", "ops", "By result.", Target{sumRate("result", metrics.Snapshots, venue), "{{result}}"}),
		graph("Resync time", "s", "Until a book is synced again.", percentiles("market", metrics.ResyncDuration, venue, "{{market}}")...),
		graph("Books by state", "short", "The sum is the number of books.", Target{"sum by (state) (" + metrics.Books + venue + ")", "{{state}}"}),
		graph("Gaps by symbol", "ops", "The ten with the most.", Target{"topk(10, " + rate(metrics.BookGaps, venue) + ")", "{{symbol}}"}),
		graph("Updates", "ops", "Given to the books, by result.", Target{sumRate("result", metrics.Updates, venue), "{{result}}"}),
		graph("Time to apply", "s", "From receipt of an update to its record.", percentiles("market", metrics.ApplyDuration, venue, "{{market}}")...),
		graph("Differences found", "short", "Levels that differ from a new snapshot, and books that differ from bookTicker.",
			Target{"sum by (market) (increase(" + metrics.AuditDifferences + venue + "[$__range]))", "levels {{market}}"},
			Target{"sum by (market) (increase(" + metrics.CrossedBooks + venue + "[$__range]))", "bookTicker {{market}}"}),
		graph("Lost messages", "ops", "Dropped by reason, undecodable by channel.", Target{sumRate("reason", metrics.DroppedMessages, venue), "{{reason}}"},
			Target{sumRate("channel", metrics.DecodeErrors, venue), "undecodable {{channel}}"}),
		graph("Updates buffered until a snapshot", "short", "Bounded for each book.", Target{metrics.BufferedUpdates + venue, where}),
	}}
}

func busBoard() Board {
	const stream, consumer = "{{stream}}", "{{consumer}} {{stream}}"
	return Board{UID: "bus", Title: "Bus", Panels: []Panel{
		stat("Connected", "none", "1 if NATS is connected.", "1", "min("+metrics.BusStatus+proc+")"),
		stat("Dead letters", "short", "Messages in the dead-letter stream.", "<1", "max("+metrics.DeadLetters+proc+")"),
		stat("Oldest dead letter", "s", "Its age.", "<3600", "max((time() - "+metrics.DeadLetterOldest+proc+") * ("+metrics.DeadLetterOldest+proc+" > bool 0))"),
		stat("Bus away", "none", "1 if the bus does not accept the records of a collector.", "<1", "max("+metrics.SpillAway+proc+")"),
		stat("Disk queue behind", "none", "1 if records go through the disk queue of a collector.", "<1", "max("+metrics.SpillBehind+proc+")"),
		graph("Disk queue", "short", "Records in it.", Target{metrics.SpillQueued + proc, "{{instance}}"}),
		graph("Disk queue fill", "percentunit", "Of the bytes it may hold.", Target{metrics.SpillQueuedBytes + proc + " / (" + metrics.SpillMaxBytes + proc + " > 0)", "{{instance}}"}),
		graph("Through the disk queue", "ops", "Records accepted directly, put on disk, accepted from there, refused, dropped.", Target{sumRate("result", metrics.SpillRecords, proc), "{{result}}"}),
		graph("Faults of the disk queue", "short", "Damaged places, writes without room, and bytes that were not kept.", Target{"increase(" + metrics.SpillCorrupt + proc + "[$__range])", "damaged {{instance}}"},
			Target{"increase(" + metrics.SpillFull + proc + "[$__range])", "full {{instance}}"}, Target{"increase(" + metrics.SpillUnkept + proc + "[$__range])", "not kept {{instance}}"}),
		graph("Published", "ops", "Messages sent to the stream.", Target{sumRate("stream", metrics.PublisherMessages, proc), stream}),
		graph("Not confirmed", "ops", "By reason; they are retried.", Target{sumRate("stream, reason", metrics.PublisherErrors, proc), stream + " {{reason}}"}),
		graph("Time to confirm", "s", "Until the stream confirms a message.", percentiles("stream", metrics.PublisherAck, proc, stream)...),
		graph("In flight", "short", "Sent and not confirmed.", Target{metrics.PublisherInflight + proc, stream}),
		graph("Copies and retries", "ops", "Messages the stream had already, writes continued.", Target{sumRate("stream", metrics.PublisherDuplicates, proc), "copies " + stream},
			Target{sumRate("stream", metrics.PublisherRetries, proc), "retries " + stream}),
		graph("Bytes published", "Bps", "With subjects and headers.", Target{sumRate("stream", metrics.PublisherBytes, proc), stream}),
		graph("Stream size", "bytes", "Bytes in the stream.", Target{metrics.StreamBytes + proc, stream}),
		graph("Stream fill", "percentunit", "Of the bytes it may hold.", Target{metrics.StreamBytes + proc + " / (" + metrics.StreamMaxBytes + proc + " > 0)", stream}),
		graph("Messages in the stream", "short", "Until their age limit.", Target{metrics.StreamMessages + proc, stream}),
		graph("Pending", "short", "Not delivered, and delivered but not acknowledged.", Target{metrics.ConsumerPending + proc, consumer},
			Target{metrics.ConsumerAckPending + proc, "unacknowledged " + consumer}),
		graph("Age of these figures", "s", "Since the server last reported them.", Target{"time() - " + metrics.ConsumerInfo + proc, consumer}),
		graph("Delivery lag", "s", "From the stream to the consumer.", percentiles("consumer, stream", metrics.ConsumerLag, proc, consumer)...),
		graph("Time of the sink", "s", "For a batch.", percentiles("consumer, stream", metrics.ConsumerHandle, proc, consumer)...),
		graph("Replies", "ops", "Acknowledgements by kind.", Target{sumRate("kind", metrics.ConsumerAcks, proc), "{{kind}}"}),
		graph("Repeated deliveries", "percentunit", "Share of all deliveries.", Target{sumRate("consumer, stream", metrics.ConsumerRedeliveries, proc) + " / (" + sumRate("consumer, stream", metrics.ConsumerMessages, proc) + " > 0)", consumer}),
		graph("Dead letters", "ops", "By reason, and by result.", Target{sumRate("reason", metrics.DeadLettersTotal, proc), "{{reason}}"},
			Target{sumRate("result", metrics.DeadLetterProcessed, proc), "{{result}}"},
			Target{sumRate("consumer, stream", metrics.DeadLetterErrors, proc), "not stored " + consumer}),
		graph("Connection", "short", "Reconnects and errors that NATS reported.", Target{"increase(" + metrics.BusReconnects + proc + "[$__range])", "reconnects {{instance}}"},
			Target{"sum by (type) (increase(" + metrics.BusErrors + proc + "[$__range]))", "{{type}}"}),
	}}
}

func archiveBoard() Board {
	const table = "{{table}}"
	return Board{UID: "archive", Title: "Archive", Panels: []Panel{
		stat("ClickHouse", "none", "1 if it answers.", "1", "min("+metrics.StoreStatus+proc+")"),
		stat("Heartbeat age", "s", "Since the archiver's last progress.", "<120", "max(time() - "+metrics.ArchiverHeartbeat+proc+")"),
		graph("Rows", "ops", "Confirmed.", Target{sumRate("table", metrics.StoreRows, proc), table}),
		graph("Bytes", "Bps", "Of these rows in memory.", Target{sumRate("table", metrics.StoreBytes, proc), table}),
		graph("Rows of an INSERT", "short", "Small ones cost parts.", percentiles("table", metrics.ArchiverBatch, proc, table)...),
		graph("Time of an INSERT", "s", "Confirmed ones.", percentiles("table", metrics.StoreInsert, proc, table)...),
		graph("Inserts", "ops", "Attempts, and repeated ones.", Target{sumRate("table", metrics.StoreInserts, proc), table}, Target{sumRate("table", metrics.StoreRetries, proc), "repeated " + table}),
		graph("Errors", "ops", "By reason.", Target{sumRate("reason", metrics.StoreErrors, proc), "{{reason}}"}),
		graph("Not yet stored", "short", "Rows the archiver holds.", Target{metrics.ArchiverRows + proc, table}),
		graph("Size of rows not yet stored", "bytes", "Approximate.", Target{metrics.ArchiverBytes + proc, table}),
		graph("Age of the newest row", "s", "By the exchange's clock.", Target{"time() - (" + metrics.ArchiverWatermark + proc + " > 0)", table}),
		graph("From exchange to archive", "s", "Time from an event to the confirmation of its INSERT.", percentiles("table", metrics.ArchiverLag, proc, table)...),
		graph("Parts", "short", "Active; from 3,000 on inserts are rejected.", Target{metrics.StoreParts + proc, table}),
		graph("Rows in the tables", "short", "In all.", Target{metrics.StoreTableRows + proc, table}),
		graph("Bytes on disk", "bytes", "Compressed.", Target{metrics.StoreTableBytes + proc, table}),
		graph("Tiers", "bytes", "By volume, such as hot and cold.", Target{metrics.StoreTierBytes + proc, table + " {{volume}}"}),
		graph("Free disk", "percentunit", "Of the server's disks.", Target{metrics.StoreDiskFree + proc + " / " + metrics.StoreDiskTotal + proc, "{{disk}}"}),
		graph("Free disk in a week", "bytes", "Extrapolated from the last 6 hours.", Target{"predict_linear(" + metrics.StoreDiskFree + proc + "[6h], 604800)", "{{disk}}"}),
		graph("Query time", "s", "By operation.", percentiles("op", metrics.StoreQuery, proc, "{{op}}")...),
	}}
}

func marketBoard() Board {
	const symbol = "{{symbol}}"
	return Board{UID: "market", Title: "Market", Panels: []Panel{
		stat("Books followed", "short", "Of the chosen markets.", "", "sum("+metrics.Books+venue+")"),
		stat("Moved in the last minute", "percentunit", "Share of the books with an update.", "", "avg((time() - "+metrics.BookLastUpdate+venue+") < bool 60)"),
		stat("Synced", "percentunit", "Share of the books.", "0.95", "avg("+metrics.BookSynced+venue+")"),
		graph("Mid price", "short", "In quote currency, of chosen symbols.", Target{metrics.BookMid + venue, symbol}),
		graph("Spread", "short", "In basis points of the mid price.", Target{metrics.BookSpread + venue + " * 1e4", symbol}),
		graph("Depth", "short", "Within 0.1% of the mid price, in quote currency.", Target{metrics.BookDepth + venue, symbol + " {{side}}"}),
		graph("Trades", "ops", "Each once.", Target{sumRate("market", metrics.Trades, venue), "{{market}}"}),
		graph("Volume", "short", "In quote currency, over an hour.", Target{"increase(" + metrics.TradesVolume + venue + "[1h])", symbol}),
		graph("Most active", "ops", "Updates of the ten busiest books.", Target{"topk(10, " + rate(metrics.BookUpdates, venue) + ")", symbol}),
	}}
}

func sloBoard() Board {
	left := graph("Budget left", "percentunit", "Of 30 days; 1 is the whole budget, below 0 the objective is missed.")
	var stats, burns []Panel
	for _, o := range Objectives() {
		bad := "max(" + o.Bad("30d") + ")"
		good := number(o.Target)
		stats = append(stats, stat(o.Title, "percentunit", "Over 30 days; the objective is "+number(o.Target*100)+"%.", good, "1 - "+bad))
		left.Queries = append(left.Queries, Target{"1 - " + bad + " / " + number(o.Budget()), o.Title})
		burn := graph("Burn rate: "+o.Title, "short", "1 uses up the budget in 30 days; above 14.4 over an hour the alert pages.")
		for _, window := range windows {
			burn.Queries = append(burn.Queries, Target{"max(" + o.Recorded(window) + ") / " + number(o.Budget()), window})
		}
		burns = append(burns, burn)
	}
	return Board{UID: "slo", Title: "SLO", Panels: slices.Concat(stats, []Panel{left}, burns)}
}

func hostBoard() Board {
	const host = "{{instance}}"
	return Board{UID: "host", Title: "Host and runtime", Panels: []Panel{
		graph("Processors", "percentunit", "Busy.", Target{`1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))`, host}),
		graph("Memory", "percentunit", "Available.", Target{"node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", host}),
		graph("Disk", "percentunit", "Free.", Target{`node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs"} / node_filesystem_size_bytes`, "{{mountpoint}}"}),
		graph("Network", "Bps", "Received.", Target{`sum by (instance) (rate(node_network_receive_bytes_total{device!="lo"}[$__rate_interval]))`, host}),
		graph("Pressure", "percentunit", "Share of time in which a task waited for a processor.", Target{"rate(node_pressure_cpu_waiting_seconds_total[$__rate_interval])", host}),
		graph("Heap", "bytes", "Of the Go runtime.", Target{"go_memstats_heap_inuse_bytes" + proc, host}),
		graph("Goroutines", "short", "Of the Go runtime.", Target{"go_goroutines" + proc, host}),
		graph("Garbage collection", "s", "Pauses; the longest of a scrape.", Target{`max by (instance) (go_gc_duration_seconds{job=~"$job",instance=~"$instance",quantile="1"})`, host}),
		graph("Open files", "short", "Of the process.", Target{"process_open_fds" + proc, host}),
		graph("Processor time", "percentunit", "Of the process; 1 is one processor.", Target{rate("process_cpu_seconds_total", proc), host}),
	}}
}

func logsBoard() Board {
	logs := func(title, help, expr string) Panel {
		return Panel{Kind: "logs", Title: title, Help: help, Unit: "none", Queries: []Target{{expr, ""}}}
	}
	return Board{UID: "logs", Title: "Logs", Panels: []Panel{
		graph("Records by level", "ops", "Counted by the processes themselves.", Target{sumRate("level", metrics.LogMessages, proc), "{{level}}"}),
		graph("Errors by component", "ops", "Counted by the processes themselves.", Target{sumRate("component", metrics.LogMessages, `{job=~"$job",instance=~"$instance",level="ERROR"}`), "{{component}}"}),
		logs("Errors", "Log lines of level error.", `{service_name="marketprism"} | detected_level="error"`),
		logs("All", "Everything; add | symbol=\"BTCUSDT\" for one symbol.", `{service_name="marketprism"}`),
	}}
}

func monitoringBoard() Board {
	return Board{UID: "monitoring", Title: "Monitoring itself", Panels: []Panel{
		graph("Targets", "none", "1 if the last scrape succeeded.", Target{"up", "{{job}} {{instance}}"}),
		graph("Scrape time", "s", "By target.", Target{"scrape_duration_seconds", "{{job}} {{instance}}"}),
		graph("Samples", "short", "By target.", Target{"scrape_samples_post_metric_relabeling", "{{job}} {{instance}}"}),
		graph("Rule evaluation", "s", "The last of each group.", Target{"prometheus_rule_group_last_duration_seconds", "{{rule_group}}"}),
		graph("Notifications", "ops", "Sent, and failed.", Target{"sum by (integration) (rate(alertmanager_notifications_total[$__rate_interval]))", "{{integration}}"},
			Target{"sum by (integration) (rate(alertmanager_notifications_failed_total[$__rate_interval]))", "failed {{integration}}"}),
		graph("Series in memory", "short", "Of Prometheus.", Target{"prometheus_tsdb_head_series", "{{instance}}"}),
		graph("Lines to Loki", "ops", "Received.", Target{"sum(rate(loki_distributor_lines_received_total[$__rate_interval]))", "lines"}),
		graph("Service heartbeats", "s", "Age.", Target{"time() - " + metrics.ServiceHeartbeat + proc, "{{service}}"}),
		{Kind: "table", Title: "Versions", Help: "Of each process.", Unit: "none", Queries: []Target{{metrics.BuildInfo + proc, ""}}},
	}}
}
