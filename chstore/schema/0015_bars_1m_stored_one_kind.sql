ALTER TABLE {{.View "bars_1m_stored"}}
    MODIFY COMMENT 'bars_1m, computed by bars_1m_refresh, one bar a minute: read it with FINAL',
    ADD COLUMN IF NOT EXISTS of_aggregates Bool CODEC(ZSTD(1)) AFTER aggregate,
    COMMENT COLUMN of_aggregates 'the bar is made of aggregate trades',
    COMMENT COLUMN exchange 'the exchange: binance',
    COMMENT COLUMN market 'its market: spot, usdm or coinm',
    COMMENT COLUMN symbol 'the symbol as the exchange writes it: BTCUSDT',
    COMMENT COLUMN aggregate 'always false, see of_aggregates: a part of the sort key from when a minute had two bars',
    COMMENT COLUMN minute 'start of the minute, UTC',
    COMMENT COLUMN open 'first price',
    COMMENT COLUMN high 'highest price',
    COMMENT COLUMN low 'lowest price',
    COMMENT COLUMN close 'last price',
    COMMENT COLUMN volume 'quantity traded, of the base asset',
    COMMENT COLUMN quote_volume 'sum of price × quantity, of the quote asset',
    COMMENT COLUMN vwap 'mean price, weighted by quantity',
    COMMENT COLUMN buy_volume 'the part of volume in which the taker bought',
    COMMENT COLUMN trades 'number of trades, or of aggregates where of_aggregates is true. Of the bars of one minute the one of most trades stays',
    COMMENT COLUMN computed_at 'when the bar was computed, UTC'
{{- if not .Clustered}};

DROP VIEW IF EXISTS {{.View "bars_1m_refresh"}};

INSERT INTO {{.Table "bars_1m_stored"}}
    (exchange, market, symbol, aggregate, of_aggregates, minute, open, high, low, close, volume, quote_volume, vwap, buy_volume, trades, computed_at)
SELECT exchange, market, symbol, false, true, minute, open, high, low, close, volume, quote_volume, vwap, buy_volume, trades, computed_at
FROM {{.Table "bars_1m_stored"}} FINAL
WHERE aggregate;

ALTER TABLE {{.View "bars_1m_stored"}} DELETE WHERE aggregate;

CREATE MATERIALIZED VIEW IF NOT EXISTS {{.View "bars_1m_refresh"}}
REFRESH EVERY 1 MINUTE APPEND TO {{.Table "bars_1m_stored"}} AS
SELECT
    exchange, market, symbol, false AS aggregate, kind AS of_aggregates, minute,
    open, high, low, close, volume, quote_volume, vwap, buy_volume, trades, now64(3, 'UTC') AS computed_at
FROM
(
    SELECT * EXCEPT (aggregate), aggregate AS kind
    FROM {{.Table "bars_1m"}}
    WHERE (exchange, market, symbol, minute) IN
    (
        SELECT exchange, market, symbol, toStartOfMinute(trade_time)
        FROM {{.Table "trades"}}
        WHERE _part IN
        (
            SELECT name FROM system.parts
            WHERE database = {{.Text .Database}} AND table = {{.Text (.Name "trades")}} AND active
                AND modification_time >= (SELECT max(computed_at) - INTERVAL 2 MINUTE FROM {{.Table "bars_1m_stored"}})
        )
    )
)
SETTINGS max_bytes_before_external_group_by = 1073741824
COMMENT 'computes the bars of the minutes of which parts have come since it last did, each from all of its trades'
{{- end}}
