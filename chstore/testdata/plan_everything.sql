CREATE DATABASE IF NOT EXISTS `golden`;

CREATE TABLE IF NOT EXISTS `golden`.`p_schema_migrations`
(
    version    UInt32                COMMENT 'number of the migration',
    name       String                COMMENT 'name of its file',
    checksum   String                COMMENT 'SHA-256 of its text',
    applied_at DateTime64(3, 'UTC')  COMMENT 'when, by the clock of the process that ran it, UTC',
    took_ms    UInt32                COMMENT 'duration in milliseconds'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY version
COMMENT 'the migrations that Migrate has applied; read it with FINAL';

CREATE TABLE IF NOT EXISTS `golden`.`p_depth_events`
(
    exchange      LowCardinality(String) COMMENT 'the exchange: binance',
    market        LowCardinality(String) COMMENT 'its market: spot, usdm (USD-margined futures) or coinm (coin-margined futures)',
    symbol        LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    ts            DateTime64(9, 'UTC') COMMENT 'time of the record in UTC: the exchange clock where timed is true, else received_at. Rows are sorted, partitioned and expire by it: filter by exchange, market, symbol and ts'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange sends a time with the event: ts is that time'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'time of receipt by the clock of the collector, UTC'
        CODEC(GCD, Delta, ZSTD(1)),
    transact_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
    own_time      Int64                COMMENT 'event time inside the payload in ns since 1970; -1: the same as event_time, 0: none'
        CODEC(T64, ZSTD(1)),
    first_id      Int64                COMMENT 'first update id of the row'
        CODEC(Delta, ZSTD(1)),
    last_id       Int64                COMMENT 'last update id of the row: the id of the book after it'
        CODEC(Delta, ZSTD(1)),
    prev_id       Int64                COMMENT 'futures: last_id of the update before this one, as the exchange sends it; 0 on spot, where first_id continues the ids'
        CODEC(Delta, ZSTD(1)),
    bid_price_e8  Array(Int64)         COMMENT 'prices of bids in hundred-millionths; element n belongs to element n of bid_qty_e8'
        CODEC(GCD, Delta, ZSTD(1)),
    bid_qty_e8    Array(Int64)         COMMENT 'quantities of bids in hundred-millionths of the base asset; 9223372036854775807 means that or more'
        CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Array(Int64)         COMMENT 'prices of asks in hundred-millionths; element n belongs to element n of ask_qty_e8'
        CODEC(GCD, Delta, ZSTD(1)),
    ask_qty_e8    Array(Int64)         COMMENT 'quantities of asks in hundred-millionths of the base asset; 9223372036854775807 means that or more'
        CODEC(GCD, T64, ZSTD(1)),
    src           LowCardinality(String) COMMENT 'the stream through which the row came, empty if none',
    seq           UInt64               COMMENT 'position of the row in that stream, from 1'
        CODEC(Delta, ZSTD(1)),

    event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC'))
        COMMENT 'exchange clock, UTC; 1970 where the exchange sends no time',
    bids Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), bid_price_e8, bid_qty_e8)
        COMMENT 'bids as (price, quantity), computed from the integers; not in SELECT *',
    asks Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), ask_price_e8, ask_qty_e8)
        COMMENT 'asks as (price, quantity), computed from the integers; not in SELECT *',
    bids_decimal Array(Tuple(price Decimal(38, 8), qty Decimal(38, 8)))
        ALIAS arrayMap((p, q) -> (toDecimal128(p, 8) / 100000000, toDecimal128(q, 8) / 100000000), bid_price_e8, bid_qty_e8)
        COMMENT 'bids as exact (price, quantity), computed from the integers; not in SELECT *',
    asks_decimal Array(Tuple(price Decimal(38, 8), qty Decimal(38, 8)))
        ALIAS arrayMap((p, q) -> (toDecimal128(p, 8) / 100000000, toDecimal128(q, 8) / 100000000), ask_price_e8, ask_qty_e8)
        COMMENT 'asks as exact (price, quantity), computed from the integers; not in SELECT *',

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = ReplacingMergeTree
PARTITION BY (toISOYear(ts) * 100) + toISOWeek(ts)
ORDER BY (exchange, market, symbol, ts, last_id, first_id, received_at, src, seq)
TTL toDateTime(least(toUnixTimestamp64Second(ts) + 86400, 4294967295)) TO VOLUME 'cold', toDateTime(least(toUnixTimestamp64Second(ts) + 2592000, 4294967295))
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, merge_selector_base = 16, non_replicated_deduplication_window = 10000, deduplicate_merge_projection_mode = 'rebuild', storage_policy = 'tiered', index_granularity = 1024
COMMENT 'changes of order books. A row is one update of the exchange: the levels that changed between the update ids first_id and last_id, with their new quantities. For the book at a time use book_at';

CREATE TABLE IF NOT EXISTS `golden`.`p_book_snapshots`
(
    exchange      LowCardinality(String) COMMENT 'the exchange: binance',
    market        LowCardinality(String) COMMENT 'its market: spot, usdm (USD-margined futures) or coinm (coin-margined futures)',
    symbol        LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    ts            DateTime64(9, 'UTC') COMMENT 'time of the record in UTC: the exchange clock where timed is true, else received_at. Rows are sorted, partitioned and expire by it: filter by exchange, market, symbol and ts'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange sends a time with the event: ts is that time'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'time of receipt by the clock of the collector, UTC'
        CODEC(GCD, Delta, ZSTD(1)),
    transact_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
    own_time      Int64                COMMENT 'event time inside the payload in ns since 1970; -1: the same as event_time, 0: none'
        CODEC(T64, ZSTD(1)),
    last_id       Int64                COMMENT 'update id of the book'
        CODEC(Delta, ZSTD(1)),
    bid_price_e8  Array(Int64)         COMMENT 'prices of bids in hundred-millionths; element n belongs to element n of bid_qty_e8'
        CODEC(GCD, Delta, ZSTD(1)),
    bid_qty_e8    Array(Int64)         COMMENT 'quantities of bids in hundred-millionths of the base asset; 9223372036854775807 means that or more'
        CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Array(Int64)         COMMENT 'prices of asks in hundred-millionths; element n belongs to element n of ask_qty_e8'
        CODEC(GCD, Delta, ZSTD(1)),
    ask_qty_e8    Array(Int64)         COMMENT 'quantities of asks in hundred-millionths of the base asset; 9223372036854775807 means that or more'
        CODEC(GCD, T64, ZSTD(1)),
    bid_limited   Bool                 COMMENT 'the exchange cut the bids: those worse than bid_bound are not all known'
        CODEC(ZSTD(1)),
    bid_bound_e8  Int64                COMMENT 'worst price up to which the bids are known, in hundred-millionths; 0 unless bid_limited'
        CODEC(Delta, ZSTD(1)),
    ask_limited   Bool                 COMMENT 'the exchange cut the asks: those worse than ask_bound are not all known'
        CODEC(ZSTD(1)),
    ask_bound_e8  Int64                COMMENT 'worst price up to which the asks are known, in hundred-millionths; 0 unless ask_limited'
        CODEC(Delta, ZSTD(1)),
    src           LowCardinality(String) COMMENT 'the stream through which the row came, empty if none',
    seq           UInt64               COMMENT 'position of the row in that stream, from 1'
        CODEC(Delta, ZSTD(1)),

    event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC'))
        COMMENT 'exchange clock, UTC; 1970 where the exchange sends no time',
    bids Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), bid_price_e8, bid_qty_e8)
        COMMENT 'bids as (price, quantity), computed from the integers; not in SELECT *',
    asks Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), ask_price_e8, ask_qty_e8)
        COMMENT 'asks as (price, quantity), computed from the integers; not in SELECT *',
    bid_bound Float64 ALIAS bid_bound_e8 / 1e8
        COMMENT 'worst price up to which the bids are known, computed; 0 unless bid_limited',
    ask_bound Float64 ALIAS ask_bound_e8 / 1e8
        COMMENT 'worst price up to which the asks are known, computed; 0 unless ask_limited',
    bid_bound_decimal Decimal(38, 8) ALIAS toDecimal128(bid_bound_e8, 8) / 100000000
        COMMENT 'bid_bound, exact',
    ask_bound_decimal Decimal(38, 8) ALIAS toDecimal128(ask_bound_e8, 8) / 100000000
        COMMENT 'ask_bound, exact',
    bids_decimal Array(Tuple(price Decimal(38, 8), qty Decimal(38, 8)))
        ALIAS arrayMap((p, q) -> (toDecimal128(p, 8) / 100000000, toDecimal128(q, 8) / 100000000), bid_price_e8, bid_qty_e8)
        COMMENT 'bids as exact (price, quantity), computed from the integers; not in SELECT *',
    asks_decimal Array(Tuple(price Decimal(38, 8), qty Decimal(38, 8)))
        ALIAS arrayMap((p, q) -> (toDecimal128(p, 8) / 100000000, toDecimal128(q, 8) / 100000000), ask_price_e8, ask_qty_e8)
        COMMENT 'asks as exact (price, quantity), computed from the integers; not in SELECT *',

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = ReplacingMergeTree
PARTITION BY (toISOYear(ts) * 100) + toISOWeek(ts)
ORDER BY (exchange, market, symbol, ts, last_id, length(bid_price_e8), length(ask_price_e8), received_at, src, seq)
TTL toDateTime(least(toUnixTimestamp64Second(ts) + 7776000, 4294967295))
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, merge_selector_base = 16, non_replicated_deduplication_window = 10000, deduplicate_merge_projection_mode = 'rebuild', storage_policy = 'tiered', index_granularity = 128
COMMENT 'whole order books at one update id, up to a number of levels. The updates of depth_events with higher ids continue them';

CREATE TABLE IF NOT EXISTS `golden`.`p_trades`
(
    id            Int64                COMMENT 'trade id, or aggregate id where aggregate is true; the two count separately'
        CODEC(DoubleDelta, ZSTD(1)),
    exchange      LowCardinality(String) COMMENT 'the exchange: binance',
    market        LowCardinality(String) COMMENT 'its market: spot, usdm (USD-margined futures) or coinm (coin-margined futures)',
    symbol        LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    aggregate     Bool                 COMMENT 'the row is an aggregate: one or more trades of one taker at one price, which are single rows too if single trades are collected'
        CODEC(ZSTD(1)),
    first_id      Int64                COMMENT 'first trade id that an aggregate covers. Of a single trade 0; or, on futures, the first of the ids just before it that are no trades of the market (NA, INSURANCE_FUND, ADL)'
        CODEC(Delta, ZSTD(1)),
    last_id       Int64                COMMENT 'last trade id that an aggregate covers. Of a single trade 0, or its own id where first_id is not 0'
        CODEC(Delta, ZSTD(1)),
    price_e8      Int64                COMMENT 'price in hundred-millionths of the quote asset'
        CODEC(GCD, Delta, ZSTD(1)),
    quantity_e8   Int64                COMMENT 'quantity in hundred-millionths of the base asset (coinm: of contracts)'
        CODEC(GCD, T64, ZSTD(1)),
    buyer_maker   Bool                 COMMENT 'the buyer was the maker, so the taker sold'
        CODEC(ZSTD(1)),
    is_best_match Bool                 COMMENT 'spot: the flag M of the exchange, which documents no meaning'
        CODEC(ZSTD(1)),
    ts            DateTime64(9, 'UTC') COMMENT 'time of the record in UTC: the exchange clock where timed is true, else received_at. Rows are sorted, partitioned and expire by it: filter by exchange, market, symbol and ts'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange sends a time with the event: ts is that time'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'time of receipt by the clock of the collector, UTC'
        CODEC(GCD, Delta, ZSTD(1)),
    trade_time    DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
    src           LowCardinality(String) COMMENT 'the stream through which the row came, empty if none',
    seq           UInt64               COMMENT 'position of the row in that stream, from 1'
        CODEC(Delta, ZSTD(1)),

    trade_id      String               ALIAS toString(id) COMMENT 'id as text, computed; not in SELECT *',
    price         Float64              ALIAS price_e8 / 1e8 COMMENT 'price, computed from price_e8; not in SELECT *',
    quantity      Float64              ALIAS quantity_e8 / 1e8 COMMENT 'quantity, computed from quantity_e8; not in SELECT *',
    side          LowCardinality(String) ALIAS if(buyer_maker, 'sell', 'buy')
        COMMENT 'what the taker did: buy or sell, computed; not in SELECT *',
    receive_time  DateTime64(9, 'UTC') ALIAS received_at COMMENT 'received_at under another name; not in SELECT *',
    event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC'))
        COMMENT 'exchange clock, UTC; 1970 where the exchange sends no time',
    price_decimal Decimal(38, 8) ALIAS toDecimal128(price_e8, 8) / 100000000
        COMMENT 'price, exact; not in SELECT *',
    quantity_decimal Decimal(38, 8) ALIAS toDecimal128(quantity_e8, 8) / 100000000
        COMMENT 'quantity, exact; not in SELECT *',

    INDEX trade_time_range trade_time TYPE minmax GRANULARITY 1,
    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = ReplacingMergeTree
PARTITION BY (toISOYear(ts) * 100) + toISOWeek(ts)
ORDER BY (symbol, market, exchange, trade_time, id, ts, aggregate, received_at, src, seq)
TTL toDateTime(least(toUnixTimestamp64Second(ts) + 604800, 4294967295)) TO VOLUME 'cold', toDateTime(least(toUnixTimestamp64Second(ts) + 31536000, 4294967295))
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, merge_selector_base = 16, non_replicated_deduplication_window = 10000, deduplicate_merge_projection_mode = 'rebuild', storage_policy = 'tiered', index_granularity = 1024
COMMENT 'trades as they came, duplicates included. The exchange reports each trade twice: by itself, and in an aggregate (aggregate is true). Never add up both: read trades_dedup (single trades, each once), agg_trades_dedup (aggregates) or bars_1m';

CREATE TABLE IF NOT EXISTS `golden`.`p_tickers`
(
    exchange      LowCardinality(String) COMMENT 'the exchange: binance',
    market        LowCardinality(String) COMMENT 'its market: spot, usdm (USD-margined futures) or coinm (coin-margined futures)',
    symbol        LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    ts            DateTime64(9, 'UTC') COMMENT 'time of the record in UTC: the exchange clock where timed is true, else received_at. Rows are sorted, partitioned and expire by it: filter by exchange, market, symbol and ts'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange sends a time with the event: ts is that time'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'time of receipt by the clock of the collector, UTC'
        CODEC(GCD, Delta, ZSTD(1)),
    transact_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
    update_id     Int64                COMMENT 'update id of the book at which they were the best'
        CODEC(Delta, ZSTD(1)),
    bid_price_e8  Int64                COMMENT 'best bid in hundred-millionths; 0 if there is no bid'
        CODEC(GCD, Delta, ZSTD(1)),
    bid_qty_e8    Int64                COMMENT 'quantity at the best bid in hundred-millionths; 0 if there is no bid'
        CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Int64                COMMENT 'best ask in hundred-millionths; 0 if there is no ask'
        CODEC(GCD, Delta, ZSTD(1)),
    ask_qty_e8    Int64                COMMENT 'quantity at the best ask in hundred-millionths; 0 if there is no ask'
        CODEC(GCD, T64, ZSTD(1)),
    src           LowCardinality(String) COMMENT 'the stream through which the row came, empty if none',
    seq           UInt64               COMMENT 'position of the row in that stream, from 1'
        CODEC(Delta, ZSTD(1)),

    event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC'))
        COMMENT 'exchange clock, UTC; 1970 where the exchange sends no time',
    bid_price     Float64              ALIAS bid_price_e8 / 1e8 COMMENT 'best bid, computed; not in SELECT *',
    bid_qty       Float64              ALIAS bid_qty_e8 / 1e8 COMMENT 'quantity at the best bid, computed; not in SELECT *',
    ask_price     Float64              ALIAS ask_price_e8 / 1e8 COMMENT 'best ask, computed; not in SELECT *',
    ask_qty       Float64              ALIAS ask_qty_e8 / 1e8 COMMENT 'quantity at the best ask, computed; not in SELECT *',
    bid_price_decimal Decimal(38, 8) ALIAS toDecimal128(bid_price_e8, 8) / 100000000
        COMMENT 'bid_price, exact; not in SELECT *',
    bid_qty_decimal Decimal(38, 8) ALIAS toDecimal128(bid_qty_e8, 8) / 100000000
        COMMENT 'bid_qty, exact; not in SELECT *',
    ask_price_decimal Decimal(38, 8) ALIAS toDecimal128(ask_price_e8, 8) / 100000000
        COMMENT 'ask_price, exact; not in SELECT *',
    ask_qty_decimal Decimal(38, 8) ALIAS toDecimal128(ask_qty_e8, 8) / 100000000
        COMMENT 'ask_qty, exact; not in SELECT *',

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = ReplacingMergeTree
PARTITION BY (toISOYear(ts) * 100) + toISOWeek(ts)
ORDER BY (exchange, market, symbol, ts, update_id, received_at, src, seq)
TTL toDateTime(least(toUnixTimestamp64Second(ts) + 2592000, 4294967295))
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, merge_selector_base = 16, non_replicated_deduplication_window = 10000, deduplicate_merge_projection_mode = 'rebuild', storage_policy = 'tiered', index_granularity = 8192
COMMENT 'best bid and best ask as the exchange sends them at each change, duplicates included. Read tickers_dedup or top_of_book, which have each once';

CREATE TABLE IF NOT EXISTS `golden`.`p_gaps`
(
    exchange      LowCardinality(String) COMMENT 'the exchange: binance',
    market        LowCardinality(String) COMMENT 'its market: spot, usdm (USD-margined futures) or coinm (coin-margined futures)',
    symbol        LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    ts            DateTime64(9, 'UTC') COMMENT 'time of the record in UTC: the exchange clock where timed is true, else received_at. Rows are sorted, partitioned and expire by it: filter by exchange, market, symbol and ts'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange sends a time with the event: ts is that time'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'time of receipt by the clock of the collector, UTC'
        CODEC(GCD, Delta, ZSTD(1)),
    after_id      Int64                COMMENT 'last update id before the gap; 0 if the book was never in sync'
        CODEC(Delta, ZSTD(1)),
    reason        LowCardinality(String) COMMENT 'why: disconnect, sequence, overflow, invalid, regressed (the ids of the exchange went back), …',
    error         String               COMMENT 'the error behind it, if any'
        CODEC(ZSTD(1)),
    src           LowCardinality(String) COMMENT 'the stream through which the row came, empty if none',
    seq           UInt64               COMMENT 'position of the row in that stream, from 1'
        CODEC(Delta, ZSTD(1)),

    event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC'))
        COMMENT 'exchange clock, UTC; 1970 where the exchange sends no time',

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = ReplacingMergeTree
PARTITION BY (toISOYear(ts) * 100) + toISOWeek(ts)
ORDER BY (exchange, market, symbol, ts, after_id, reason, received_at, src, seq)
TTL toDateTime(least(toUnixTimestamp64Second(ts) + 31536000, 4294967295))
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, merge_selector_base = 16, non_replicated_deduplication_window = 10000, deduplicate_merge_projection_mode = 'rebuild', storage_policy = 'tiered', index_granularity = 8192
COMMENT 'the ends of spans in which a book was in sync: after such a row updates may be missing, up to the next snapshot of the symbol';

CREATE TABLE IF NOT EXISTS `golden`.`p_leases`
(
    name   String                COMMENT 'table and stream that one Store at a time writes',
    epoch  UInt64                COMMENT 'number of the holder, counted from 1',
    holder String                COMMENT 'the process that holds or held it',
    turn   UInt64                COMMENT 'counts the writes of the holder; of two rows the one with the higher count is valid',
    until  DateTime64(3, 'UTC')  COMMENT 'when it expires, by the clock of the server, UTC'
)
ENGINE = ReplacingMergeTree(turn)
ORDER BY (name, epoch)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'which process writes the records of a stream (Config.Lease)';

CREATE TABLE IF NOT EXISTS `golden`.`p_bars_1m_stored`
(
    exchange LowCardinality(String) COMMENT 'the exchange: binance',
    market LowCardinality(String) COMMENT 'its market: spot, usdm or coinm',
    symbol LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    aggregate     Bool            COMMENT 'always false, see of_aggregates: a part of the sort key from when a minute had two bars'
        CODEC(ZSTD(1)),
    of_aggregates Bool            COMMENT 'the bar is made of aggregate trades'
        CODEC(ZSTD(1)),
    minute        DateTime('UTC') COMMENT 'start of the minute, UTC'
        CODEC(DoubleDelta, ZSTD(1)),
    open          Float64         COMMENT 'first price'
        CODEC(ZSTD(1)),
    high          Float64         COMMENT 'highest price'
        CODEC(ZSTD(1)),
    low           Float64         COMMENT 'lowest price'
        CODEC(ZSTD(1)),
    close         Float64         COMMENT 'last price'
        CODEC(ZSTD(1)),
    volume        Float64         COMMENT 'quantity traded, of the base asset'
        CODEC(ZSTD(1)),
    quote_volume  Float64         COMMENT 'sum of price × quantity, of the quote asset'
        CODEC(ZSTD(1)),
    vwap          Float64         COMMENT 'mean price, weighted by quantity'
        CODEC(ZSTD(1)),
    buy_volume    Float64         COMMENT 'the part of volume in which the taker bought'
        CODEC(ZSTD(1)),
    trades        UInt64          COMMENT 'number of trades, also where of_aggregates is true: those that the aggregates cover. Of the bars of one minute the one of most trades stays'
        CODEC(T64, ZSTD(1)),
    computed_at   DateTime64(3, 'UTC') COMMENT 'when the bar was computed, UTC'
        CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(trades)
PARTITION BY toYYYYMM(minute)
ORDER BY (exchange, market, symbol, aggregate, minute)
COMMENT 'bars_1m, computed by bars_1m_refresh, one bar a minute: read it with FINAL';

CREATE OR REPLACE VIEW `golden`.`p_bars_1m`
(
    exchange LowCardinality(String) COMMENT 'the exchange: binance',
    market LowCardinality(String) COMMENT 'its market: spot, usdm or coinm',
    symbol LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    aggregate Bool COMMENT 'the bar is made of aggregate trades',
    minute DateTime('UTC') COMMENT 'start of the minute, UTC',
    open Float64 COMMENT 'first price',
    high Float64 COMMENT 'highest price',
    low Float64 COMMENT 'lowest price',
    close Float64 COMMENT 'last price',
    volume Float64 COMMENT 'quantity traded, of the base asset',
    quote_volume Float64 COMMENT 'sum of price × quantity, of the quote asset',
    vwap Float64 COMMENT 'mean price, weighted by quantity',
    buy_volume Float64 COMMENT 'the part of volume in which the taker bought',
    trades UInt64 COMMENT 'number of trades, also where aggregate is true: those that the aggregates cover'
)
AS
SELECT
    exchange,
    market,
    symbol,
    bar.aggregate     AS aggregate,
    minute,
    bar.open          AS open,
    bar.high          AS high,
    bar.low           AS low,
    bar.close         AS close,
    bar.volume        AS volume,
    bar.quote_volume  AS quote_volume,
    bar.vwap          AS vwap,
    bar.buy_volume    AS buy_volume,
    bar.trades        AS trades
FROM
(
    SELECT
        exchange, market, symbol, minute,
        argMax(CAST((kind, open, high, low, close, volume, quote_volume, vwap, buy_volume, trades),
            'Tuple(aggregate Bool, open Float64, high Float64, low Float64, close Float64, volume Float64, quote_volume Float64, vwap Float64, buy_volume Float64, trades UInt64)'),
            (volume, NOT kind)) AS bar
    FROM
    (
        SELECT
            exchange, market, symbol, minute, kind,
            argMin(price_e8, id) / 1e8 AS open,
            max(price_e8) / 1e8        AS high,
            min(price_e8) / 1e8        AS low,
            argMax(price_e8, id) / 1e8 AS close,
            sum(toInt128(quantity_e8)) / 1e8                    AS volume,
            sum(toFloat64(price_e8) * quantity_e8) / 1e16       AS quote_volume,
            if(volume = 0, nan, quote_volume / volume)          AS vwap,
            sumIf(toInt128(quantity_e8), NOT buyer_maker) / 1e8 AS buy_volume,
            sum(trades_of)                                      AS trades
        FROM
        (
            SELECT
                exchange, market, symbol, t.aggregate AS kind, toStartOfMinute(t.trade_time) AS minute, id,
                any(t.price_e8) AS price_e8, any(t.quantity_e8) AS quantity_e8, any(t.buyer_maker) AS buyer_maker,
                any(if(t.aggregate, toUInt64(greatest(1, t.last_id - t.first_id + 1)), 1)) AS trades_of
            FROM `golden`.`p_trades` AS t
            GROUP BY exchange, market, symbol, kind, minute, id
        )
        GROUP BY exchange, market, symbol, minute, kind
    )
    GROUP BY exchange, market, symbol, minute
)
COMMENT 'bars of a minute by the clock of the matching engine, each trade counted once, also where single and aggregate trades are both stored: a bar is made of the kind of which the minute has the greater volume, as one of them may have been collected for a part of it only, and of single trades if equal. Filter by exchange, market, symbol and minute';

DROP VIEW IF EXISTS `golden`.`p_bars_1m_refresh`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `golden`.`p_bars_1m_refresh`
REFRESH EVERY 1 MINUTE APPEND TO `golden`.`p_bars_1m_stored` AS
SELECT
    exchange, market, symbol, false AS aggregate, kind AS of_aggregates, minute,
    open, high, low, close, volume, quote_volume, vwap, buy_volume, trades, now64(3, 'UTC') AS computed_at
FROM
(
    SELECT * EXCEPT (aggregate), aggregate AS kind
    FROM `golden`.`p_bars_1m`
    WHERE (exchange, market, symbol, minute) IN
    (
        SELECT exchange, market, symbol, toStartOfMinute(trade_time)
        FROM `golden`.`p_trades`
        WHERE _part IN
        (
            SELECT name FROM system.parts
            WHERE database = 'golden' AND table = 'p_trades' AND active
                AND modification_time >= (SELECT max(computed_at) - INTERVAL 2 MINUTE FROM `golden`.`p_bars_1m_stored`)
        )
    )
)
SETTINGS max_bytes_before_external_group_by = 1073741824
COMMENT 'computes the bars of the minutes of which parts have come since it last did, each from all of its trades';

CREATE OR REPLACE VIEW `golden`.`p_spreads_1m`
(
    exchange LowCardinality(String) COMMENT 'the exchange: binance',
    market LowCardinality(String) COMMENT 'its market: spot, usdm or coinm',
    symbol LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    minute DateTime('UTC') COMMENT 'start of the minute, UTC',
    spread_min Float64 COMMENT 'smallest ask - bid',
    spread_avg Float64 COMMENT 'mean of ask - bid over the tickers of the minute',
    spread_max Float64 COMMENT 'largest ask - bid',
    spread_avg_bps Float64 COMMENT 'mean spread in hundredths of a percent of the middle price',
    bid_qty_avg Float64 COMMENT 'mean quantity at the best bid',
    ask_qty_avg Float64 COMMENT 'mean quantity at the best ask',
    mid_close Float64 COMMENT 'last price halfway between best bid and best ask',
    updates UInt64 COMMENT 'number of tickers'
)
AS
SELECT
    exchange,
    market,
    symbol,
    minute,
    min(ask_e8 - bid_e8) / 1e8 AS spread_min,
    avg(ask_e8 - bid_e8) / 1e8 AS spread_avg,
    max(ask_e8 - bid_e8) / 1e8 AS spread_max,
    avg(2e4 * (ask_e8 - bid_e8) / (toFloat64(ask_e8) + bid_e8)) AS spread_avg_bps,
    avg(bid_qty_e8) / 1e8 AS bid_qty_avg,
    avg(ask_qty_e8) / 1e8 AS ask_qty_avg,
    argMax((toFloat64(bid_e8) + ask_e8) / 2e8, update_id) AS mid_close,
    count() AS updates
FROM
(
    SELECT
        exchange, market, symbol, toStartOfMinute(ts) AS minute, update_id,
        any(t.bid_price_e8) AS bid_e8, any(t.ask_price_e8) AS ask_e8, any(t.bid_qty_e8) AS bid_qty_e8, any(t.ask_qty_e8) AS ask_qty_e8
    FROM `golden`.`p_tickers` AS t
    WHERE t.bid_qty_e8 > 0 AND t.ask_qty_e8 > 0
    GROUP BY exchange, market, symbol, minute, update_id
)
GROUP BY exchange, market, symbol, minute
COMMENT 'best bid and ask over minutes, averages by update; a side that is empty is left out. A spot ticker has no other time than that of its arrival';

CREATE OR REPLACE VIEW `golden`.`p_depths_1m`
(
    exchange LowCardinality(String) COMMENT 'the exchange: binance',
    market LowCardinality(String) COMMENT 'its market: spot, usdm or coinm',
    symbol LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    minute DateTime('UTC') COMMENT 'start of the minute, UTC',
    bid_qty_10bps Float64 COMMENT 'quantity of bids down to a tenth of a percent below the middle price',
    ask_qty_10bps Float64 COMMENT 'quantity of asks up to a tenth of a percent above it',
    bid_qty_100bps Float64 COMMENT 'quantity of bids down to a percent below the middle price',
    ask_qty_100bps Float64 COMMENT 'quantity of asks up to a percent above it',
    bid_levels Float64 COMMENT 'number of stored bids',
    ask_levels Float64 COMMENT 'number of stored asks',
    snapshots UInt64 COMMENT 'number of snapshots that the means are of'
)
AS
SELECT
    exchange,
    market,
    symbol,
    minute,
    avg(bid_10bps) / 1e8 AS bid_qty_10bps,
    avg(ask_10bps) / 1e8 AS ask_qty_10bps,
    avg(bid_100bps) / 1e8 AS bid_qty_100bps,
    avg(ask_100bps) / 1e8 AS ask_qty_100bps,
    avg(bid_levels) AS bid_levels,
    avg(ask_levels) AS ask_levels,
    count() AS snapshots
FROM
(
    SELECT
        exchange, market, symbol, toStartOfMinute(ts) AS minute, last_id,
        any(arraySum((p, q) -> if(p >= (toFloat64(bid_price_e8[1]) + ask_price_e8[1]) / 2 * 0.999, toFloat64(q), 0), bid_price_e8, bid_qty_e8)) AS bid_10bps,
        any(arraySum((p, q) -> if(p <= (toFloat64(bid_price_e8[1]) + ask_price_e8[1]) / 2 * 1.001, toFloat64(q), 0), ask_price_e8, ask_qty_e8)) AS ask_10bps,
        any(arraySum((p, q) -> if(p >= (toFloat64(bid_price_e8[1]) + ask_price_e8[1]) / 2 * 0.99, toFloat64(q), 0), bid_price_e8, bid_qty_e8)) AS bid_100bps,
        any(arraySum((p, q) -> if(p <= (toFloat64(bid_price_e8[1]) + ask_price_e8[1]) / 2 * 1.01, toFloat64(q), 0), ask_price_e8, ask_qty_e8)) AS ask_100bps,
        any(length(bid_price_e8)) AS bid_levels,
        any(length(ask_price_e8)) AS ask_levels
    FROM `golden`.`p_book_snapshots`
    WHERE notEmpty(bid_price_e8) AND notEmpty(ask_price_e8)
    GROUP BY exchange, market, symbol, minute, last_id
)
GROUP BY exchange, market, symbol, minute
COMMENT 'quantity within a tenth of a percent and a percent of the middle price, averages of the stored snapshots of a minute';

CREATE OR REPLACE VIEW `golden`.`p_trades_dedup`
(
    exchange LowCardinality(String) COMMENT 'the exchange: binance',
    market LowCardinality(String) COMMENT 'its market: spot, usdm or coinm',
    symbol LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    trade_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC, to the millisecond; 1970 where unknown',
    id Int64 COMMENT 'trade id',
    price Float64 COMMENT 'price, of the quote asset',
    quantity Float64 COMMENT 'quantity, of the base asset (coinm: contracts)',
    quote_quantity Float64 COMMENT 'price × quantity',
    side String COMMENT 'what the taker did: buy or sell',
    price_decimal Decimal(38, 8) COMMENT 'price, exact',
    quantity_decimal Decimal(38, 8) COMMENT 'quantity, exact',
    ts DateTime64(9, 'UTC') COMMENT 'exchange clock when it was sent, or received_at where the exchange sends none; the earliest of its copies',
    received_at DateTime64(9, 'UTC') COMMENT 'clock of the collector; the earliest of its copies',
    exact_trade_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC, to the microsecond where a copy has it; 1970 where unknown. Filter by trade_time'
)
AS
SELECT
    exchange, market, symbol, trade_ms AS trade_time, id,
    price_e8 / 1e8                          AS price,
    quantity_e8 / 1e8                       AS quantity,
    price * quantity                        AS quote_quantity,
    if(buyer_maker, 'sell', 'buy')          AS side,
    toDecimal128(price_e8, 8) / 100000000   AS price_decimal,
    toDecimal128(quantity_e8, 8) / 100000000 AS quantity_decimal,
    first_ts                                AS ts,
    first_received                          AS received_at,
    exact_time                              AS exact_trade_time
FROM
(
    SELECT
        exchange, market, symbol, toStartOfMillisecond(t.trade_time) AS trade_ms, id, t.price_e8 AS price_e8, t.quantity_e8 AS quantity_e8, t.buyer_maker AS buyer_maker,
        max(t.trade_time) AS exact_time, min(t.ts) AS first_ts, min(t.received_at) AS first_received
    FROM `golden`.`p_trades` AS t
    WHERE NOT t.aggregate
    GROUP BY exchange, market, symbol, trade_ms, id, price_e8, quantity_e8, buyer_maker
)
COMMENT 'single trades, each once; aggregates are in agg_trades_dedup, so both cannot be added up. Filter by exchange, market, symbol and trade_time: other conditions read all trades of the symbol';

CREATE OR REPLACE VIEW `golden`.`p_agg_trades_dedup`
(
    exchange LowCardinality(String) COMMENT 'the exchange: binance',
    market LowCardinality(String) COMMENT 'its market: spot, usdm or coinm',
    symbol LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    trade_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC, to the millisecond; 1970 where unknown',
    id Int64 COMMENT 'aggregate id',
    price Float64 COMMENT 'price, of the quote asset',
    quantity Float64 COMMENT 'quantity, of the base asset (coinm: contracts)',
    quote_quantity Float64 COMMENT 'price × quantity',
    side String COMMENT 'what the taker did: buy or sell',
    price_decimal Decimal(38, 8) COMMENT 'price, exact',
    quantity_decimal Decimal(38, 8) COMMENT 'quantity, exact',
    ts DateTime64(9, 'UTC') COMMENT 'exchange clock when it was sent, or received_at where the exchange sends none; the earliest of its copies',
    received_at DateTime64(9, 'UTC') COMMENT 'clock of the collector; the earliest of its copies',
    exact_trade_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC, to the microsecond where a copy has it; 1970 where unknown. Filter by trade_time',
    first_id Int64 COMMENT 'first trade id that it covers',
    last_id Int64 COMMENT 'last trade id that it covers'
)
AS
SELECT
    exchange, market, symbol, trade_ms AS trade_time, id,
    price_e8 / 1e8                          AS price,
    quantity_e8 / 1e8                       AS quantity,
    price * quantity                        AS quote_quantity,
    if(buyer_maker, 'sell', 'buy')          AS side,
    toDecimal128(price_e8, 8) / 100000000   AS price_decimal,
    toDecimal128(quantity_e8, 8) / 100000000 AS quantity_decimal,
    first_ts                                AS ts,
    first_received                          AS received_at,
    exact_time                              AS exact_trade_time,
    first_id,
    last_id
FROM
(
    SELECT
        exchange, market, symbol, toStartOfMillisecond(t.trade_time) AS trade_ms, id, t.price_e8 AS price_e8, t.quantity_e8 AS quantity_e8, t.buyer_maker AS buyer_maker, t.first_id AS first_id, t.last_id AS last_id,
        max(t.trade_time) AS exact_time, min(t.ts) AS first_ts, min(t.received_at) AS first_received
    FROM `golden`.`p_trades` AS t
    WHERE t.aggregate
    GROUP BY exchange, market, symbol, trade_ms, id, price_e8, quantity_e8, buyer_maker, first_id, last_id
)
COMMENT 'aggregate trades, each once: the trades of one taker at one price and time. The same trades by themselves are in trades_dedup. Filter by exchange, market, symbol and trade_time: other conditions read all trades of the symbol';

CREATE OR REPLACE VIEW `golden`.`p_tickers_dedup`
(
    exchange LowCardinality(String) COMMENT 'the exchange: binance',
    market LowCardinality(String) COMMENT 'its market: spot, usdm or coinm',
    symbol LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    day Date COMMENT 'UTC day of receipt of a spot ticker, and of the event elsewhere: filter by it',
    ts DateTime64(9, 'UTC') COMMENT 'exchange clock, or received_at where the exchange sends no time (spot), UTC; the earliest of its copies',
    received_at DateTime64(9, 'UTC') COMMENT 'clock of the collector, UTC; the earliest of its copies',
    transact_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC; 1970 where unknown',
    update_id Int64 COMMENT 'update id of the book',
    bid_price Float64 COMMENT 'best bid; 0 if there is no bid',
    bid_qty Float64 COMMENT 'quantity at the best bid; 0 if there is no bid',
    ask_price Float64 COMMENT 'best ask; 0 if there is no ask',
    ask_qty Float64 COMMENT 'quantity at the best ask; 0 if there is no ask',
    bid_price_decimal Decimal(38, 8) COMMENT 'bid_price, exact',
    bid_qty_decimal Decimal(38, 8) COMMENT 'bid_qty, exact',
    ask_price_decimal Decimal(38, 8) COMMENT 'ask_price, exact',
    ask_qty_decimal Decimal(38, 8) COMMENT 'ask_qty, exact'
)
AS
SELECT
    exchange, market, symbol, day,
    first_ts       AS ts,
    first_received AS received_at,
    transacted     AS transact_time,
    update_id,
    bid_e8 / 1e8     AS bid_price,
    bid_qty_e8 / 1e8 AS bid_qty,
    ask_e8 / 1e8     AS ask_price,
    ask_qty_e8 / 1e8 AS ask_qty,
    toDecimal128(bid_e8, 8) / 100000000     AS bid_price_decimal,
    toDecimal128(bid_qty_e8, 8) / 100000000 AS bid_qty_decimal,
    toDecimal128(ask_e8, 8) / 100000000     AS ask_price_decimal,
    toDecimal128(ask_qty_e8, 8) / 100000000 AS ask_qty_decimal
FROM 
(
    SELECT
        exchange, market, symbol, toDate(t.ts) AS day, t.update_id AS update_id,
        t.bid_price_e8 AS bid_e8, t.bid_qty_e8 AS bid_qty_e8, t.ask_price_e8 AS ask_e8, t.ask_qty_e8 AS ask_qty_e8,
        min(t.ts) AS first_ts, min(t.received_at) AS first_received, max(t.transact_time) AS transacted
    FROM `golden`.`p_tickers` AS t
    GROUP BY exchange, market, symbol, day, update_id, bid_e8, bid_qty_e8, ask_e8, ask_qty_e8
)
COMMENT 'best bid and best ask at each change, each once; a copy of the next UTC day counts again. Filter by exchange, market, symbol and day: other conditions, as those on ts, read all tickers of the symbol';

CREATE OR REPLACE VIEW `golden`.`p_top_of_book`
(
    exchange LowCardinality(String) COMMENT 'the exchange: binance',
    market LowCardinality(String) COMMENT 'its market: spot, usdm or coinm',
    symbol LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
    day Date COMMENT 'UTC day of receipt of a spot ticker, and of the event elsewhere: filter by it',
    ts DateTime64(9, 'UTC') COMMENT 'exchange clock, or received_at where the exchange sends no time (spot), UTC; the earliest of its copies',
    received_at DateTime64(9, 'UTC') COMMENT 'clock of the collector, UTC; the earliest of its copies',
    update_id Int64 COMMENT 'update id of the book',
    bid_price Float64 COMMENT 'best bid; 0 if there is no bid',
    bid_qty Float64 COMMENT 'quantity at the best bid; 0 if there is no bid',
    ask_price Float64 COMMENT 'best ask; 0 if there is no ask',
    ask_qty Float64 COMMENT 'quantity at the best ask; 0 if there is no ask',
    two_sided UInt8 COMMENT 'there is a bid and an ask',
    mid Float64 COMMENT 'price halfway between best bid and best ask; nan unless two_sided',
    spread Float64 COMMENT 'ask_price - bid_price; nan unless two_sided',
    spread_bps Float64 COMMENT 'spread in hundredths of a percent of mid; nan unless two_sided',
    imbalance Float64 COMMENT '(bid_qty - ask_qty) / (bid_qty + ask_qty): 1 is all bids, -1 all asks; nan if both are 0, or one is the largest number that can be stored, which means that or more',
    microprice Float64 COMMENT 'mid weighted by the quantities: a large bid quantity moves it towards the ask; nan unless two_sided, or if imbalance is nan'
)
AS
SELECT
    exchange, market, symbol, day,
    first_ts       AS ts,
    first_received AS received_at,
    update_id,
    bid_e8 / 1e8     AS bid_price,
    bid_qty_e8 / 1e8 AS bid_qty,
    ask_e8 / 1e8     AS ask_price,
    ask_qty_e8 / 1e8 AS ask_qty,
    bid_qty_e8 > 0 AND ask_qty_e8 > 0               AS two_sided,
    if(two_sided, (bid_price + ask_price) / 2, nan) AS mid,
    if(two_sided, (ask_e8 - bid_e8) / 1e8, nan)     AS spread,
    1e4 * spread / mid                              AS spread_bps,
    if(greatest(bid_qty_e8, ask_qty_e8) BETWEEN 1 AND 9223372036854775806, (bid_qty - ask_qty) / (bid_qty + ask_qty), nan) AS imbalance,
    if(two_sided AND NOT isNaN(imbalance), (bid_price * ask_qty + ask_price * bid_qty) / (bid_qty + ask_qty), nan) AS microprice
FROM 
(
    SELECT
        exchange, market, symbol, toDate(t.ts) AS day, t.update_id AS update_id,
        t.bid_price_e8 AS bid_e8, t.bid_qty_e8 AS bid_qty_e8, t.ask_price_e8 AS ask_e8, t.ask_qty_e8 AS ask_qty_e8,
        min(t.ts) AS first_ts, min(t.received_at) AS first_received, max(t.transact_time) AS transacted
    FROM `golden`.`p_tickers` AS t
    GROUP BY exchange, market, symbol, day, update_id, bid_e8, bid_qty_e8, ask_e8, ask_qty_e8
)
COMMENT 'the touch of the book at each change: best prices and what follows from them, from the tickers, each once; a copy of the next UTC day counts again. Filter by exchange, market, symbol and day: other conditions, as those on ts, read all tickers of the symbol';

CREATE OR REPLACE VIEW `golden`.`p_book_at` AS
WITH
    -- The epoch of t: ids count only between the two nearest times at which they went back. From, to, by both clocks.
    (
        SELECT (epochs[n].1, epochs[n].2, epochs[n + 1].1, epochs[n + 1].2)
        FROM
        (
            SELECT
                arrayConcat([(-9223372036854775808, -9223372036854775808, 0)]::Array(Tuple(Int64, Int64, Int64)),
                    arrayFold((a, g) -> if(notEmpty(a) AND a[-1].3 = g.3 AND g.1 - a[-1].1 <= 1000000000,
                        arrayPushBack(arrayPopBack(a), (a[-1].1, least(a[-1].2, g.2), g.3)), arrayPushBack(a, g)),
                        gaps_back, []::Array(Tuple(Int64, Int64, Int64))),
                    [(9223372036854775807, 9223372036854775807, 0)]::Array(Tuple(Int64, Int64, Int64))) AS epochs,
                arrayCount(e -> e.1 <= toUnixTimestamp64Nano({t:DateTime64(9, 'UTC')}), epochs) AS n
            FROM
            (
                SELECT groupArray((sent, received, after_id)) AS gaps_back
                FROM
                (
                    SELECT toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed, after_id FROM `golden`.`p_gaps`
                    WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String} AND reason = 'regressed' ORDER BY ts, received_at
                )
            )
        )
    ) AS epoch,
    -- The last update, or none: sent, last_id, received.
    (
        SELECT groupArray((sent, last_id, received))
        FROM
        (
            SELECT toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed, last_id FROM `golden`.`p_depth_events`
            WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String} AND ts <= {t:DateTime64(9, 'UTC')} AND arrayExists(e -> if(timed, sent, received) >= if(timed, e.1, e.2) AND if(timed, sent, received) < if(timed, e.3, e.4), [epoch])
            ORDER BY ts DESC, last_id DESC LIMIT 1
        )
    ) AS last_update,
    -- What the book is built from: found, snapshot, epoch, last update, time from which updates are read. It is the
    -- newest snapshot by time, or by id if the last update follows one that arrived later, or one of a higher id.
    -- Where it arrived long after the updates, as with a recording that was played back, all earlier ones are read.
    (
        SELECT (found, if(n > 0, higher, newest) AS start, e, l, if(notEmpty(l) AND start.1 - l[1].1 > 600000000000, 0, if(notEmpty(l), least(start.1, l[1].1), start.1) - 600000000000))
        FROM
        (
            SELECT any(f) AS found, any(s) AS newest, any(ep) AS e, any(lu) AS l,
                argMaxIf(snapshot, (last_id, sent, levels), counts) AS higher, countIf(counts) AS n
            FROM
            (
                SELECT *,
                    sent <= s.1 AND sent >= s.1 - 600000000000 AND last_id > s.2 AND if(timed, sent, received) >= if(timed, ep.1, ep.2) AND if(timed, sent, received) < if(timed, ep.3, ep.4)
                    AND (notEmpty(lu) AND last_id <= lu[1].2
                        OR sent <= toUnixTimestamp64Nano({t:DateTime64(9, 'UTC')}) AND (empty(lu) OR received >= lu[1].3 - 5000000000)) AS counts
                FROM (
                SELECT toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed, last_id, length(bid_price_e8) AS levels,
                    (sent, last_id, received, levels, bid_limited, bid_bound_e8, ask_limited, ask_bound_e8, timed) AS snapshot
                FROM `golden`.`p_book_snapshots` WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String}
            ) AS all_snapshots
                CROSS JOIN
                (
                    SELECT n_time + n_id > 0 AS f, if(n_id > 0 AND (n_time = 0 OR if(by_id.9 AND by_time.9, by_id.1 > by_time.1, by_id.3 > by_time.3)), by_id, by_time) AS s, e AS ep, l AS lu
                    FROM
                    (
                        SELECT any(ep) AS e, any(lu) AS l,
                            argMaxIf(snapshot, (sent, last_id, levels), in_time) AS by_time, countIf(in_time) AS n_time,
                            argMaxIf(snapshot, (sent, last_id, levels), in_ids) AS by_id, countIf(in_ids) AS n_id
                        FROM
                        (
                            SELECT *,
                                sent <= toUnixTimestamp64Nano({t:DateTime64(9, 'UTC')}) AND if(timed, sent, received) >= if(timed, ep.1, ep.2) AND if(timed, sent, received) < if(timed, ep.3, ep.4) AS in_time,
                                notEmpty(lu) AND last_id <= lu[1].2 AND received <= lu[1].3 + 600000000000 AND if(timed, sent, received) >= if(timed, ep.1, ep.2) AND if(timed, sent, received) < if(timed, ep.3, ep.4) AS in_ids
                            FROM (
                SELECT toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed, last_id, length(bid_price_e8) AS levels,
                    (sent, last_id, received, levels, bid_limited, bid_bound_e8, ask_limited, ask_bound_e8, timed) AS snapshot
                FROM `golden`.`p_book_snapshots` WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String}
            ) AS all_snapshots
                            CROSS JOIN (SELECT epoch AS ep, last_update AS lu) AS known
                        )
                    )
                ) AS chosen
            )
        )
    ) AS base,
    -- The ids of the updates: the id that the book reaches, the time after which updates count (ids may have gone back
    -- unnoticed), updates that came when the book had passed them, and the base. It throws where the book is not known.
    (
        SELECT (reached, after, passed, b,
            throwIf(NOT b.1, 'book_at: no snapshot of this instrument is stored before t')
            + throwIf(is_broken OR arrayExists(g -> g.1 >= b.2.1 - 5000000000 AND (g.2 > b.2.3 OR g.2 = b.2.3 AND g.3 > b.2.2) AND g.3 >= reached, gap_list)
                AND NOT (n_next > 0 AND next_id = reached)
                AND NOT arrayExists(u -> u.1 > reached AND u.2 <= reached, [arrayFirst(u -> u.1 > reached, next_updates)]),
                'book_at: updates before t are missing, so the book is not known'))
        FROM
        (
            SELECT base AS b, n = 0 ? b.2.2 : greatest(b.2.2, highest) AS reached, n = 0 ? 9223372036854775807 : latest_cut AS after, passed, is_broken
            FROM
            (
                SELECT count() AS n, max(last_id) AS highest, max(cut) AS latest_cut, max(before > so_far) AS is_broken,
                    groupArrayIf((sent, first_id, last_id), before < base_id AND last_id > base_id AND last_id <= earlier) AS passed
                FROM
                (
                    SELECT sent, first_id, last_id, before, cut, base_id,
                        if(row_number() OVER by_ids = 1, if(base_id = -1, before, base_id),
                            greatest(base_id, max(last_id) OVER (ORDER BY before, last_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))) AS so_far,
                        max(last_id) OVER (ORDER BY sent, last_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier
                    FROM
                    (
                        SELECT DISTINCT sent, first_id, last_id, before, cut, base_id
                        FROM
                        (
                            SELECT sent, first_id, last_id, before, w.2.2 AS base_id,
                                if(timed, sent, received) >= if(timed, w.3.1, w.3.2) AND if(timed, sent, received) < if(timed, w.3.3, w.3.4) AND last_id >= base_id AS counts,
                                max(if(notEmpty(w.4) AND last_id >= w.4[1].2 AND sent < w.4[1].1 - 5000000000, sent, 0)) OVER () AS cut
                            FROM
                            (
                                SELECT toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed, first_id, last_id, if({market:String} = 'spot', first_id - 1, prev_id) AS before
            FROM `golden`.`p_depth_events` WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String} AND ts >= fromUnixTimestamp64Nano(base.5, 'UTC') AND ts <= {t:DateTime64(9, 'UTC')}
                            ) AS u
                            CROSS JOIN (SELECT base AS w) AS known
                        )
                        WHERE counts AND sent > cut
                    )
                    WINDOW by_ids AS (ORDER BY before, last_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
                )
            )
        ) AS ids
        CROSS JOIN
        (
            SELECT groupArray((sent, received, after_id)) AS gap_list
            FROM
            (
                SELECT toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed, after_id FROM `golden`.`p_gaps`
                WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String} AND reason != 'regressed' AND ts <= {t:DateTime64(9, 'UTC')} AND arrayExists(e -> if(timed, sent, received) >= if(timed, e.1, e.2) AND if(timed, sent, received) < if(timed, e.3, e.4), [epoch])
            )
        ) AS gap_records
        CROSS JOIN
        (
            SELECT count() AS n_next, argMin(last_id, (sent, last_id)) AS next_id
            FROM (
                SELECT toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed, last_id, length(bid_price_e8) AS levels,
                    (sent, last_id, received, levels, bid_limited, bid_bound_e8, ask_limited, ask_bound_e8, timed) AS snapshot
                FROM `golden`.`p_book_snapshots` WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String}
            ) AS all_snapshots
            WHERE sent > toUnixTimestamp64Nano({t:DateTime64(9, 'UTC')}) AND arrayExists(e -> if(timed, sent, received) >= if(timed, e.1, e.2) AND if(timed, sent, received) < if(timed, e.3, e.4), [epoch])
        ) AS next_snapshot
        CROSS JOIN
        (
            SELECT groupArray((last_id, before)) AS next_updates
            FROM
            (
                SELECT toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed, first_id, last_id, if({market:String} = 'spot', first_id - 1, prev_id) AS before
            FROM `golden`.`p_depth_events` WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String} AND ts > {t:DateTime64(9, 'UTC')} AND arrayExists(e -> if(timed, sent, received) >= if(timed, e.1, e.2) AND if(timed, sent, received) < if(timed, e.3, e.4), [epoch])
                ORDER BY ts, last_id LIMIT 1000
            )
        ) AS later
    ) AS ids
SELECT
    side,
    toUInt32(row_number() OVER (PARTITION BY side ORDER BY if(side = 'bid', -price_e8, price_e8))) AS level,
    price_e8 / 1e8    AS price,
    quantity_e8 / 1e8 AS quantity,
    toDecimal128(price_e8, 8) / 100000000    AS price_decimal,
    toDecimal128(quantity_e8, 8) / 100000000 AS quantity_decimal,
    multiIf(i.4.2.2 = -1 AND i.1 != -1, false,
        side = 'bid', NOT i.4.2.5 OR price_e8 >= i.4.2.6, NOT i.4.2.7 OR price_e8 <= i.4.2.8) AS known,
    i.1 AS update_id
FROM
(
    SELECT side, level_price AS price_e8, argMax(level_quantity, (last_id, is_update, n)) AS quantity_e8, any(i) AS i
    FROM
    (
        SELECT last_id, is_update, n, if(n <= length(bid_price_e8), 'bid', 'ask') AS side, level_price, level_quantity, i
        FROM
        (
            (
                SELECT false AS is_update, toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed, toInt64(0) AS first_id, last_id, bid_price_e8, bid_qty_e8, ask_price_e8, ask_qty_e8
                FROM `golden`.`p_book_snapshots`
                WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String} AND ts = fromUnixTimestamp64Nano(base.2.1, 'UTC')
            )
            UNION ALL
            (
                SELECT true AS is_update, toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed, first_id, last_id, bid_price_e8, bid_qty_e8, ask_price_e8, ask_qty_e8
                FROM `golden`.`p_depth_events`
                WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String} AND ts >= fromUnixTimestamp64Nano(base.5, 'UTC') AND ts <= {t:DateTime64(9, 'UTC')}
            )
        ) AS stored
        CROSS JOIN (SELECT ids AS i) AS known
        ARRAY JOIN
            arrayConcat(bid_price_e8, ask_price_e8) AS level_price,
            arrayConcat(bid_qty_e8, ask_qty_e8) AS level_quantity,
            arrayEnumerate(arrayConcat(bid_price_e8, ask_price_e8)) AS n
        WHERE if(is_update,
            if(timed, sent, received) >= if(timed, i.4.3.1, i.4.3.2) AND if(timed, sent, received) < if(timed, i.4.3.3, i.4.3.4) AND sent > i.2 AND (last_id > i.4.2.2 OR last_id = i.4.2.2 AND {market:String} != 'spot')
                AND NOT has(i.3, (sent, first_id, last_id)),
            last_id = i.4.2.2 AND received = i.4.2.3 AND length(bid_price_e8) = i.4.2.4)
    )
    GROUP BY side, level_price
    HAVING quantity_e8 > 0
)
ORDER BY side DESC, level
COMMENT 'the order book at a time, as Store.BookAt gives it: book_at(exchange = …, market = …, symbol = …, t = …), t in UTC, all constants. A row is a level: side (bid or ask), level (1 is the best), price, quantity, both also exact as price_decimal and quantity_decimal, known (false: beyond the depth up to which the side is complete), update_id of the book. It fails where no snapshot is stored before t, or updates are missing';

ALTER TABLE `golden`.`p_depth_events` MODIFY COLUMN `bid_price_e8` CODEC(GCD, T64, ZSTD(3));

ALTER TABLE `golden`.`p_depth_events` MODIFY COLUMN `first_id` CODEC(DoubleDelta, ZSTD);

ALTER TABLE `golden`.`p_trades` ADD INDEX IF NOT EXISTS `by_id` `id` TYPE minmax GRANULARITY 1;

ALTER TABLE `golden`.`p_trades` ADD INDEX IF NOT EXISTS `by_price` `price` TYPE bloom_filter(0.01) GRANULARITY 4;

ALTER TABLE `golden`.`p_trades` ADD INDEX IF NOT EXISTS `by_source` `src` TYPE set(100) GRANULARITY 2;
