{{define "comments"}}COMMENT COLUMN exchange 'the exchange: binance',
    COMMENT COLUMN market 'its market: spot, usdm or coinm',
    COMMENT COLUMN symbol 'the symbol as the exchange writes it: BTCUSDT',
    COMMENT COLUMN day 'UTC day of receipt of a spot ticker, and of the event elsewhere: filter by it',
    COMMENT COLUMN ts 'exchange clock, or received_at where the exchange sends no time (spot), UTC; the earliest of its copies',
    COMMENT COLUMN received_at 'clock of the collector, UTC; the earliest of its copies',
    COMMENT COLUMN update_id 'update id of the book',
    COMMENT COLUMN bid_price 'best bid; 0 if there is no bid',
    COMMENT COLUMN bid_qty 'quantity at the best bid; 0 if there is no bid',
    COMMENT COLUMN ask_price 'best ask; 0 if there is no ask',
    COMMENT COLUMN ask_qty 'quantity at the best ask; 0 if there is no ask'
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
CREATE OR REPLACE VIEW {{.View "tickers_dedup"}} AS
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

ALTER TABLE {{.View "tickers_dedup"}}
    {{template "comments"}},
    COMMENT COLUMN transact_time 'clock of the matching engine, UTC; 1970 where unknown',
    COMMENT COLUMN bid_price_decimal 'bid_price, exact',
    COMMENT COLUMN bid_qty_decimal 'bid_qty, exact',
    COMMENT COLUMN ask_price_decimal 'ask_price, exact',
    COMMENT COLUMN ask_qty_decimal 'ask_qty, exact';

CREATE OR REPLACE VIEW {{.View "top_of_book"}} AS
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
COMMENT 'the touch of the book at each change: best prices and what follows from them, from the tickers, each once; a copy of the next UTC day counts again. Filter by exchange, market, symbol and day: other conditions, as those on ts, read all tickers of the symbol';

ALTER TABLE {{.View "top_of_book"}}
    {{template "comments"}},
    COMMENT COLUMN two_sided 'there is a bid and an ask',
    COMMENT COLUMN mid 'price halfway between best bid and best ask; nan unless two_sided',
    COMMENT COLUMN spread 'ask_price - bid_price; nan unless two_sided',
    COMMENT COLUMN spread_bps 'spread in hundredths of a percent of mid; nan unless two_sided',
    COMMENT COLUMN imbalance '(bid_qty - ask_qty) / (bid_qty + ask_qty): 1 is all bids, -1 all asks; nan if both are 0, or one is the largest number that can be stored, which means that or more',
    COMMENT COLUMN microprice 'mid weighted by the quantities: a large bid quantity moves it towards the ask; nan unless two_sided, or if imbalance is nan'
