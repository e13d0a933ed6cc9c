package metrics

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Catalogue returns every metric, in the order of the documentation.
func Catalogue() []Family {
	var all []Family
	for _, part := range [][]Family{serviceFamilies(), collectorFamilies(), syncerFamilies(), bookFamilies(), spillFamilies(), busFamilies(), archiveFamilies()} {
		all = append(all, part...)
	}
	return all
}

// with returns labels followed by more.
func with(labels []Label, more ...Label) []Label {
	return append(append([]Label(nil), labels...), more...)
}

func serviceFamilies() []Family {
	return []Family{
		{Name: BuildInfo, Type: Gauge, Labels: []Label{{"version", nil}, {"revision", nil}, {"goversion", nil}},
			Help: "Always 1; the labels name the build."},
		{Name: ServiceHeartbeat, Type: Gauge, Unit: "seconds", Labels: []Label{service},
			Help: "Local time of the last iteration of the service's main loop."},
		{Name: LogMessages, Type: Counter, Labels: []Label{service, {"component", components}, {"level", levels}},
			Help: "Log records written, counted in the handler."},
	}
}

func collectorFamilies() []Family {
	return []Family{
		{Name: ConnectionStatus, Type: Gauge, Labels: venue,
			Help: "1 if every connection that the market needs is open, else 0."},
		{Name: Connections, Type: Gauge, Labels: with(venue, Label{"state", connStates}),
			Help: "Connections by state; this program ended the closed ones."},
		{Name: Reconnects, Type: Counter, Labels: with(venue, Label{"reason", reconnectReasons}),
			Help: "Reconnects and attempts to reconnect, by reason. max_age is planned and loses no update."},
		{Name: MessagesReceived, Type: Counter, Labels: with(venue, Label{"channel", channels}),
			Help: "Messages received; control is everything but events of subscribed streams."},
		{Name: ReceivedBytes, Type: Counter, Unit: "bytes", Labels: venue, Help: "Bytes of the messages received."},
		{Name: DecodeErrors, Type: Counter, Labels: with(venue, Label{"channel", decodeChannels}),
			Help: "Messages that could not be decoded."},
		{Name: DroppedMessages, Type: Counter, Labels: with(venue, Label{"reason", dropReasons}),
			Help: "Messages not used: the queue to the books was full, or the symbol is unknown."},
		{Name: LastMessage, Type: Gauge, Unit: "seconds", Labels: venue,
			Help: "Local time of the last event of a subscribed stream."},
		{Name: EventLag, Type: Histogram, Unit: "seconds", Labels: venue, Buckets: networkBuckets,
			Help: "Local time of receipt minus the event's time at the exchange; the exemplar names the symbol."},
		{Name: ClockOffset, Type: Gauge, Unit: "seconds", Labels: venue,
			Help: "The exchange's clock minus the local one, as last measured."},
		{Name: QueueLength, Type: Gauge, Labels: venue, Help: "Messages queued for their books."},
		{Name: QueueCapacity, Type: Gauge, Labels: venue, Help: "Capacity of the queues to the books, over all open connections."},
		{Name: QueueWaits, Type: Counter, Labels: venue, Help: "Times that a connection was not read further, since its queue to the books was full."},
		{Name: Pauses, Type: Counter, Labels: venue,
			Help: "Times that the books of a group of symbols went on late, since the process was stopped or a record took long."},
		{Name: RestRequests, Type: Counter, Labels: with(venue, Label{"endpoint", endpoints}, Label{"code", statusClasses}),
			Help: "REST requests by status class of the answer; error means no answer."},
		{Name: RestDuration, Type: Histogram, Unit: "seconds", Labels: with(venue, Label{"endpoint", endpoints}), Buckets: networkBuckets,
			Help: "Time until the headers of a REST answer."},
		{Name: RestUsedWeight, Type: Gauge, Labels: venue, Help: "Request weight used in this minute, as last reported."},
		{Name: RestQueue, Type: Gauge, Labels: with(venue, Label{"priority", restPriorities}), Help: "REST requests that wait for request weight, by priority."},
		{Name: RestWeightLimit, Type: Gauge, Labels: venue, Help: "Request weight allowed per minute; 0 means no limit."},
		{Name: RestBlockedUntil, Type: Gauge, Unit: "seconds", Labels: venue,
			Help: "Local time until which the exchange rejects requests (418, 429); 0 if it does not."},
	}
}

func syncerFamilies() []Family {
	return []Family{
		{Name: Books, Type: Gauge, Labels: with(venue, Label{"state", bookStates}),
			Help: "Books by state: init was never synced, stale was synced before. The sum is the number of books."},
		{Name: Gaps, Type: Counter, Labels: venue, Help: "Synced books, or updates buffered for a snapshot, that were lost."},
		{Name: Resyncs, Type: Counter, Labels: with(venue, Label{"reason", gapReasons}),
			Help: "Resyncs begun, by reason of the gap."},
		{Name: ResyncDuration, Type: Histogram, Unit: "seconds", Labels: venue, Buckets: resyncBuckets,
			Help: "Time from the loss of a book, or the opening of its connection, until it is synced."},
		{Name: Snapshots, Type: Counter, Labels: with(venue, Label{"result", snapshotResults}), Help: "Depth snapshots requested, by result."},
		{Name: Updates, Type: Counter, Labels: with(venue, Label{"result", updateResults}),
			Help: "Depth updates by result: applied, already in the book (old), or discarded."},
		{Name: ApplyDuration, Type: Histogram, Unit: "seconds", Labels: venue, Buckets: processBuckets,
			Help: "Time from receipt of an update to its record, including the queue; one in 64 is measured."},
		{Name: BufferedUpdates, Type: Gauge, Labels: venue, Help: "Updates buffered until a snapshot."},
		{Name: CrossedBooks, Type: Counter, Labels: venue, Help: "Disagreements of a book with the exchange's best prices at the same update id."},
		{Name: AuditDifferences, Type: Counter, Labels: venue, Help: "Levels that differed from a new snapshot at the same update id."},
		{Name: CappedLevels, Type: Counter, Labels: venue,
			Help: "Levels received whose quantity is 92233720368.54775807 or more, of assets with few decimals; sums with them are not exact."},
		{Name: RefusedNames, Type: Counter, Labels: venue, Help: "Refusals of a symbol by the exchange, in a subscription or a snapshot."},
		{Name: LeftOutNames, Type: Gauge, Labels: with(venue, Label{"reason", []string{"invalid", "limit"}}),
			Help: "Names of the latest listing that are not followed: they cannot be read as symbols, or are more than the limit."},
	}
}

func bookFamilies() []Family {
	return []Family{
		{Name: BookSynced, Type: Gauge, Labels: symbol, Help: "1 if the book is synced, else 0."},
		{Name: BookLastUpdate, Type: Gauge, Unit: "seconds", Labels: symbol, Help: "Local time of the book's last change; 0 if it was never synced."},
		{Name: BookUpdates, Type: Counter, Labels: symbol, Help: "Updates applied to the book."},
		{Name: BookGaps, Type: Counter, Labels: symbol, Help: "Losses of the book."},
		{Name: BookMid, Type: Gauge, Labels: symbol, Help: "Mid price, in quote currency; only of chosen symbols."},
		{Name: BookSpread, Type: Gauge, Unit: "ratio", Labels: symbol, Help: "Spread as a share of the mid price; only of chosen symbols."},
		{Name: BookDepth, Type: Gauge, Labels: with(symbol, Label{"side", sides}),
			Help: "Volume within 0.1% of the mid price, in quote currency; only of chosen symbols, and absent where it is not exact."},
		{Name: Trades, Type: Counter, Labels: venue, Help: "Trades received, each once; aggregate trades are not counted."},
		{Name: TradesVolume, Type: Counter, Labels: symbol, Help: "Traded volume in quote currency; only of chosen symbols."},
	}
}

func spillFamilies() []Family {
	return []Family{
		{Name: SpillAway, Type: Gauge, Help: "1 if the bus neither accepted nor refused the collector's last write in time, else 0."},
		{Name: SpillBehind, Type: Gauge, Help: "1 if records go through the disk queue, since it is not empty, else 0."},
		{Name: SpillQueued, Type: Gauge, Help: "Records in the disk queue."},
		{Name: SpillQueuedBytes, Type: Gauge, Unit: "bytes", Help: "Bytes of the disk queue."},
		{Name: SpillMaxBytes, Type: Gauge, Unit: "bytes", Help: "Maximum bytes of the disk queue; the collector waits when it is full."},
		{Name: SpillRecords, Type: Counter, Labels: []Label{{"result", spillResults}},
			Help: "Records that the bus accepted directly, put on disk (spilled), accepted from there (drained), refused permanently, or dropped."},
		{Name: SpillRetries, Type: Counter, Help: "Writes from the disk queue that the bus did not accept."},
		{Name: SpillFull, Type: Counter, Help: "Writes that found no room in the disk queue."},
		{Name: SpillCorrupt, Type: Counter, Help: "Damaged places found in the disk queue."},
		{Name: SpillKept, Type: Gauge, Help: "Files with damaged or refused bytes that are kept for inspection."},
		{Name: SpillUnkept, Type: Counter, Help: "Damaged places and refused records that were not kept, for lack of room or since the disk failed."},
	}
}

func busFamilies() []Family {
	reason := Label{"reason", publishReasons}
	return []Family{
		{Name: BusStatus, Type: Gauge, Help: "1 if NATS is connected, else 0."},
		{Name: BusReconnects, Type: Counter, Help: "Reconnects to NATS."},
		{Name: BusErrors, Type: Counter, Labels: []Label{{"type", busErrors}}, Help: "Asynchronous errors reported by NATS."},
		{Name: StreamMessages, Type: Gauge, Labels: []Label{stream}, Help: "Messages in the stream."},
		{Name: StreamBytes, Type: Gauge, Unit: "bytes", Labels: []Label{stream}, Help: "Bytes in the stream."},
		{Name: StreamMaxBytes, Type: Gauge, Unit: "bytes", Labels: []Label{stream}, Help: "Maximum bytes of the stream; -1 means no limit."},

		{Name: PublisherMessages, Type: Counter, Labels: []Label{stream}, Help: "Messages passed to the publisher; a repeated write counts again."},
		{Name: PublisherBytes, Type: Counter, Unit: "bytes", Labels: []Label{stream}, Help: "Bytes of encoded records sent, including repeated ones."},
		{Name: PublisherErrors, Type: Counter, Labels: []Label{stream, reason}, Help: "Failed attempts, retried or not."},
		{Name: PublisherDuplicates, Type: Counter, Labels: []Label{stream}, Help: "Messages that the stream had already stored."},
		{Name: PublisherSuppressed, Type: Counter, Help: "Records for which the stream has another message of their id; one in a while is compared."},
		{Name: PublisherRetries, Type: Counter, Labels: []Label{stream}, Help: "Writes continued after a failure."},
		{Name: PublisherInflight, Type: Gauge, Labels: []Label{stream}, Help: "Messages sent and not yet acknowledged."},
		{Name: PublisherAck, Type: Histogram, Unit: "seconds", Labels: []Label{stream}, Buckets: networkBuckets,
			Help: "Time from sending a message to the stream's acknowledgement."},

		{Name: ConsumerMessages, Type: Counter, Labels: consumer, Help: "Messages delivered and completed."},
		{Name: ConsumerRedeliveries, Type: Counter, Labels: consumer, Help: "Redelivered messages among them."},
		{Name: ConsumerAcks, Type: Counter, Labels: with(consumer, Label{"kind", ackKinds}),
			Help: "Acknowledgements by kind: stored (ack), returned (nak), dead letter (term), still in progress (in_progress)."},
		{Name: ConsumerPending, Type: Gauge, Labels: consumer, Help: "Messages in the stream that are not delivered yet."},
		{Name: ConsumerAckPending, Type: Gauge, Labels: consumer, Help: "Messages delivered and not acknowledged."},
		{Name: ConsumerInfo, Type: Gauge, Unit: "seconds", Labels: consumer, Help: "Local time at which the server last reported the two metrics above; 0 if never."},
		{Name: ConsumerLag, Type: Histogram, Unit: "seconds", Labels: consumer, Buckets: networkBuckets,
			Help: "Time from storage of a message in the stream to its delivery."},
		{Name: ConsumerHandle, Type: Histogram, Unit: "seconds", Labels: consumer, Buckets: networkBuckets,
			Help: "Time of a batch's Write to the sink."},

		{Name: DeadLetters, Type: Gauge, Labels: []Label{stream}, Help: "Messages in the dead-letter stream."},
		{Name: DeadLettersTotal, Type: Counter, Labels: []Label{stream, {"reason", deadReasons()}}, Help: "Messages that became dead letters; stream is their original stream."},
		{Name: DeadLetterErrors, Type: Counter, Labels: consumer, Help: "Attempts to store a dead letter that failed; its message and all behind it wait."},
		{Name: DeadLetterOldest, Type: Gauge, Unit: "seconds", Labels: []Label{stream}, Help: "Time of the oldest dead letter; 0 if there is none."},
		{Name: DeadLetterProcessed, Type: Counter, Labels: []Label{stream, {"result", dlqResults}}, Help: "Dead letters returned to their stream (replayed), deleted (discarded), or neither because that failed (failed)."},
	}
}

func archiveFamilies() []Family {
	tables := []Label{table}
	return []Family{
		{Name: ArchiverHeartbeat, Type: Gauge, Unit: "seconds", Labels: []Label{{"archiver", nil}},
			Help: "Local time at which the archiver last wrote a batch or found nothing to write."},
		{Name: ArchiverRows, Type: Gauge, Labels: tables, Help: "Rows accepted and not yet stored."},
		{Name: ArchiverBytes, Type: Gauge, Unit: "bytes", Labels: tables, Help: "Their approximate size."},
		{Name: ArchiverBatch, Type: Histogram, Labels: tables, Buckets: rowBuckets, Help: "Rows per INSERT."},
		{Name: ArchiverWatermark, Type: Gauge, Unit: "seconds", Labels: tables, Help: "Exchange time of the newest stored row; 0 if there is none."},
		{Name: ArchiverLag, Type: Histogram, Unit: "seconds", Labels: tables, Buckets: networkBuckets,
			Help: "Time from an event at the exchange to the confirmation of its INSERT."},

		{Name: StoreStatus, Type: Gauge, Help: "1 if ClickHouse answered the last ping, else 0."},
		{Name: StoreInserts, Type: Counter, Labels: tables, Help: "INSERT attempts."},
		{Name: StoreRetries, Type: Counter, Labels: tables, Help: "Repeated attempts among them."},
		{Name: StoreErrors, Type: Counter, Labels: with(tables, Label{"reason", storeReasons()}), Help: "Failed attempts."},
		{Name: StoreRows, Type: Counter, Labels: tables, Help: "Rows confirmed."},
		{Name: StoreBytes, Type: Counter, Unit: "bytes", Labels: tables, Help: "Approximate size of the confirmed rows in memory."},
		{Name: StoreInsert, Type: Histogram, Unit: "seconds", Labels: tables, Buckets: networkBuckets, Help: "Time of a confirmed INSERT."},
		{Name: StoreQuery, Type: Histogram, Unit: "seconds", Labels: []Label{{"op", storeOps()}}, Buckets: networkBuckets, Help: "Time of a query."},
		{Name: StoreParts, Type: Gauge, Labels: tables, Help: "Active parts of the table."},
		{Name: StoreTableRows, Type: Gauge, Labels: tables, Help: "Rows of the table."},
		{Name: StoreTableBytes, Type: Gauge, Unit: "bytes", Labels: tables, Help: "Bytes of the table on disk."},
		{Name: StoreTierBytes, Type: Gauge, Unit: "bytes", Labels: with(tables, Label{"volume", nil}), Help: "Bytes of the table on each volume of its storage policy."},
		{Name: StoreDiskFree, Type: Gauge, Unit: "bytes", Labels: []Label{{"disk", nil}}, Help: "Free bytes on the server's disk."},
		{Name: StoreDiskTotal, Type: Gauge, Unit: "bytes", Labels: []Label{{"disk", nil}}, Help: "Size of the server's disk."},
	}
}

// Markdown returns the documentation of the catalogue: docs/metrics.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Metrics

Generated from the catalogue in ` + "`metrics/catalogue.go`" + ` by ` + "`go test ./examples/marketprism/metrics -update`" + `.

Every series of a part of the pipeline exists, at 0, from the start of the process, so that the first
event is an increase. Where the values of a label are listed they are a closed set, with ` + "`other`" + ` for
anything else. Histograms are classic, with the buckets below, and native (factor 1.1).
Times are of the local clock unless the help says otherwise.

Families with the label ` + "`symbol`" + ` have a series for each symbol: four families for all symbols as long as
these are no more than 2,000, and five for chosen ones (20 unless configured). 1,300 symbols come to
less than ` + strconv.Itoa(MaxSeries) + ` series in all.
`)
	part := ""
	for _, f := range Catalogue() {
		if p := partOf(f.Name); p != part {
			part = p
			fmt.Fprintf(&b, "\n## %s\n\n| name | type | unit | labels | help |\n|---|---|---|---|---|\n", part)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", f.Name, f.Type, f.Unit, labelList(f), helpOf(f))
	}
	return b.String()
}

// MaxSeries bounds what one process with every part and 1,300 symbols exposes, the runtime's own metrics
// left out.
const MaxSeries = 7500

// partOf returns the second word of a name, which says what part of the pipeline it is about.
func partOf(name string) string {
	word, _, _ := strings.Cut(strings.TrimPrefix(name, "marketprism_"), "_")
	switch word {
	case "build", "service", "log":
		return "Service"
	case "trades", "book":
		return "Books and trades"
	case "bus", "stream", "publisher", "consumer", "dlq":
		return "Bus"
	case "spill":
		return "Disk queue"
	case "archiver", "store":
		return "Archive"
	}
	return strings.ToUpper(word[:1]) + word[1:]
}

func labelList(f Family) string {
	var list []string
	for _, l := range f.Labels {
		text := "`" + l.Name + "`"
		if len(l.Values) > 1 {
			text += " (" + strings.Join(l.Values, ", ") + ")"
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

func helpOf(f Family) string {
	if f.Type != Histogram {
		return f.Help
	}
	bounds := make([]string, len(f.Buckets))
	for i, b := range f.Buckets {
		bounds[i] = strconv.FormatFloat(b, 'g', -1, 64)
	}
	return f.Help + " Buckets: " + strings.Join(bounds, ", ") + "."
}

// PromQLNames returns every name that a query may select: those of the catalogue, and for histograms
// those of their classic parts.
func PromQLNames() []string {
	var names []string
	for _, f := range Catalogue() {
		names = append(names, f.Name)
		if f.Type == Histogram {
			names = append(names, f.Name+"_bucket", f.Name+"_sum", f.Name+"_count")
		}
	}
	slices.Sort(names)
	return names
}
