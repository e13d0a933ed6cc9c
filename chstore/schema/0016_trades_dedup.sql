{{define "columns"}}exchange, market, symbol, trade_time, id,
    price_e8 / 1e8                          AS price,
    quantity_e8 / 1e8                       AS quantity,
    price * quantity                        AS quote_quantity,
    if(buyer_maker, 'sell', 'buy')          AS side,
    toDecimal128(price_e8, 8) / 100000000   AS price_decimal,
    toDecimal128(quantity_e8, 8) / 100000000 AS quantity_decimal,
    first_ts                                AS ts,
    first_received                          AS received_at
{{- end}}
{{define "keys"}}exchange, market, symbol, t.trade_time AS trade_time, id, t.price_e8 AS price_e8, t.quantity_e8 AS quantity_e8, t.buyer_maker AS buyer_maker
{{- end}}
{{define "times_of_copies"}}min(t.ts) AS first_ts, min(t.received_at) AS first_received
{{- end}}
{{define "comments"}}COMMENT COLUMN exchange 'the exchange: binance',
    COMMENT COLUMN market 'its market: spot, usdm or coinm',
    COMMENT COLUMN symbol 'the symbol as the exchange writes it: BTCUSDT',
    COMMENT COLUMN trade_time 'clock of the matching engine, UTC; 1970 where unknown',
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
    GROUP BY exchange, market, symbol, trade_time, id, price_e8, quantity_e8, buyer_maker
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
    GROUP BY exchange, market, symbol, trade_time, id, price_e8, quantity_e8, buyer_maker, first_id, last_id
)
COMMENT 'aggregate trades, each once: the trades of one taker at one price and time. The same trades by themselves are in trades_dedup. Filter by exchange, market, symbol and trade_time: other conditions read all trades of the symbol';

ALTER TABLE {{.View "agg_trades_dedup"}}
    {{template "comments"}},
    COMMENT COLUMN id 'aggregate id',
    COMMENT COLUMN first_id 'first trade id that it covers',
    COMMENT COLUMN last_id 'last trade id that it covers'
