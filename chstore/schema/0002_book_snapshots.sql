CREATE TABLE IF NOT EXISTS {{.Target "book_snapshots"}}
(
    {{template "key"}}
    {{template "times"}}
    {{template "transact_time"}}
    {{template "own_time"}}
    last_id       Int64                CODEC(Delta, ZSTD(1)),
    bid_price_e8  Array(Int64)         CODEC(GCD, Delta, ZSTD(1)),
    bid_qty_e8    Array(Int64)         CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Array(Int64)         CODEC(GCD, Delta, ZSTD(1)),
    ask_qty_e8    Array(Int64)         CODEC(GCD, T64, ZSTD(1)),
    bid_limited   Bool                 COMMENT 'bids worse than bid_bound_e8 are not all known'
        CODEC(ZSTD(1)),
    bid_bound_e8  Int64                COMMENT 'the worst price up to which the bids are known'
        CODEC(Delta, ZSTD(1)),
    ask_limited   Bool                 CODEC(ZSTD(1)),
    ask_bound_e8  Int64                CODEC(Delta, ZSTD(1)),
    {{template "origin"}}

    {{template "event_time"}}
    {{template "sides"}}

    {{template "watermark"}}
)
{{.Storage "book_snapshots"}}
