{{define "declared_ids"}}{{template "view_key"}}
    day Date COMMENT 'UTC day of receipt of a spot ticker, and of the event elsewhere: filter by it',
    ts DateTime64(9, 'UTC') COMMENT 'exchange clock, or received_at where the exchange sends no time (spot), UTC; the earliest of its copies',
    received_at DateTime64(9, 'UTC') COMMENT 'clock of the collector, UTC; the earliest of its copies',
{{- end}}
{{define "declared_touch"}}update_id Int64 COMMENT 'update id of the book',
    bid_price Float64 COMMENT 'best bid; 0 if there is no bid',
    bid_qty Float64 COMMENT 'quantity at the best bid; 0 if there is no bid',
    ask_price Float64 COMMENT 'best ask; 0 if there is no ask',
    ask_qty Float64 COMMENT 'quantity at the best ask; 0 if there is no ask',
{{- end -}}
{{define "each_once"}}
(
    SELECT
        exchange, market, symbol, toDate(t.ts) AS day, t.update_id AS update_id,
        t.bid_price_e8 AS bid_e8, t.bid_qty_e8 AS bid_qty_e8, t.ask_price_e8 AS ask_e8, t.ask_qty_e8 AS ask_qty_e8,
        min(t.ts) AS first_ts, min(t.received_at) AS first_received, max(t.transact_time) AS transacted
    FROM {{.Table "tickers"}} AS t
    GROUP BY exchange, market, symbol, day, update_id, bid_e8, bid_qty_e8, ask_e8, ask_qty_e8
)
{{- end -}}
CREATE OR REPLACE VIEW {{.View "tickers_dedup"}}
(
    {{template "declared_ids"}}
    transact_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC; 1970 where unknown',
    {{template "declared_touch"}}
    bid_price_decimal Decimal(38, 8) COMMENT 'bid_price, exact',
    bid_qty_decimal Decimal(38, 8) COMMENT 'bid_qty, exact',
    ask_price_decimal Decimal(38, 8) COMMENT 'ask_price, exact',
    ask_qty_decimal Decimal(38, 8) COMMENT 'ask_qty, exact'
)
AS
SELECT
    exchange, market, symbol, day,
    first_ts       AS ts,
    first_received AS received_at,
    transacted     AS transact_time,
    update_id,
    bid_e8 / 1e8     AS bid_price,
    bid_qty_e8 / 1e8 AS bid_qty,
    ask_e8 / 1e8     AS ask_price,
    ask_qty_e8 / 1e8 AS ask_qty,
    toDecimal128(bid_e8, 8) / 100000000     AS bid_price_decimal,
    toDecimal128(bid_qty_e8, 8) / 100000000 AS bid_qty_decimal,
    toDecimal128(ask_e8, 8) / 100000000     AS ask_price_decimal,
    toDecimal128(ask_qty_e8, 8) / 100000000 AS ask_qty_decimal
FROM {{template "each_once" .}}
COMMENT 'best bid and best ask at each change, each once; a copy of the next UTC day counts again. Filter by exchange, market, symbol and day: other conditions, as those on ts, read all tickers of the symbol';

CREATE OR REPLACE VIEW {{.View "top_of_book"}}
(
    {{template "declared_ids"}}
    {{template "declared_touch"}}
    two_sided UInt8 COMMENT 'there is a bid and an ask',
    mid Float64 COMMENT 'price halfway between best bid and best ask; nan unless two_sided',
    spread Float64 COMMENT 'ask_price - bid_price; nan unless two_sided',
    spread_bps Float64 COMMENT 'spread in hundredths of a percent of mid; nan unless two_sided',
    imbalance Float64 COMMENT '(bid_qty - ask_qty) / (bid_qty + ask_qty): 1 is all bids, -1 all asks; nan if both are 0, or one is the largest number that can be stored, which means that or more',
    microprice Float64 COMMENT 'mid weighted by the quantities: a large bid quantity moves it towards the ask; nan unless two_sided, or if imbalance is nan'
)
AS
SELECT
    exchange, market, symbol, day,
    first_ts       AS ts,
    first_received AS received_at,
    update_id,
    bid_e8 / 1e8     AS bid_price,
    bid_qty_e8 / 1e8 AS bid_qty,
    ask_e8 / 1e8     AS ask_price,
    ask_qty_e8 / 1e8 AS ask_qty,
    bid_qty_e8 > 0 AND ask_qty_e8 > 0               AS two_sided,
    if(two_sided, (bid_price + ask_price) / 2, nan) AS mid,
    if(two_sided, (ask_e8 - bid_e8) / 1e8, nan)     AS spread,
    1e4 * spread / mid                              AS spread_bps,
    if(greatest(bid_qty_e8, ask_qty_e8) BETWEEN 1 AND 9223372036854775806, (bid_qty - ask_qty) / (bid_qty + ask_qty), nan) AS imbalance,
    if(two_sided AND NOT isNaN(imbalance), (bid_price * ask_qty + ask_price * bid_qty) / (bid_qty + ask_qty), nan) AS microprice
FROM {{template "each_once" .}}
COMMENT 'the touch of the book at each change: best prices and what follows from them, from the tickers, each once; a copy of the next UTC day counts again. Filter by exchange, market, symbol and day: other conditions, as those on ts, read all tickers of the symbol'
