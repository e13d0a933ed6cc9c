{{define "key"}}exchange      LowCardinality(String),
    market        LowCardinality(String),
    symbol        LowCardinality(String),
{{- end}}

{{define "times"}}ts            DateTime64(9, 'UTC') COMMENT 'exchange clock, or received_at where timed is false'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange told the time of the event'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'clock of the collector'
        CODEC(GCD, Delta, ZSTD(1)),
{{- end}}

{{define "transact_time"}}transact_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
{{- end}}

{{define "own_time"}}own_time      Int64                COMMENT 'event time inside the payload, ns since 1970; -1: the same as event_time, 0: none'
        CODEC(T64, ZSTD(1)),
{{- end}}

{{define "origin"}}src           LowCardinality(String) COMMENT 'the stream the row came through',
    seq           UInt64               COMMENT 'its position there'
        CODEC(Delta, ZSTD(1)),
{{- end}}

{{define "event_time"}}event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC')),
{{- end}}

{{define "sides"}}bids Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), bid_price_e8, bid_qty_e8),
    asks Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), ask_price_e8, ask_qty_e8),
{{- end}}

{{define "watermark"}}PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
{{- end}}
