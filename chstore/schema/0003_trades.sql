CREATE TABLE IF NOT EXISTS {{.Target "trades"}}
(
    id            Int64                COMMENT 'trade id, or aggregate id where aggregate is true'
        CODEC(DoubleDelta, ZSTD(1)),
    {{template "key"}}
    aggregate     Bool                 CODEC(ZSTD(1)),
    first_id      Int64                COMMENT 'trade ids an aggregate covers; 0 for a single trade'
        CODEC(Delta, ZSTD(1)),
    last_id       Int64                CODEC(Delta, ZSTD(1)),
    price_e8      Int64                CODEC(GCD, Delta, ZSTD(1)),
    quantity_e8   Int64                CODEC(GCD, T64, ZSTD(1)),
    buyer_maker   Bool                 CODEC(ZSTD(1)),
    is_best_match Bool                 CODEC(ZSTD(1)),
    {{template "times"}}
    trade_time    DateTime64(9, 'UTC') COMMENT 'clock of the matching engine; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
    {{template "origin"}}

    trade_id      String               ALIAS toString(id),
    price         Float64              ALIAS price_e8 / 1e8,
    quantity      Float64              ALIAS quantity_e8 / 1e8,
    side          LowCardinality(String) ALIAS if(buyer_maker, 'sell', 'buy'),
    receive_time  DateTime64(9, 'UTC') ALIAS received_at,
    {{template "event_time"}}

    {{template "watermark"}}
)
{{.Storage "trades"}}
