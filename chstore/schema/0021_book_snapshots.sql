CREATE TABLE IF NOT EXISTS {{.Target "book_snapshots"}}
(
    {{template "key"}}
    {{template "times"}}
    {{template "transact_time"}}
    {{template "own_time"}}
    last_id       Int64                COMMENT 'update id of the book'
        CODEC(Delta, ZSTD(1)),
    {{template "levels"}}
    bid_limited   Bool                 COMMENT 'the exchange cut the bids: those worse than bid_bound are not all known'
        CODEC(ZSTD(1)),
    bid_bound_e8  Int64                COMMENT 'worst price up to which the bids are known, in hundred-millionths; 0 unless bid_limited'
        CODEC(Delta, ZSTD(1)),
    ask_limited   Bool                 COMMENT 'the exchange cut the asks: those worse than ask_bound are not all known'
        CODEC(ZSTD(1)),
    ask_bound_e8  Int64                COMMENT 'worst price up to which the asks are known, in hundred-millionths; 0 unless ask_limited'
        CODEC(Delta, ZSTD(1)),
    {{template "origin"}}

    {{template "event_time"}}
    {{template "sides"}}
    bid_bound Float64 ALIAS bid_bound_e8 / 1e8
        COMMENT 'worst price up to which the bids are known, computed; 0 unless bid_limited',
    ask_bound Float64 ALIAS ask_bound_e8 / 1e8
        COMMENT 'worst price up to which the asks are known, computed; 0 unless ask_limited',
    bid_bound_decimal Decimal(38, 8) ALIAS toDecimal128(bid_bound_e8, 8) / 100000000
        COMMENT 'bid_bound, exact',
    ask_bound_decimal Decimal(38, 8) ALIAS toDecimal128(ask_bound_e8, 8) / 100000000
        COMMENT 'ask_bound, exact',
    {{template "sides_decimal"}}

    {{template "watermark"}}
)
{{.Storage "book_snapshots" "whole order books at one update id, up to a number of levels. The updates of depth_events with higher ids continue them"}}
