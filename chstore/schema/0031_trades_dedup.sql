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
{{define "declared"}}{{template "view_key"}}
    trade_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC, to the millisecond; 1970 where unknown',
    id Int64 COMMENT '{{.}} id',
    price Float64 COMMENT 'price, of the quote asset',
    quantity Float64 COMMENT 'quantity, of the base asset (coinm: contracts)',
    quote_quantity Float64 COMMENT 'price × quantity',
    side String COMMENT 'what the taker did: buy or sell',
    price_decimal Decimal(38, 8) COMMENT 'price, exact',
    quantity_decimal Decimal(38, 8) COMMENT 'quantity, exact',
    ts DateTime64(9, 'UTC') COMMENT 'exchange clock when it was sent, or received_at where the exchange sends none; the earliest of its copies',
    received_at DateTime64(9, 'UTC') COMMENT 'clock of the collector; the earliest of its copies',
    exact_trade_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC, to the microsecond where a copy has it; 1970 where unknown. Filter by trade_time'
{{- end -}}
CREATE OR REPLACE VIEW {{.View "trades_dedup"}}
(
    {{template "declared" "trade"}}
)
AS
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

CREATE OR REPLACE VIEW {{.View "agg_trades_dedup"}}
(
    {{template "declared" "aggregate"}},
    first_id Int64 COMMENT 'first trade id that it covers',
    last_id Int64 COMMENT 'last trade id that it covers'
)
AS
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
COMMENT 'aggregate trades, each once: the trades of one taker at one price and time. The same trades by themselves are in trades_dedup. Filter by exchange, market, symbol and trade_time: other conditions read all trades of the symbol'
