CREATE TABLE IF NOT EXISTS {{.Target "gaps"}}
(
    {{template "key"}}
    {{template "times"}}
    after_id      Int64                COMMENT 'last update id before the gap; 0 if the book was never in sync'
        CODEC(Delta, ZSTD(1)),
    reason        LowCardinality(String) COMMENT 'why: disconnect, sequence, overflow, invalid, regressed (the ids of the exchange went back), …',
    error         String               COMMENT 'the error behind it, if any'
        CODEC(ZSTD(1)),
    {{template "origin"}}

    {{template "event_time"}}

    {{template "watermark"}}
)
{{.Storage "gaps" "the ends of spans in which a book was in sync: after such a row updates may be missing, up to the next snapshot of the symbol"}}
