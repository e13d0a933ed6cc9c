{{define "columns"}}exchange, market, symbol, trade_ms AS trade_time, id,
    price_e8 / 1e8                          AS price,
    quantity_e8 / 1e8                       AS quantity,
    price * quantity                        AS quote_quantity,
    if(buyer_maker, 'sell', 'buy')          AS side,
    toDecimal128(price_e8, 8) / 100000000   AS price_decimal,
    toDecimal128(quantity_e8, 8) / 100000000 AS quantity_decimal,
    first_ts                                AS ts,
    first_received                          AS received_at,
    exact_time                              AS exact_trade_time
{{- end}}
{{define "keys"}}exchange, market, symbol, toStartOfMillisecond(t.trade_time) AS trade_ms, id, t.price_e8 AS price_e8, t.quantity_e8 AS quantity_e8, t.buyer_maker AS buyer_maker
{{- end}}
{{define "times_of_copies"}}max(t.trade_time) AS exact_time, min(t.ts) AS first_ts, min(t.received_at) AS first_received
{{- end}}
{{define "comments"}}COMMENT COLUMN exchange 'the exchange: binance',
    COMMENT COLUMN market 'its market: spot, usdm or coinm',
    COMMENT COLUMN symbol 'the symbol as the exchange writes it: BTCUSDT',
    COMMENT COLUMN trade_time 'clock of the matching engine, UTC, to the millisecond; 1970 where unknown',
    COMMENT COLUMN exact_trade_time 'clock of the matching engine, UTC, to the microsecond where a copy has it; 1970 where unknown. Filter by trade_time',
    COMMENT COLUMN price 'price, of the quote asset',
    COMMENT COLUMN quantity 'quantity, of the base asset (coinm: contracts)',
    COMMENT COLUMN quote_quantity 'price × quantity',
    COMMENT COLUMN side 'what the taker did: buy or sell',
    COMMENT COLUMN price_decimal 'price, exact',
    COMMENT COLUMN quantity_decimal 'quantity, exact',
    COMMENT COLUMN ts 'exchange clock when it was sent, or received_at where the exchange sends none; the earliest of its copies',
    COMMENT COLUMN received_at 'clock of the collector; the earliest of its copies'
{{- end -}}
CREATE OR REPLACE VIEW {{.View "trades_dedup"}} AS
SELECT
    {{template "columns"}}
FROM
(
    SELECT
        {{template "keys"}},
        {{template "times_of_copies"}}
    FROM {{.Table "trades"}} AS t
    WHERE NOT t.aggregate
    GROUP BY exchange, market, symbol, trade_ms, id, price_e8, quantity_e8, buyer_maker
)
COMMENT 'single trades, each once; aggregates are in agg_trades_dedup, so both cannot be added up. Filter by exchange, market, symbol and trade_time: other conditions read all trades of the symbol';

ALTER TABLE {{.View "trades_dedup"}}
    {{template "comments"}},
    COMMENT COLUMN id 'trade id';

CREATE OR REPLACE VIEW {{.View "agg_trades_dedup"}} AS
SELECT
    {{template "columns"}},
    first_id,
    last_id
FROM
(
    SELECT
        {{template "keys"}}, t.first_id AS first_id, t.last_id AS last_id,
        {{template "times_of_copies"}}
    FROM {{.Table "trades"}} AS t
    WHERE t.aggregate
    GROUP BY exchange, market, symbol, trade_ms, id, price_e8, quantity_e8, buyer_maker, first_id, last_id
)
COMMENT 'aggregate trades, each once: the trades of one taker at one price and time. The same trades by themselves are in trades_dedup. Filter by exchange, market, symbol and trade_time: other conditions read all trades of the symbol';

ALTER TABLE {{.View "agg_trades_dedup"}}
    {{template "comments"}},
    COMMENT COLUMN id 'aggregate id',
    COMMENT COLUMN first_id 'first trade id that it covers',
    COMMENT COLUMN last_id 'last trade id that it covers';

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
COMMENT 'bars of a minute by the clock of the matching engine, each trade counted once, also where single and aggregate trades are both stored: a bar is made of the kind of which the minute has the greater volume, as one of them may have been collected for a part of it only, and of single trades if equal. Filter by exchange, market, symbol and minute';

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
    COMMENT COLUMN trades 'number of trades, also where aggregate is true: those that the aggregates cover';

ALTER TABLE {{.View "bars_1m_stored"}}
    COMMENT COLUMN trades 'number of trades, also where of_aggregates is true: those that the aggregates cover. Of the bars of one minute the one of most trades stays'
