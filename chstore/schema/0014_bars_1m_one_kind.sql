CREATE OR REPLACE VIEW {{.View "bars_1m"}} AS
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
            (trades, NOT kind)) AS bar
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
            count()                                             AS trades
        FROM
        (
            SELECT
                exchange, market, symbol, t.aggregate AS kind, toStartOfMinute(t.trade_time) AS minute, id,
                any(t.price_e8) AS price_e8, any(t.quantity_e8) AS quantity_e8, any(t.buyer_maker) AS buyer_maker
            FROM {{.Table "trades"}} AS t
            GROUP BY exchange, market, symbol, kind, minute, id
        )
        GROUP BY exchange, market, symbol, minute, kind
    )
    GROUP BY exchange, market, symbol, minute
)
COMMENT 'bars of a minute by the clock of the matching engine, each trade counted once, also where single and aggregate trades are both stored: a bar is made of the kind of which the minute has more, as aggregates are never more than their trades, and of single trades if equal. Filter by exchange, market, symbol and minute';

ALTER TABLE {{.View "bars_1m"}}
    COMMENT COLUMN exchange 'the exchange: binance',
    COMMENT COLUMN market 'its market: spot, usdm or coinm',
    COMMENT COLUMN symbol 'the symbol as the exchange writes it: BTCUSDT',
    COMMENT COLUMN aggregate 'the bar is made of aggregate trades',
    COMMENT COLUMN minute 'start of the minute, UTC',
    COMMENT COLUMN open 'first price',
    COMMENT COLUMN high 'highest price',
    COMMENT COLUMN low 'lowest price',
    COMMENT COLUMN close 'last price',
    COMMENT COLUMN volume 'quantity traded, of the base asset',
    COMMENT COLUMN quote_volume 'sum of price × quantity, of the quote asset',
    COMMENT COLUMN vwap 'mean price, weighted by quantity',
    COMMENT COLUMN buy_volume 'the part of volume in which the taker bought',
    COMMENT COLUMN trades 'number of trades, or of aggregates where aggregate is true'
