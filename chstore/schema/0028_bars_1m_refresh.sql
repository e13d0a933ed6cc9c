{{if not .Clustered -}}
DROP VIEW IF EXISTS {{.View "bars_1m_refresh"}};

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
