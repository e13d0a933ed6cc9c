CREATE DATABASE IF NOT EXISTS `golden`;

CREATE TABLE IF NOT EXISTS `golden`.`p_schema_migrations`
(
    version    UInt32,
    name       String,
    checksum   String,
    applied_at DateTime64(3, 'UTC'),
    took_ms    UInt32
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY version;

CREATE TABLE IF NOT EXISTS `golden`.`p_depth_events`
(
    exchange      LowCardinality(String),
    market        LowCardinality(String),
    symbol        LowCardinality(String),
    ts            DateTime64(9, 'UTC') COMMENT 'exchange clock, or received_at where timed is false'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange told the time of the event'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'clock of the collector'
        CODEC(GCD, Delta, ZSTD(1)),
    transact_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
    own_time      Int64                COMMENT 'event time inside the payload, ns since 1970; -1: the same as event_time, 0: none'
        CODEC(T64, ZSTD(1)),
    first_id      Int64                CODEC(Delta, ZSTD(1)),
    last_id       Int64                CODEC(Delta, ZSTD(1)),
    prev_id       Int64                CODEC(Delta, ZSTD(1)),
    bid_price_e8  Array(Int64)         CODEC(GCD, T64, ZSTD(1)),
    bid_qty_e8    Array(Int64)         CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Array(Int64)         CODEC(GCD, T64, ZSTD(1)),
    ask_qty_e8    Array(Int64)         CODEC(GCD, T64, ZSTD(1)),
    src           LowCardinality(String) COMMENT 'the stream the row came through',
    seq           UInt64               COMMENT 'its position there'
        CODEC(Delta, ZSTD(1)),

    event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC')),
    bids Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), bid_price_e8, bid_qty_e8),
    asks Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), ask_price_e8, ask_qty_e8),

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = ReplacingMergeTree
PARTITION BY (toISOYear(ts) * 100) + toISOWeek(ts)
ORDER BY (exchange, market, symbol, ts, last_id, first_id, received_at, src, seq)
TTL toDateTime(ts) + toIntervalSecond(86400) TO VOLUME 'cold', toDateTime(ts) + toIntervalSecond(2592000)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000, deduplicate_merge_projection_mode = 'rebuild', storage_policy = 'tiered', index_granularity = 8192;

CREATE TABLE IF NOT EXISTS `golden`.`p_book_snapshots`
(
    exchange      LowCardinality(String),
    market        LowCardinality(String),
    symbol        LowCardinality(String),
    ts            DateTime64(9, 'UTC') COMMENT 'exchange clock, or received_at where timed is false'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange told the time of the event'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'clock of the collector'
        CODEC(GCD, Delta, ZSTD(1)),
    transact_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
    own_time      Int64                COMMENT 'event time inside the payload, ns since 1970; -1: the same as event_time, 0: none'
        CODEC(T64, ZSTD(1)),
    last_id       Int64                CODEC(Delta, ZSTD(1)),
    bid_price_e8  Array(Int64)         CODEC(GCD, Delta, ZSTD(1)),
    bid_qty_e8    Array(Int64)         CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Array(Int64)         CODEC(GCD, Delta, ZSTD(1)),
    ask_qty_e8    Array(Int64)         CODEC(GCD, T64, ZSTD(1)),
    bid_limited   Bool                 COMMENT 'bids worse than bid_bound_e8 are not all known'
        CODEC(ZSTD(1)),
    bid_bound_e8  Int64                COMMENT 'the worst price up to which the bids are known'
        CODEC(Delta, ZSTD(1)),
    ask_limited   Bool                 CODEC(ZSTD(1)),
    ask_bound_e8  Int64                CODEC(Delta, ZSTD(1)),
    src           LowCardinality(String) COMMENT 'the stream the row came through',
    seq           UInt64               COMMENT 'its position there'
        CODEC(Delta, ZSTD(1)),

    event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC')),
    bids Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), bid_price_e8, bid_qty_e8),
    asks Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), ask_price_e8, ask_qty_e8),

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = ReplacingMergeTree
PARTITION BY (toISOYear(ts) * 100) + toISOWeek(ts)
ORDER BY (exchange, market, symbol, ts, last_id, received_at, src, seq)
TTL toDateTime(ts) + toIntervalSecond(7776000)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000, deduplicate_merge_projection_mode = 'rebuild', storage_policy = 'tiered', index_granularity = 128;

CREATE TABLE IF NOT EXISTS `golden`.`p_trades`
(
    id            Int64                COMMENT 'trade id, or aggregate id where aggregate is true'
        CODEC(DoubleDelta, ZSTD(1)),
    exchange      LowCardinality(String),
    market        LowCardinality(String),
    symbol        LowCardinality(String),
    aggregate     Bool                 CODEC(ZSTD(1)),
    first_id      Int64                COMMENT 'trade ids an aggregate covers; 0 for a single trade'
        CODEC(Delta, ZSTD(1)),
    last_id       Int64                CODEC(Delta, ZSTD(1)),
    price_e8      Int64                CODEC(GCD, Delta, ZSTD(1)),
    quantity_e8   Int64                CODEC(GCD, T64, ZSTD(1)),
    buyer_maker   Bool                 CODEC(ZSTD(1)),
    is_best_match Bool                 CODEC(ZSTD(1)),
    ts            DateTime64(9, 'UTC') COMMENT 'exchange clock, or received_at where timed is false'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange told the time of the event'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'clock of the collector'
        CODEC(GCD, Delta, ZSTD(1)),
    trade_time    DateTime64(9, 'UTC') COMMENT 'clock of the matching engine; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
    src           LowCardinality(String) COMMENT 'the stream the row came through',
    seq           UInt64               COMMENT 'its position there'
        CODEC(Delta, ZSTD(1)),

    trade_id      String               ALIAS toString(id),
    price         Float64              ALIAS price_e8 / 1e8,
    quantity      Float64              ALIAS quantity_e8 / 1e8,
    side          LowCardinality(String) ALIAS if(buyer_maker, 'sell', 'buy'),
    receive_time  DateTime64(9, 'UTC') ALIAS received_at,
    event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC')),

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = ReplacingMergeTree
PARTITION BY (toISOYear(ts) * 100) + toISOWeek(ts)
ORDER BY (symbol, market, exchange, trade_time, id, ts, aggregate, received_at, src, seq)
TTL toDateTime(ts) + toIntervalSecond(604800) TO VOLUME 'cold', toDateTime(ts) + toIntervalSecond(31536000)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000, deduplicate_merge_projection_mode = 'rebuild', storage_policy = 'tiered', index_granularity = 1024;

CREATE TABLE IF NOT EXISTS `golden`.`p_tickers`
(
    exchange      LowCardinality(String),
    market        LowCardinality(String),
    symbol        LowCardinality(String),
    ts            DateTime64(9, 'UTC') COMMENT 'exchange clock, or received_at where timed is false'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange told the time of the event'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'clock of the collector'
        CODEC(GCD, Delta, ZSTD(1)),
    transact_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
    update_id     Int64                CODEC(Delta, ZSTD(1)),
    bid_price_e8  Int64                CODEC(GCD, Delta, ZSTD(1)),
    bid_qty_e8    Int64                CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Int64                CODEC(GCD, Delta, ZSTD(1)),
    ask_qty_e8    Int64                CODEC(GCD, T64, ZSTD(1)),
    src           LowCardinality(String) COMMENT 'the stream the row came through',
    seq           UInt64               COMMENT 'its position there'
        CODEC(Delta, ZSTD(1)),

    event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC')),
    bid_price     Float64              ALIAS bid_price_e8 / 1e8,
    bid_qty       Float64              ALIAS bid_qty_e8 / 1e8,
    ask_price     Float64              ALIAS ask_price_e8 / 1e8,
    ask_qty       Float64              ALIAS ask_qty_e8 / 1e8,

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = ReplacingMergeTree
PARTITION BY (toISOYear(ts) * 100) + toISOWeek(ts)
ORDER BY (exchange, market, symbol, ts, update_id, received_at, src, seq)
TTL toDateTime(ts) + toIntervalSecond(2592000)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000, deduplicate_merge_projection_mode = 'rebuild', storage_policy = 'tiered', index_granularity = 8192;

CREATE TABLE IF NOT EXISTS `golden`.`p_gaps`
(
    exchange      LowCardinality(String),
    market        LowCardinality(String),
    symbol        LowCardinality(String),
    ts            DateTime64(9, 'UTC') COMMENT 'exchange clock, or received_at where timed is false'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange told the time of the event'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'clock of the collector'
        CODEC(GCD, Delta, ZSTD(1)),
    after_id      Int64                COMMENT 'the last update id before the hole; 0 if the book was never known'
        CODEC(Delta, ZSTD(1)),
    reason        LowCardinality(String),
    error         String               CODEC(ZSTD(1)),
    src           LowCardinality(String) COMMENT 'the stream the row came through',
    seq           UInt64               COMMENT 'its position there'
        CODEC(Delta, ZSTD(1)),

    event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC')),

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = ReplacingMergeTree
PARTITION BY (toISOYear(ts) * 100) + toISOWeek(ts)
ORDER BY (exchange, market, symbol, ts, after_id, reason, received_at, src, seq)
TTL toDateTime(ts) + toIntervalSecond(31536000)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000, deduplicate_merge_projection_mode = 'rebuild', storage_policy = 'tiered', index_granularity = 8192;

ALTER TABLE `golden`.`p_trades` ADD INDEX IF NOT EXISTS trade_time_range trade_time TYPE minmax GRANULARITY 1;

CREATE VIEW IF NOT EXISTS `golden`.`p_bars_1m` AS
SELECT
    exchange,
    market,
    symbol,
    aggregate,
    minute,
    argMin(price_e8, id) / 1e8 AS open,
    max(price_e8) / 1e8        AS high,
    min(price_e8) / 1e8        AS low,
    argMax(price_e8, id) / 1e8 AS close,
    sum(toInt128(quantity_e8)) / 1e8                              AS volume,
    sum(toFloat64(price_e8) * quantity_e8) / 1e16                 AS quote_volume,
    if(volume = 0, nan, quote_volume / volume)                    AS vwap,
    sumIf(toInt128(quantity_e8), NOT buyer_maker) / 1e8           AS buy_volume,
    count()                                                       AS trades
FROM
(
    SELECT
        exchange, market, symbol, aggregate, toStartOfMinute(trade_time) AS minute, id,
        any(t.price_e8) AS price_e8, any(t.quantity_e8) AS quantity_e8, any(t.buyer_maker) AS buyer_maker
    FROM `golden`.`p_trades` AS t
    GROUP BY exchange, market, symbol, aggregate, minute, id
)
GROUP BY exchange, market, symbol, aggregate, minute
COMMENT 'bars of a minute by the clock of the matching engine, each trade counted once. Where single and aggregate trades are both stored, choose by the column aggregate';

CREATE VIEW IF NOT EXISTS `golden`.`p_spreads_1m` AS
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

CREATE TABLE IF NOT EXISTS `golden`.`p_leases`
(
    name   String                COMMENT 'table and stream that one Store at a time writes',
    epoch  UInt64                COMMENT 'counts the holders',
    holder String,
    turn   UInt64                COMMENT 'counts what the holder has said; the last word counts',
    until  DateTime64(3, 'UTC')  COMMENT 'clock of the server'
)
ENGINE = ReplacingMergeTree(turn)
ORDER BY (name, epoch)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `golden`.`p_bars_1m_stored`
(
    exchange     LowCardinality(String),
    market       LowCardinality(String),
    symbol       LowCardinality(String),
    aggregate    Bool                   CODEC(ZSTD(1)),
    minute       DateTime('UTC')        CODEC(DoubleDelta, ZSTD(1)),
    open         Float64                CODEC(ZSTD(1)),
    high         Float64                CODEC(ZSTD(1)),
    low          Float64                CODEC(ZSTD(1)),
    close        Float64                CODEC(ZSTD(1)),
    volume       Float64                CODEC(ZSTD(1)),
    quote_volume Float64                CODEC(ZSTD(1)),
    vwap         Float64                CODEC(ZSTD(1)),
    buy_volume   Float64                CODEC(ZSTD(1)),
    trades       UInt64                 COMMENT 'of the bars of one minute the one of most trades stays'
        CODEC(T64, ZSTD(1)),
    computed_at  DateTime64(3, 'UTC')   CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(trades)
PARTITION BY toYYYYMM(minute)
ORDER BY (exchange, market, symbol, aggregate, minute)
COMMENT 'bars_1m, computed by bars_1m_refresh: read it with FINAL';

CREATE MATERIALIZED VIEW IF NOT EXISTS `golden`.`p_bars_1m_refresh`
REFRESH EVERY 1 MINUTE APPEND TO `golden`.`p_bars_1m_stored` AS
SELECT *, now64(3, 'UTC') AS computed_at
FROM `golden`.`p_bars_1m`
WHERE (exchange, market, symbol, aggregate, minute) IN
(
    SELECT exchange, market, symbol, aggregate, toStartOfMinute(trade_time)
    FROM `golden`.`p_trades`
    WHERE _part IN
    (
        SELECT name FROM system.parts
        WHERE database = 'golden' AND table = 'p_trades' AND active
            AND modification_time >= (SELECT max(computed_at) - INTERVAL 2 MINUTE FROM `golden`.`p_bars_1m_stored`)
    )
)
SETTINGS max_bytes_before_external_group_by = 1073741824
COMMENT 'computes the bars of the minutes of which parts have come since it last did, each from all of its trades';

CREATE VIEW IF NOT EXISTS `golden`.`p_depths_1m` AS
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

ALTER TABLE `golden`.`p_depth_events` MODIFY COLUMN `bid_price_e8` CODEC(GCD, T64, ZSTD(3));

ALTER TABLE `golden`.`p_depth_events` MODIFY COLUMN `first_id` CODEC(DoubleDelta, ZSTD);

ALTER TABLE `golden`.`p_trades` ADD INDEX IF NOT EXISTS `by_id` `id` TYPE minmax GRANULARITY 1;

ALTER TABLE `golden`.`p_trades` ADD INDEX IF NOT EXISTS `by_price` `price` TYPE bloom_filter(0.01) GRANULARITY 4;

ALTER TABLE `golden`.`p_trades` ADD INDEX IF NOT EXISTS `by_source` `src` TYPE set(100) GRANULARITY 2;
