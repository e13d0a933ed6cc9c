CREATE VIEW IF NOT EXISTS {{.View "bars_1m"}} AS
SELECT
    exchange,
    market,
    symbol,
    aggregate,
    minute,
    argMin(price_e8, id) / 1e8 AS open,
    max(price_e8) / 1e8        AS high,
    min(price_e8) / 1e8        AS low,
    argMax(price_e8, id) / 1e8 AS close,
    sum(toInt128(quantity_e8)) / 1e8                              AS volume,
    sum(toFloat64(price_e8) * quantity_e8) / 1e16                 AS quote_volume,
    if(volume = 0, nan, quote_volume / volume)                    AS vwap,
    sumIf(toInt128(quantity_e8), NOT buyer_maker) / 1e8           AS buy_volume,
    count()                                                       AS trades
FROM
(
    SELECT
        exchange, market, symbol, aggregate, toStartOfMinute(trade_time) AS minute, id,
        any(t.price_e8) AS price_e8, any(t.quantity_e8) AS quantity_e8, any(t.buyer_maker) AS buyer_maker
    FROM {{.Table "trades"}} AS t
    GROUP BY exchange, market, symbol, aggregate, minute, id
)
GROUP BY exchange, market, symbol, aggregate, minute
COMMENT 'bars of a minute by the clock of the matching engine, each trade counted once. Where single and aggregate trades are both stored, choose by the column aggregate'
