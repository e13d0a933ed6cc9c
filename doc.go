// Package marketprism is the vocabulary of market data that flows through this module: instruments,
// records, trades and tickers. The module keeps exchange order books exactly in sync, moves market
// data over NATS JetStream and stores it in ClickHouse. Each part can be used alone.
//
//	Binance ──diffs──▶ binance.DepthSyncer ─▶ orderbook.Syncer ─▶ Record ─▶ sink.Sink ─▶ natsbus.Publisher
//	   └──snapshots──▶         │                                                              ║ JetStream
//	                           ▼                                                              ▼
//	            your bot: View, Status, Handler                 ClickHouse ◀─ chstore.Store ◀─ natsbus.Consumer
//
// # The packages
//
//   - orderbook: exact decimals, the Book, and the Syncer, a state machine without IO that joins
//     diffs with a snapshot and proves by their ids that nothing is missing.
//   - marketprism, this package: Instrument and Record, which the others exchange.
//   - binance: REST and websocket driver; DepthSyncer keeps many books at once.
//     binance/binancetest is a fake exchange to test bots with.
//   - sink: where records go, with buffers and filters to put in front; sink/sinktest is the
//     conformance test for your own.
//   - natsbus: records on JetStream, published and consumed without loss; natsbus/bookfeed keeps
//     books from them, natsbus/deadletter handles refused records, natsbus/presence heartbeats;
//     natsbus/natstest is a server for tests.
//   - chstore: records in ClickHouse, and the book at any past moment; chstore/chtest is a server for tests.
//   - examples: bookwatch, a live book in the terminal; replay, which checks recordings offline;
//     marketprism, the whole pipeline in one process.
//
// Imports point down only: a bot that uses orderbook and binance links neither NATS nor ClickHouse.
//
// # What holds everywhere
//
// A Record carries one Snapshot, Update, Gap, Trade or Ticker. Between a Snapshot of an instrument
// and its next Gap, applying every Update to a book seeded by the Snapshot gives exactly the
// exchange's book; outside such a span there are no Updates. Books from the live exchange, from the
// bus and from the archive are all made of such records, by orderbook.Syncer and its twin orderbook.Joiner.
//
// Key names a record by the exchange's own ids, so the bus and the store recognize copies of one event,
// from two collectors or from a retry.
//
// Numbers are exact (orderbook.Fixed), never floats. Times say whose clock they are from: EventTime
// is the exchange's, ReceivedAt the collector's. A message that cannot be decoded, stored or delivered
// is a typed error or a visible Gap, never a silent loss. Every queue and buffer has a bound, and
// reaching it is such an event.
//
// Everything that blocks takes a context, everything that runs is a Run(ctx) error that the caller
// starts, and everything worth counting is in Hooks and Stats. No package has globals, logs, or
// reads the environment.
//
// # Run and Close
//
// Run(ctx) blocks until ctx ends or something fails that cannot be retried. It returns nil if ctx ended
// and all work was finished in order, else the error. It may be called once. Close() error is
// the only verb of shutdown: a type has it where there is something to release, such as a connection or
// a file. A second Close does nothing. A type that only runs has no Close.
//
// What runs side by side ends from the source to the last sink: a driver gives its Handler the Gaps that end the books
// when its ctx ends, and what is behind must still take them. sink.RunStages does that. In any other order the
// driver returns a [HandlerError], which says how many records did not arrive.
//
// # Glossary
//
//   - Instrument: one symbol in one market of one exchange.
//   - Update, diff: the levels of a book that changed, with the range of update ids they cover.
//   - Snapshot: all levels of a book, up to some depth, at one update id.
//   - Synced: the state of a book that equals the exchange's book at its update id.
//   - Capped: said of a level's quantity of orderbook.MaxFixed, which means this or more.
//   - Known depth: the price down to which a side of a book is complete. Levels beyond it may be missing.
//   - Missing range: update or trade ids that did not arrive.
//   - Gap: the record that ends a synced span and says why.
//   - Wait: what a book that is not synced waits for, why the last attempt failed, and when the next is made.
//   - Refresh: a new snapshot for a book that is synced; Audit: the comparison of the two.
//   - Conn: one websocket connection; Shard: the conns that carry one group of symbols, with the
//     goroutine that owns their books.
//   - Redundancy: the number of conns that carry the same streams. The arbiter decides which conn's
//     event is used; a leg is one conn's part in that decision.
//   - Rotation: replacing a conn by a new one before the exchange closes it, without a Gap.
//   - Backfill: fetching missed trades by id over REST.
//   - Budget: the request weight that the exchange allows, shared by everything that calls REST.
//   - Pending: an event that arrived before its predecessors and waits for them, for a bounded time.
//   - Emit: make a record and pass it to the Handler or Sink. Flush: emit everything pending, at the end.
//   - Deliver: write a batch to a sink and acknowledge its messages afterwards.
//   - In flight: sent and not yet acknowledged.
//   - Permanent: said of an error when the same records will never be accepted (sink.Permanent).
//   - Dead letter: a message set aside because its record is refused permanently or cannot be decoded.
//   - Origin: the position of a record in the stream it was read from. Watermark: the highest position
//     up to which a store has everything from one source. Lease: the right to write a source's records.
package marketprism
