CREATE OR REPLACE VIEW {{.View "depths_1m"}}
(
    {{template "view_key"}}
    {{template "minute"}}
    bid_qty_10bps Float64 COMMENT 'quantity of bids down to a tenth of a percent below the middle price',
    ask_qty_10bps Float64 COMMENT 'quantity of asks up to a tenth of a percent above it',
    bid_qty_100bps Float64 COMMENT 'quantity of bids down to a percent below the middle price',
    ask_qty_100bps Float64 COMMENT 'quantity of asks up to a percent above it',
    bid_levels Float64 COMMENT 'number of stored bids',
    ask_levels Float64 COMMENT 'number of stored asks',
    snapshots UInt64 COMMENT 'number of snapshots that the means are of'
)
AS
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
    FROM {{.Table "book_snapshots"}}
    WHERE notEmpty(bid_price_e8) AND notEmpty(ask_price_e8)
    GROUP BY exchange, market, symbol, minute, last_id
)
GROUP BY exchange, market, symbol, minute
COMMENT 'quantity within a tenth of a percent and a percent of the middle price, averages of the stored snapshots of a minute'
