CREATE TABLE IF NOT EXISTS {{.Table "book_snapshots"}}
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

    event_time DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC')),
    bids Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), bid_price_e8, bid_qty_e8),
    asks Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), ask_price_e8, ask_qty_e8),

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = MergeTree
PARTITION BY {{.Partition "book_snapshots"}}
ORDER BY (exchange, market, symbol, ts, last_id)
{{.TTL "book_snapshots"}}
SETTINGS {{.Settings "book_snapshots"}}, index_granularity = 256
