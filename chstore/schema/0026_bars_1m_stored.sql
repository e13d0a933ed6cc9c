CREATE TABLE IF NOT EXISTS {{.View "bars_1m_stored"}}
(
    {{template "view_key"}}
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
ENGINE = {{.Bookkeeping "trades"}}
PARTITION BY toYYYYMM(minute)
ORDER BY (exchange, market, symbol, aggregate, minute)
COMMENT 'bars_1m, computed by bars_1m_refresh, one bar a minute: read it with FINAL'
{{- if .Older}};

ALTER TABLE {{.View "bars_1m_stored"}} ADD COLUMN IF NOT EXISTS of_aggregates Bool COMMENT 'the bar is made of aggregate trades' CODEC(ZSTD(1)) AFTER aggregate
{{- if not .Clustered}};

DROP VIEW IF EXISTS {{.View "bars_1m_refresh"}};

INSERT INTO {{.Table "bars_1m_stored"}}
    (exchange, market, symbol, aggregate, of_aggregates, minute, open, high, low, close, volume, quote_volume, vwap, buy_volume, trades, computed_at)
SELECT exchange, market, symbol, false, true, minute, open, high, low, close, volume, quote_volume, vwap, buy_volume, trades, computed_at
FROM {{.Table "bars_1m_stored"}} FINAL
WHERE aggregate;

ALTER TABLE {{.View "bars_1m_stored"}} DELETE WHERE aggregate
{{- end}}
{{- end}}
