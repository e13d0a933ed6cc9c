CREATE TABLE IF NOT EXISTS {{.View "bars_1m_stored"}}
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
ENGINE = {{.Bookkeeping "trades"}}
PARTITION BY toYYYYMM(minute)
ORDER BY (exchange, market, symbol, aggregate, minute)
COMMENT 'bars_1m, computed by bars_1m_refresh: read it with FINAL'
