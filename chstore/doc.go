// Package chstore keeps records of market data in ClickHouse, exactly and once, and reads them back:
// a range of them in time order, the order book as it stood at any moment or at every one, or all of it
// replayed as if it were live.
//
// # Usage
//
//	conn, err := chstore.Dial(ctx, "127.0.0.1:9000")
//	store, err := chstore.New(conn, chstore.Config{})
//	err = store.Migrate(ctx)       // database and tables; at every start
//	err = store.Write(ctx, recs)   // a sink.Sink; in batches of 10,000 and more
//
//	book, err := store.BookAt(ctx, instrument, moment)
//	for rec, err := range store.Records(ctx, chstore.Query{Instrument: instrument, From: from, To: to}) {
//	for state, err := range store.Books(ctx, chstore.BookQuery{Instrument: instrument, From: from, To: to, Every: time.Minute}) {
//	err = store.Replay(ctx, chstore.ReplayQuery{Instruments: all, From: from, To: to}, chstore.ReplayConfig{Speed: 1}, strategy)
//
// # Tables
//
// There are depth_events, book_snapshots, trades (single and aggregated), tickers and gaps, made for
// reading by hand too: the columns bids, asks, price and the like show what the stored integers mean.
// SELECT * leaves such columns out; name them, or set asterisk_include_alias_columns.
//
// Prices and quantities are the integers of orderbook.Fixed, hundred-millionths, in columns that end
// in _e8: nothing is rounded, and the codec takes the zeros off. Times are nanoseconds. The column ts
// is Record.Time, by which rows are sorted, partitioned and expire; timed says whether the exchange
// told it. 1970 stands for any other time that is not known. An update is one row, with its levels in
// arrays.
//
// The views bars_1m, spreads_1m and depths_1m are for people: open, high, low, close, volume and VWAP of
// each minute by trade time, the spread, and the quantity near it, all without duplicates. Filter them
// by exchange, market, symbol and minute, which reach the tables behind.
//
// The bars are also there computed, in bars_1m_stored, to be read with FINAL and up to a minute and the
// time of its making old. A view that ClickHouse refreshes every minute computes the bars of all minutes of which
// parts were written since, from all trades of those minutes: a duplicate counts once there too, a retry
// and a late trade are taken in, and no INSERT waits for it. Bars stay when their trades expire, since of
// two bars of a minute the one of most trades stays. On a cluster there is no such view.
//
// # Schema
//
// Migrate makes the tables by numbered statements, records them, and refuses tables that it cannot
// use, one difference by the other (SchemaDiff). Layouts in Config set sort keys, codecs and skip
// indexes, Engine lets rows that came twice be dropped by merges, and Cluster makes replicated and
// distributed tables of the same templates.
//
// # Lifetime
//
// Config says how large partitions are, how long rows are kept (TTL) and when they move to another
// volume (Tiers). Migrate applies changes of the last two, and of settings, to the tables that are
// there, by ALTER; Plan returns its statements and runs none. Usage tells sizes by partition and tier.
//
// Check looks for holes in the ids, duplicates, crossed and silent books, wrong clocks, snapshots that
// do not agree with the updates, and tables in a state that calls for someone.
//
// # Stored once
//
// The columns src and seq hold Record.Origin, the stream a record came through and its position
// there, and make the tables their own account of what has been stored. An INSERT is one part of one
// partition, so ClickHouse stores it whole or not at all; the highest position in each partition tells
// what is new, a lookup decides the rest, and after a failure the store first makes sure that nothing
// is still running. This holds across crashes of either side, other batch borders and messages out of
// order, without any state outside the tables. Watermark shows the positions.
//
// Where the tables hold less of a source than they did, as when a cold disk was not mounted, a Write is
// ErrWatermarkRegressed and inserts nothing; VerifyWatermark asks for that at the start.
//
// # Concurrency
//
// A Store is safe for concurrent use. Writes to one table take turns, those to different tables run
// side by side. One Store at a time may write the records of a source: Config.Lease sees to it.
//
// # Limitations
//
//   - After an error of Write any of its INSERTs may have been done: what is stored is a part of the
//     batch, but by table and partition, not a prefix. Write the batch again.
//   - Records without an Origin rely on ClickHouse's deduplication of equal batches. A second batch that
//     overlaps stores rows twice; reads do not show them. If the server crashes between the note that
//     it has a batch and the batch itself, the batch is lost although a retry is confirmed.
//   - A time that is exactly 1970-01-01T00:00:00Z reads back as unknown, but for Record.EventTime.
//   - Partition, Engine and sort keys are fixed when a table is created. An empty Tiers.Policy leaves a table with the one it has.
//   - After a change of TTL or Tiers, ClickHouse works through the rows that are there in the background.
//   - Books and Replay put a snapshot before the updates that follow it if they were received within ten
//     minutes of each other; BookAt looks further.
//   - The server has to be ClickHouse 26.2 or later.
//   - Of Cluster, shards without replicas are tested on two servers, and replicated tables are made on two
//     with ZooKeeper; ON CLUSTER itself and replication are not, since the engine of the tests does
//     neither. Try them before relying on them.
//   - On a cluster every server has to answer for the first Write of a stream, and for the next one after
//     an error: it asks all of them whether an earlier INSERT is still running.
package chstore
