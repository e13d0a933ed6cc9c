// Package chstore keeps records of market data in ClickHouse, exactly and once, and reads them back:
// a range of records in time order, the order book at one time or at every time, or a replay of all records
// as if they were live.
//
// # Usage
//
//	store, err := chstore.Open(ctx, "127.0.0.1:9000", chstore.Config{}) // connects; makes the tables, or brings them up to date
//	err = store.Write(ctx, recs)                                        // a sink.Sink; in batches of 10,000 and more
//
//	book, err := store.BookAt(ctx, instrument, at)
//	for rec, err := range store.Records(ctx, chstore.Query{Instrument: instrument, From: from, To: to}) {
//	for state, err := range store.Books(ctx, chstore.BookQuery{Instrument: instrument, From: from, To: to, Every: time.Minute}) {
//	err = store.Replay(ctx, chstore.ReplayQuery{Instruments: all, From: from, To: to}, chstore.ReplayConfig{Speed: 1}, strategy)
//
// [Dial], [New] and Store.Migrate do what Open does in steps: a program that only reads does not migrate.
//
// # Tables
//
// The tables are depth_events, book_snapshots, trades (single and aggregated), tickers and gaps. They can be
// read by hand too: every table, view and column has a comment, and QUERIES.md has fifteen questions with their SQL.
// The columns bids, asks, price and the like show the stored integers as Float64, and bids_decimal, price_decimal
// and so on as exact Decimal(38, 8), computed when read. SELECT * leaves such columns out; name them, or set
// asterisk_include_alias_columns.
//
// Prices and quantities are the integers of orderbook.Fixed, hundred-millionths, in columns that end
// in _e8: nothing is rounded, and the codec removes the zeros. The largest integer, as the quantity of a level or a
// ticker, means this or more, so sums with it are lower bounds. Times are nanoseconds. The column ts
// is Record.Time, by which rows are sorted, partitioned and expire; timed is true where it is the exchange's
// time. Any other unknown time is stored as 1970. An update is one row, with its levels in
// arrays.
//
// Views are for people:
//
//   - book_at(exchange = 'binance', market = 'spot', symbol = 'BTCUSDT', t = '2026-03-01 12:00:00') gives the levels of the
//     book that BookAt gives, and fails where that fails.
//   - trades_dedup and agg_trades_dedup give single and aggregate trades, each once; tickers_dedup gives tickers. The
//     exchange reports each trade in both ways, so no view adds up both.
//   - top_of_book gives mid, spread, microprice and imbalance at each ticker.
//   - bars_1m, spreads_1m and depths_1m give open, high, low, close, volume and VWAP of each minute by trade
//     time, the spread, and the quantity near it. A bar is made of single trades, or of aggregates where the minute
//     has more of them.
//
// Filter them by exchange, market, symbol and day, minute or trade_time, which the tables behind them can use.
//
// The table bars_1m_stored holds the same bars, computed in advance. Read it with FINAL; a bar is up to a minute
// late, plus the time to compute it. A view that ClickHouse refreshes every minute computes the bars of all minutes
// in which parts were written since, from all trades of those minutes: a duplicate counts once there too, retries
// and late trades are included, and no INSERT waits for it. Bars stay when their trades expire, since of
// two bars of a minute the one with more trades stays. On a cluster there is no such view.
//
// # Schema
//
// Migrate makes the tables by numbered statements, records them, makes again what somebody has dropped, and rejects
// incompatible tables with a list of every difference (SchemaDiff). Layouts in Config set sort keys, codecs and skip
// indexes, Engine lets merges drop duplicate rows, and Cluster makes replicated and
// distributed tables from the same templates.
//
// # Lifetime of rows
//
// Config says how large partitions are, how long rows are kept (TTL) and when they move to another
// volume (Tiers). Migrate applies changes of the last two, and of settings, to existing tables
// by ALTER; Plan returns its statements and runs none. Usage returns sizes by partition and tier.
//
// Check looks for missing ids, duplicates, crossed and silent books, wrong clocks and times, numbers that cannot be,
// snapshots that are missing or do not agree with the updates, and tables that need an operator.
//
// # Settings of the session
//
// Every SELECT sets what its answer depends on, so neither an address nor a user's profile can shorten or change it: a limit
// that cuts an answer off (max_result_rows with result_overflow_mode = 'break') becomes an error, and limit, extremes,
// filters, a query cache and the like have no effect. A user with readonly = 1 can read, in blocks of the size of the
// profile. If that profile has one of these settings at another value, which such a user may not change, each read
// returns the server's error.
//
// # Size on disk
//
// Depth updates of three recordings of Binance (86,475 changed levels, two thousand updates) in one merged part, bytes a changed
// level. CPU time is the server's, nanoseconds a value, of 2.5 million values of the busiest one:
//
//	column       codec                  bytes  write  read
//	prices       GCD, Delta, ZSTD(1)     1.48     47    16   the default
//	             GCD, Delta, ZSTD(3)     1.48     51    22
//	             GCD, T64, ZSTD(1)       1.68     39    15
//	             GCD, ZSTD(1)            1.91     55    21
//	quantities   GCD, T64, ZSTD(1)       1.65     27    15   the default
//	             GCD, T64, ZSTD(3)       1.67     47    13
//	             GCD, T64, ZSTD(9)       1.65
//	             GCD, ZSTD(1)            1.80     43    19
//	received_at  GCD, Delta, ZSTD(1)     0.09
//	other times  GCD, Delta, ZSTD(1)     0.05
//	ids, seq     Delta, ZSTD(1)          0.17
//
// That is 3.5 with the lengths of the arrays; a quiet symbol takes more, since an update of three levels has as many times and ids
// as one of sixty. Differences to the level before, in ticks, both sides in one array of Int32, would take 0.99 in place of 1.48,
// and times and ids as differences 0.06 less: 2.9, for columns that no query could read as they are. The entropy of differences
// and quantities, each by itself, is 2.0 to 2.2 bytes a level: less than about 2.8 needs a format of its own.
//
// # Stored once
//
// The columns src and seq hold Record.Origin, the stream a record came through and its position
// there, so the tables themselves say what has been stored. An INSERT is one part of one
// partition, so ClickHouse stores it whole or not at all; a record above the highest position in its partition is
// new, a lookup decides the rest, and after a failure the store first makes sure that no INSERT
// is still running. This holds across crashes of either side, other batch borders and messages out of
// order, without any state outside the tables. Watermark returns the positions.
//
// Where the tables hold less of a source than before, as when a cold disk was not mounted, a Write returns
// ErrWatermarkRegressed and inserts nothing; VerifyWatermark checks that at the start.
//
// # Concurrency and shutdown
//
// A Store is safe for concurrent use. Writes to one table wait for one another, those to different tables run
// side by side. One Store at a time may write the records of a source: Config.Lease enforces that.
//
// A Store runs no goroutines between calls. Close its Conn when the last call has returned; with a lease, call
// Release before.
//
// # Limitations
//
//   - After an error of Write any of its INSERTs may have been done: the stored records are a part of the
//     batch, by table and partition, not a prefix. Write the batch again.
//   - Records without an Origin rely on ClickHouse's deduplication of equal batches. A second batch that
//     overlaps stores rows twice; reads do not show them. If the server crashes after it has recorded the
//     batch's token and before it has stored the batch, the batch is lost although a retry is confirmed.
//   - A time that is exactly 1970-01-01T00:00:00Z reads back as unknown, except in Record.EventTime.
//   - Partition, Engine and sort keys are fixed when a table is created. An empty Tiers.Policy leaves a table with the one it has.
//   - After a change of TTL or Tiers, ClickHouse processes the existing rows in the background.
//   - Books and Replay put a snapshot before the updates that follow it if they were received within ten
//     minutes of each other; BookAt looks further.
//   - The server must be ClickHouse 26.2 or later.
//   - Of Cluster, shards without replicas are tested on two servers, and replicated tables are created on two
//     with ZooKeeper; ON CLUSTER itself and replication are not tested, since the engine of the tests supports
//     neither. Try them before relying on them.
//   - On a cluster every server must answer for the first Write of a stream, and for the next one after
//     an error: the Store asks all of them whether an earlier INSERT is still running.
package chstore
