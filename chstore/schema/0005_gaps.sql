CREATE TABLE IF NOT EXISTS {{.Target "gaps"}}
(
    {{template "key"}}
    {{template "times"}}
    after_id      Int64                COMMENT 'the last update id before the hole; 0 if the book was never known'
        CODEC(Delta, ZSTD(1)),
    reason        LowCardinality(String),
    error         String               CODEC(ZSTD(1)),
    {{template "origin"}}

    {{template "event_time"}}

    {{template "watermark"}}
)
{{.Storage "gaps"}}
