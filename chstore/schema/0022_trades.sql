CREATE TABLE IF NOT EXISTS {{.Target "trades"}}
(
    id            Int64                COMMENT 'trade id, or aggregate id where aggregate is true; the two count separately'
        CODEC(DoubleDelta, ZSTD(1)),
    {{template "key"}}
    aggregate     Bool                 COMMENT 'the row is an aggregate: one or more trades of one taker at one price, which are single rows too if single trades are collected'
        CODEC(ZSTD(1)),
    first_id      Int64                COMMENT 'first trade id that an aggregate covers. Of a single trade 0; or, on futures, the first of the ids just before it that are no trades of the market (NA, INSURANCE_FUND, ADL)'
        CODEC(Delta, ZSTD(1)),
    last_id       Int64                COMMENT 'last trade id that an aggregate covers. Of a single trade 0, or its own id where first_id is not 0'
        CODEC(Delta, ZSTD(1)),
    price_e8      Int64                COMMENT 'price in hundred-millionths of the quote asset'
        CODEC(GCD, Delta, ZSTD(1)),
    quantity_e8   Int64                COMMENT 'quantity in hundred-millionths of the base asset (coinm: of contracts)'
        CODEC(GCD, T64, ZSTD(1)),
    buyer_maker   Bool                 COMMENT 'the buyer was the maker, so the taker sold'
        CODEC(ZSTD(1)),
    is_best_match Bool                 COMMENT 'spot: the flag M of the exchange, which documents no meaning'
        CODEC(ZSTD(1)),
    {{template "times"}}
    trade_time    DateTime64(9, 'UTC') COMMENT 'clock of the matching engine, UTC; 1970 where unknown'
        CODEC(GCD, Delta, ZSTD(1)),
    {{template "origin"}}

    trade_id      String               ALIAS toString(id) COMMENT 'id as text, computed; not in SELECT *',
    price         Float64              ALIAS price_e8 / 1e8 COMMENT 'price, computed from price_e8; not in SELECT *',
    quantity      Float64              ALIAS quantity_e8 / 1e8 COMMENT 'quantity, computed from quantity_e8; not in SELECT *',
    side          LowCardinality(String) ALIAS if(buyer_maker, 'sell', 'buy')
        COMMENT 'what the taker did: buy or sell, computed; not in SELECT *',
    receive_time  DateTime64(9, 'UTC') ALIAS received_at COMMENT 'received_at under another name; not in SELECT *',
    {{template "event_time"}}
    price_decimal Decimal(38, 8) ALIAS toDecimal128(price_e8, 8) / 100000000
        COMMENT 'price, exact; not in SELECT *',
    quantity_decimal Decimal(38, 8) ALIAS toDecimal128(quantity_e8, 8) / 100000000
        COMMENT 'quantity, exact; not in SELECT *',

    INDEX trade_time_range trade_time TYPE minmax GRANULARITY 1,
    {{template "watermark"}}
)
{{.Storage "trades" "trades as they came, duplicates included. The exchange reports each trade twice: by itself, and in an aggregate (aggregate is true). Never add up both: read trades_dedup (single trades, each once), agg_trades_dedup (aggregates) or bars_1m"}}
