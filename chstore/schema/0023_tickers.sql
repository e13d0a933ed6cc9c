CREATE TABLE IF NOT EXISTS {{.Target "tickers"}}
(
    {{template "key"}}
    {{template "times"}}
    {{template "transact_time"}}
    update_id     Int64                COMMENT 'update id of the book at which they were the best'
        CODEC(Delta, ZSTD(1)),
    bid_price_e8  Int64                COMMENT 'best bid in hundred-millionths; 0 if there is no bid'
        CODEC(GCD, Delta, ZSTD(1)),
    bid_qty_e8    Int64                COMMENT 'quantity at the best bid in hundred-millionths; 0 if there is no bid'
        CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Int64                COMMENT 'best ask in hundred-millionths; 0 if there is no ask'
        CODEC(GCD, Delta, ZSTD(1)),
    ask_qty_e8    Int64                COMMENT 'quantity at the best ask in hundred-millionths; 0 if there is no ask'
        CODEC(GCD, T64, ZSTD(1)),
    {{template "origin"}}

    {{template "event_time"}}
    bid_price     Float64              ALIAS bid_price_e8 / 1e8 COMMENT 'best bid, computed; not in SELECT *',
    bid_qty       Float64              ALIAS bid_qty_e8 / 1e8 COMMENT 'quantity at the best bid, computed; not in SELECT *',
    ask_price     Float64              ALIAS ask_price_e8 / 1e8 COMMENT 'best ask, computed; not in SELECT *',
    ask_qty       Float64              ALIAS ask_qty_e8 / 1e8 COMMENT 'quantity at the best ask, computed; not in SELECT *',
    bid_price_decimal Decimal(38, 8) ALIAS toDecimal128(bid_price_e8, 8) / 100000000
        COMMENT 'bid_price, exact; not in SELECT *',
    bid_qty_decimal Decimal(38, 8) ALIAS toDecimal128(bid_qty_e8, 8) / 100000000
        COMMENT 'bid_qty, exact; not in SELECT *',
    ask_price_decimal Decimal(38, 8) ALIAS toDecimal128(ask_price_e8, 8) / 100000000
        COMMENT 'ask_price, exact; not in SELECT *',
    ask_qty_decimal Decimal(38, 8) ALIAS toDecimal128(ask_qty_e8, 8) / 100000000
        COMMENT 'ask_qty, exact; not in SELECT *',

    {{template "watermark"}}
)
{{.Storage "tickers" "best bid and best ask as the exchange sends them at each change, duplicates included. Read tickers_dedup or top_of_book, which have each once"}}
