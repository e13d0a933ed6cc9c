CREATE TABLE IF NOT EXISTS {{.Target "tickers"}}
(
    {{template "key"}}
    {{template "times"}}
    {{template "transact_time"}}
    update_id     Int64                CODEC(Delta, ZSTD(1)),
    bid_price_e8  Int64                CODEC(GCD, Delta, ZSTD(1)),
    bid_qty_e8    Int64                CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Int64                CODEC(GCD, Delta, ZSTD(1)),
    ask_qty_e8    Int64                CODEC(GCD, T64, ZSTD(1)),
    {{template "origin"}}

    {{template "event_time"}}
    bid_price     Float64              ALIAS bid_price_e8 / 1e8,
    bid_qty       Float64              ALIAS bid_qty_e8 / 1e8,
    ask_price     Float64              ALIAS ask_price_e8 / 1e8,
    ask_qty       Float64              ALIAS ask_qty_e8 / 1e8,

    {{template "watermark"}}
)
{{.Storage "tickers"}}
