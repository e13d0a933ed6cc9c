CREATE OR REPLACE VIEW {{.View "bars_1m"}}
(
    {{template "view_key"}}
    aggregate Bool COMMENT 'the bar is made of aggregate trades',
    {{template "minute"}}
    open Float64 COMMENT 'first price',
    high Float64 COMMENT 'highest price',
    low Float64 COMMENT 'lowest price',
    close Float64 COMMENT 'last price',
    volume Float64 COMMENT 'quantity traded, of the base asset',
    quote_volume Float64 COMMENT 'sum of price × quantity, of the quote asset',
    vwap Float64 COMMENT 'mean price, weighted by quantity',
    buy_volume Float64 COMMENT 'the part of volume in which the taker bought',
    trades UInt64 COMMENT 'number of trades, also where aggregate is true: those that the aggregates cover'
)
AS
SELECT
    exchange,
    market,
    symbol,
    bar.aggregate     AS aggregate,
    minute,
    bar.open          AS open,
    bar.high          AS high,
    bar.low           AS low,
    bar.close         AS close,
    bar.volume        AS volume,
    bar.quote_volume  AS quote_volume,
    bar.vwap          AS vwap,
    bar.buy_volume    AS buy_volume,
    bar.trades        AS trades
FROM
(
    SELECT
        exchange, market, symbol, minute,
        argMax(CAST((kind, open, high, low, close, volume, quote_volume, vwap, buy_volume, trades),
            'Tuple(aggregate Bool, open Float64, high Float64, low Float64, close Float64, volume Float64, quote_volume Float64, vwap Float64, buy_volume Float64, trades UInt64)'),
            (volume, NOT kind)) AS bar
    FROM
    (
        SELECT
            exchange, market, symbol, minute, kind,
            argMin(price_e8, id) / 1e8 AS open,
            max(price_e8) / 1e8        AS high,
            min(price_e8) / 1e8        AS low,
            argMax(price_e8, id) / 1e8 AS close,
            sum(toInt128(quantity_e8)) / 1e8                    AS volume,
            sum(toFloat64(price_e8) * quantity_e8) / 1e16       AS quote_volume,
            if(volume = 0, nan, quote_volume / volume)          AS vwap,
            sumIf(toInt128(quantity_e8), NOT buyer_maker) / 1e8 AS buy_volume,
            sum(trades_of)                                      AS trades
        FROM
        (
            SELECT
                exchange, market, symbol, t.aggregate AS kind, toStartOfMinute(t.trade_time) AS minute, id,
                any(t.price_e8) AS price_e8, any(t.quantity_e8) AS quantity_e8, any(t.buyer_maker) AS buyer_maker,
                any(if(t.aggregate, toUInt64(greatest(1, t.last_id - t.first_id + 1)), 1)) AS trades_of
            FROM {{.Table "trades"}} AS t
            GROUP BY exchange, market, symbol, kind, minute, id
        )
        GROUP BY exchange, market, symbol, minute, kind
    )
    GROUP BY exchange, market, symbol, minute
)
COMMENT 'bars of a minute by the clock of the matching engine, each trade counted once, also where single and aggregate trades are both stored: a bar is made of the kind of which the minute has the greater volume, as one of them may have been collected for a part of it only, and of single trades if equal. Filter by exchange, market, symbol and minute'
