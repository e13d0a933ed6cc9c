CREATE TABLE IF NOT EXISTS {{.Table "tickers"}}
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

    event_time DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC')),
    bid_price  Float64 ALIAS bid_price_e8 / 1e8,
    bid_qty    Float64 ALIAS bid_qty_e8 / 1e8,
    ask_price  Float64 ALIAS ask_price_e8 / 1e8,
    ask_qty    Float64 ALIAS ask_qty_e8 / 1e8,

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = MergeTree
PARTITION BY {{.Partition "tickers"}}
ORDER BY (exchange, market, symbol, ts, update_id)
{{.TTL "tickers"}}
SETTINGS {{.Settings "tickers"}}
