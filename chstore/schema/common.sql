{{define "key"}}exchange      LowCardinality(String) COMMENT 'the exchange: binance',
    market        LowCardinality(String) COMMENT 'its market: spot, usdm (USD-margined futures) or coinm (coin-margined futures)',
    symbol        LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
{{- end}}

{{define "times"}}ts            DateTime64(9, 'UTC') COMMENT 'time of the record in UTC: the exchange clock where timed is true, else received_at. Rows are sorted, partitioned and expire by it: filter by exchange, market, symbol and ts'
        CODEC(GCD, Delta, ZSTD(1)),
    timed         Bool                 COMMENT 'the exchange sends a time with the event: ts is that time'
        CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'time of receipt by the clock of the collector, UTC'
        CODEC(GCD, Delta, ZSTD(1)),
{{- end}}

{{define "transact_time"}}transact_time DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
{{- end}}

{{define "own_time"}}own_time      Int64                COMMENT 'event time inside the payload in ns since 1970; -1: the same as event_time, 0: none'
        CODEC(T64, ZSTD(1)),
{{- end}}

{{define "levels"}}bid_price_e8  Array(Int64)         COMMENT 'prices of bids in hundred-millionths; element n belongs to element n of bid_qty_e8'
        CODEC(GCD, Delta, ZSTD(1)),
    bid_qty_e8    Array(Int64)         COMMENT 'quantities of bids in hundred-millionths of the base asset; 9223372036854775807 means that or more'
        CODEC(GCD, T64, ZSTD(1)),
    ask_price_e8  Array(Int64)         COMMENT 'prices of asks in hundred-millionths; element n belongs to element n of ask_qty_e8'
        CODEC(GCD, Delta, ZSTD(1)),
    ask_qty_e8    Array(Int64)         COMMENT 'quantities of asks in hundred-millionths of the base asset; 9223372036854775807 means that or more'
        CODEC(GCD, T64, ZSTD(1)),
{{- end}}

{{define "origin"}}src           LowCardinality(String) COMMENT 'the stream through which the row came, empty if none',
    seq           UInt64               COMMENT 'position of the row in that stream, from 1'
        CODEC(Delta, ZSTD(1)),
{{- end}}

{{define "event_time"}}event_time    DateTime64(9, 'UTC') ALIAS if(timed, ts, toDateTime64(0, 9, 'UTC'))
        COMMENT 'exchange clock, UTC; 1970 where the exchange sends no time',
{{- end}}

{{define "sides"}}bids Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), bid_price_e8, bid_qty_e8)
        COMMENT 'bids as (price, quantity), computed from the integers; not in SELECT *',
    asks Array(Tuple(price Float64, qty Float64)) ALIAS arrayMap((p, q) -> (p / 1e8, q / 1e8), ask_price_e8, ask_qty_e8)
        COMMENT 'asks as (price, quantity), computed from the integers; not in SELECT *',
{{- end}}

{{define "sides_decimal"}}bids_decimal Array(Tuple(price Decimal(38, 8), qty Decimal(38, 8)))
        ALIAS arrayMap((p, q) -> (toDecimal128(p, 8) / 100000000, toDecimal128(q, 8) / 100000000), bid_price_e8, bid_qty_e8)
        COMMENT 'bids as exact (price, quantity), computed from the integers; not in SELECT *',
    asks_decimal Array(Tuple(price Decimal(38, 8), qty Decimal(38, 8)))
        ALIAS arrayMap((p, q) -> (toDecimal128(p, 8) / 100000000, toDecimal128(q, 8) / 100000000), ask_price_e8, ask_qty_e8)
        COMMENT 'asks as exact (price, quantity), computed from the integers; not in SELECT *',
{{- end}}

{{define "watermark"}}PROJECTION wm (SELECT src, min(seq), max(seq), count() GROUP BY src)
{{- end}}

{{define "view_key"}}exchange LowCardinality(String) COMMENT 'the exchange: binance',
    market LowCardinality(String) COMMENT 'its market: spot, usdm or coinm',
    symbol LowCardinality(String) COMMENT 'the symbol as the exchange writes it: BTCUSDT',
{{- end}}

{{define "minute"}}minute DateTime('UTC') COMMENT 'start of the minute, UTC',
{{- end}}
