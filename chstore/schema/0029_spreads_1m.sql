CREATE OR REPLACE VIEW {{.View "spreads_1m"}}
(
    {{template "view_key"}}
    {{template "minute"}}
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
    FROM {{.Table "tickers"}} AS t
    WHERE t.bid_qty_e8 > 0 AND t.ask_qty_e8 > 0
    GROUP BY exchange, market, symbol, minute, update_id
)
GROUP BY exchange, market, symbol, minute
COMMENT 'best bid and ask over minutes, averages by update; a side that is empty is left out. A spot ticker has no other time than that of its arrival'
