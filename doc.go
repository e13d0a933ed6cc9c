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
//   - marketprism, this package: Instrument and Record, what the others exchange.
//   - binance: REST and websocket driver; DepthSyncer keeps many books at once.
//     binance/binancetest is a fake exchange to test bots with.
//   - sink: where records go, and the pieces to combine such places; sink/sinktest is the
//     conformance test for your own.
//   - natsbus: records on JetStream, published and consumed without loss.
//   - chstore: records in ClickHouse, and the book at any past moment.
//   - examples: bookwatch, a live book in the terminal; replay, recordings checked offline;
//     marketprism, the whole pipeline in one process.
//
// Imports point down only: a bot that uses orderbook and binance links neither NATS nor ClickHouse.
//
// # What holds everywhere
//
// A Record carries one Snapshot, Update, Gap, Trade or Ticker. Between a Snapshot of an instrument
// and its next Gap, applying every Update to a book seeded by the Snapshot gives exactly the
// exchange's book; outside such a span there are no Updates. Books from the live exchange, from the
// bus and from the archive are all made by orderbook.Syncer from such records.
//
// Key names a record by the exchange's own ids, so that copies of one event, from two collectors or
// from a retry, are known as such by the bus and by the store.
//
// Numbers are exact (orderbook.Fixed), never floats. Times say whose clock they are from: EventTime
// is the exchange's, ReceivedAt the collector's. What cannot be decoded, stored or delivered is a
// typed error or a visible Gap, never a silent loss. Every queue and buffer has a bound, and
// reaching it is such an event.
//
// Everything that blocks takes a context, everything that runs is a Run(ctx) error that the caller
// starts, and everything worth counting is in Hooks and Stats. No package has globals, logs, or
// reads the environment.
package marketprism
