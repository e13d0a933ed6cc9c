CREATE TABLE IF NOT EXISTS {{.Target "depth_events"}}
(
    {{template "key"}}
    {{template "times"}}
    {{template "transact_time"}}
    {{template "own_time"}}
    first_id      Int64                COMMENT 'first update id of the row'
        CODEC(Delta, ZSTD(1)),
    last_id       Int64                COMMENT 'last update id of the row: the id of the book after it'
        CODEC(Delta, ZSTD(1)),
    prev_id       Int64                COMMENT 'futures: last_id of the update before this one, as the exchange sends it; 0 on spot, where first_id continues the ids'
        CODEC(Delta, ZSTD(1)),
    {{template "levels"}}
    {{template "origin"}}

    {{template "event_time"}}
    {{template "sides"}}
    {{template "sides_decimal"}}

    {{template "watermark"}}
)
{{.Storage "depth_events" "changes of order books. A row is one update of the exchange: the levels that changed between the update ids first_id and last_id, with their new quantities. For the book at a time use book_at"}}
