CREATE TABLE IF NOT EXISTS {{.Table "trades"}}
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

    trade_id     String               ALIAS toString(id),
    price        Float64              ALIAS price_e8 / 1e8,
    quantity     Float64              ALIAS quantity_e8 / 1e8,
    side         LowCardinality(String) ALIAS if(buyer_maker, 'sell', 'buy'),
    receive_time DateTime64(9, 'UTC') ALIAS received_at,
    event_time   DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC')),

    PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
)
ENGINE = MergeTree
PARTITION BY {{.Partition "trades"}}
ORDER BY (exchange, market, symbol, ts, aggregate, id)
{{.TTL "trades"}}
SETTINGS {{.Settings "trades"}}
