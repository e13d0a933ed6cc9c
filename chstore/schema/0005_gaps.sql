CREATE TABLE IF NOT EXISTS {{.Table "gaps"}}
(
    exchange    LowCardinality(String),
    market      LowCardinality(String),
    symbol      LowCardinality(String),
    ts          DateTime64(9, 'UTC') COMMENT 'exchange clock, or received_at where timed is false'
        CODEC(GCD, Delta, ZSTD(1)),
    timed       Bool                 COMMENT 'the exchange told the time of the event'
        CODEC(ZSTD(1)),
    received_at DateTime64(9, 'UTC') COMMENT 'clock of the collector'
        CODEC(GCD, Delta, ZSTD(1)),
    after_id    Int64                COMMENT 'the last update id before the hole; 0 if the book was never known'
        CODEC(Delta, ZSTD(1)),
    reason      LowCardinality(String),
    error       String               CODEC(ZSTD(1)),
    src         LowCardinality(String) COMMENT 'the stream the row came through',
    seq         UInt64               COMMENT 'its position there'
        CODEC(Delta, ZSTD(1)),

    event_time DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC')),

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = MergeTree
PARTITION BY {{.Partition "gaps"}}
ORDER BY (exchange, market, symbol, ts, after_id)
{{.TTL "gaps"}}
SETTINGS {{.Settings "gaps"}}
