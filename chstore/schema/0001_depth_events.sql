CREATE TABLE IF NOT EXISTS {{.Target "depth_events"}}
(
    {{template "key"}}
    {{template "times"}}
    {{template "transact_time"}}
    {{template "own_time"}}
    first_id      Int64                CODEC(Delta, ZSTD(1)),
    last_id       Int64                CODEC(Delta, ZSTD(1)),
    prev_id       Int64                CODEC(Delta, ZSTD(1)),
    bid_price_e8  Array(Int64)         CODEC(GCD, Delta, ZSTD(1)),
    bid_qty_e8    Array(Int64)         CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Array(Int64)         CODEC(GCD, Delta, ZSTD(1)),
    ask_qty_e8    Array(Int64)         CODEC(GCD, T64, ZSTD(1)),
    {{template "origin"}}

    {{template "event_time"}}
    {{template "sides"}}

    {{template "watermark"}}
)
{{.Storage "depth_events"}}
