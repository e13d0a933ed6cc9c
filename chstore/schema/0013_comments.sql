{{define "of_all"}}COMMENT COLUMN exchange 'the exchange: binance',
    COMMENT COLUMN market 'its market: spot, usdm (USD-margined futures) or coinm (coin-margined futures)',
    COMMENT COLUMN symbol 'the symbol as the exchange writes it: BTCUSDT',
    COMMENT COLUMN ts 'time of the record in UTC: the exchange clock where timed is true, else received_at. Rows are sorted, partitioned and expire by it: filter by exchange, market, symbol and ts',
    COMMENT COLUMN timed 'the exchange sends a time with the event: ts is that time',
    COMMENT COLUMN received_at 'time of receipt by the clock of the collector, UTC',
    COMMENT COLUMN src 'the stream through which the row came, empty if none',
    COMMENT COLUMN seq 'position of the row in that stream, from 1',
    COMMENT COLUMN event_time 'exchange clock, UTC; 1970 where the exchange sends no time',
{{- end}}
{{define "transact"}}COMMENT COLUMN transact_time 'clock of the matching engine, UTC; 1970 where unknown',
{{- end}}
{{define "levels"}}COMMENT COLUMN own_time 'event time inside the payload in ns since 1970; -1: the same as event_time, 0: none',
    COMMENT COLUMN bid_price_e8 'prices of bids in hundred-millionths; element n belongs to element n of bid_qty_e8',
    COMMENT COLUMN bid_qty_e8 'quantities of bids in hundred-millionths of the base asset; 9223372036854775807 means that or more',
    COMMENT COLUMN ask_price_e8 'prices of asks in hundred-millionths; element n belongs to element n of ask_qty_e8',
    COMMENT COLUMN ask_qty_e8 'quantities of asks in hundred-millionths of the base asset; 9223372036854775807 means that or more',
    COMMENT COLUMN bids 'bids as (price, quantity), computed from the integers; not in SELECT *',
    COMMENT COLUMN asks 'asks as (price, quantity), computed from the integers; not in SELECT *',
    ADD COLUMN IF NOT EXISTS bids_decimal Array(Tuple(price Decimal(38, 8), qty Decimal(38, 8)))
        ALIAS arrayMap((p, q) -> (toDecimal128(p, 8) / 100000000, toDecimal128(q, 8) / 100000000), bid_price_e8, bid_qty_e8)
        COMMENT 'bids as exact (price, quantity), computed from the integers; not in SELECT *',
    ADD COLUMN IF NOT EXISTS asks_decimal Array(Tuple(price Decimal(38, 8), qty Decimal(38, 8)))
        ALIAS arrayMap((p, q) -> (toDecimal128(p, 8) / 100000000, toDecimal128(q, 8) / 100000000), ask_price_e8, ask_qty_e8)
        COMMENT 'asks as exact (price, quantity), computed from the integers; not in SELECT *'
{{- end}}
{{define "depth_events"}}MODIFY COMMENT 'changes of order books. A row is one update of the exchange: the levels that changed between the update ids first_id and last_id, with their new quantities. For the book at a time use book_at',
    {{template "of_all"}}
    {{template "transact"}}
    COMMENT COLUMN first_id 'first update id of the row',
    COMMENT COLUMN last_id 'last update id of the row: the id of the book after it',
    COMMENT COLUMN prev_id 'futures: last_id of the update before this one, as the exchange sends it; 0 on spot, where first_id continues the ids',
    {{template "levels"}}
{{- end}}
{{define "book_snapshots"}}MODIFY COMMENT 'whole order books at one update id, up to a number of levels. The updates of depth_events with higher ids continue them',
    {{template "of_all"}}
    {{template "transact"}}
    COMMENT COLUMN last_id 'update id of the book',
    COMMENT COLUMN bid_limited 'the exchange cut the bids: those worse than bid_bound are not all known',
    COMMENT COLUMN bid_bound_e8 'worst price up to which the bids are known, in hundred-millionths; 0 unless bid_limited',
    COMMENT COLUMN ask_limited 'the exchange cut the asks: those worse than ask_bound are not all known',
    COMMENT COLUMN ask_bound_e8 'worst price up to which the asks are known, in hundred-millionths; 0 unless ask_limited',
    ADD COLUMN IF NOT EXISTS bid_bound Float64 ALIAS bid_bound_e8 / 1e8
        COMMENT 'worst price up to which the bids are known, computed; 0 unless bid_limited',
    ADD COLUMN IF NOT EXISTS ask_bound Float64 ALIAS ask_bound_e8 / 1e8
        COMMENT 'worst price up to which the asks are known, computed; 0 unless ask_limited',
    ADD COLUMN IF NOT EXISTS bid_bound_decimal Decimal(38, 8) ALIAS toDecimal128(bid_bound_e8, 8) / 100000000
        COMMENT 'bid_bound, exact',
    ADD COLUMN IF NOT EXISTS ask_bound_decimal Decimal(38, 8) ALIAS toDecimal128(ask_bound_e8, 8) / 100000000
        COMMENT 'ask_bound, exact',
    {{template "levels"}}
{{- end}}
{{define "trades"}}MODIFY COMMENT 'trades as they came, duplicates included. The exchange reports each trade twice: by itself, and in an aggregate (aggregate is true). Never add up both: read trades_dedup (single trades, each once), agg_trades_dedup (aggregates) or bars_1m',
    {{template "of_all"}}
    COMMENT COLUMN id 'trade id, or aggregate id where aggregate is true; the two count separately',
    COMMENT COLUMN aggregate 'the row is an aggregate: one or more trades of one taker at one price, which are single rows too if single trades are collected',
    COMMENT COLUMN first_id 'first trade id that an aggregate covers. Of a single trade 0; or, on futures, the first of the ids just before it that are no trades of the market (NA, INSURANCE_FUND, ADL)',
    COMMENT COLUMN last_id 'last trade id that an aggregate covers. Of a single trade 0, or its own id where first_id is not 0',
    COMMENT COLUMN price_e8 'price in hundred-millionths of the quote asset',
    COMMENT COLUMN quantity_e8 'quantity in hundred-millionths of the base asset (coinm: of contracts)',
    COMMENT COLUMN buyer_maker 'the buyer was the maker, so the taker sold',
    COMMENT COLUMN is_best_match 'spot: the flag M of the exchange, which documents no meaning',
    COMMENT COLUMN trade_time 'clock of the matching engine, UTC; 1970 where unknown',
    COMMENT COLUMN trade_id 'id as text, computed; not in SELECT *',
    COMMENT COLUMN price 'price, computed from price_e8; not in SELECT *',
    COMMENT COLUMN quantity 'quantity, computed from quantity_e8; not in SELECT *',
    COMMENT COLUMN side 'what the taker did: buy or sell, computed; not in SELECT *',
    COMMENT COLUMN receive_time 'received_at under another name; not in SELECT *',
    ADD COLUMN IF NOT EXISTS price_decimal Decimal(38, 8) ALIAS toDecimal128(price_e8, 8) / 100000000
        COMMENT 'price, exact; not in SELECT *',
    ADD COLUMN IF NOT EXISTS quantity_decimal Decimal(38, 8) ALIAS toDecimal128(quantity_e8, 8) / 100000000
        COMMENT 'quantity, exact; not in SELECT *'
{{- end}}
{{define "tickers"}}MODIFY COMMENT 'best bid and best ask as the exchange sends them at each change, duplicates included. Read tickers_dedup or top_of_book, which have each once',
    {{template "of_all"}}
    {{template "transact"}}
    COMMENT COLUMN update_id 'update id of the book at which they were the best',
    COMMENT COLUMN bid_price_e8 'best bid in hundred-millionths; 0 if there is no bid',
    COMMENT COLUMN bid_qty_e8 'quantity at the best bid in hundred-millionths; 0 if there is no bid',
    COMMENT COLUMN ask_price_e8 'best ask in hundred-millionths; 0 if there is no ask',
    COMMENT COLUMN ask_qty_e8 'quantity at the best ask in hundred-millionths; 0 if there is no ask',
    COMMENT COLUMN bid_price 'best bid, computed; not in SELECT *',
    COMMENT COLUMN bid_qty 'quantity at the best bid, computed; not in SELECT *',
    COMMENT COLUMN ask_price 'best ask, computed; not in SELECT *',
    COMMENT COLUMN ask_qty 'quantity at the best ask, computed; not in SELECT *',
    ADD COLUMN IF NOT EXISTS bid_price_decimal Decimal(38, 8) ALIAS toDecimal128(bid_price_e8, 8) / 100000000
        COMMENT 'bid_price, exact; not in SELECT *',
    ADD COLUMN IF NOT EXISTS bid_qty_decimal Decimal(38, 8) ALIAS toDecimal128(bid_qty_e8, 8) / 100000000
        COMMENT 'bid_qty, exact; not in SELECT *',
    ADD COLUMN IF NOT EXISTS ask_price_decimal Decimal(38, 8) ALIAS toDecimal128(ask_price_e8, 8) / 100000000
        COMMENT 'ask_price, exact; not in SELECT *',
    ADD COLUMN IF NOT EXISTS ask_qty_decimal Decimal(38, 8) ALIAS toDecimal128(ask_qty_e8, 8) / 100000000
        COMMENT 'ask_qty, exact; not in SELECT *'
{{- end}}
{{define "gaps"}}MODIFY COMMENT 'the ends of spans in which a book was in sync: after such a row updates may be missing, up to the next snapshot of the symbol',
    {{template "of_all"}}
    COMMENT COLUMN after_id 'last update id before the gap; 0 if the book was never in sync',
    COMMENT COLUMN reason 'why: disconnect, sequence, overflow, invalid, regressed (the ids of the exchange went back), …',
    COMMENT COLUMN error 'the error behind it, if any'
{{- end}}
{{define "of_minutes"}}COMMENT COLUMN exchange 'the exchange: binance',
    COMMENT COLUMN market 'its market: spot, usdm or coinm',
    COMMENT COLUMN symbol 'the symbol as the exchange writes it: BTCUSDT',
    COMMENT COLUMN minute 'start of the minute, UTC'
{{- end}}
{{define "leases"}}MODIFY COMMENT 'which process writes the records of a stream (Config.Lease)',
    COMMENT COLUMN name 'table and stream that one Store at a time writes',
    COMMENT COLUMN epoch 'number of the holder, counted from 1',
    COMMENT COLUMN holder 'the process that holds or held it',
    COMMENT COLUMN turn 'counts the writes of the holder; of two rows the one with the higher count is valid',
    COMMENT COLUMN until 'when it expires, by the clock of the server, UTC'
{{- end}}
{{define "schema_migrations"}}MODIFY COMMENT 'the migrations that Migrate has applied; read it with FINAL',
    COMMENT COLUMN version 'number of the migration',
    COMMENT COLUMN name 'name of its file',
    COMMENT COLUMN checksum 'SHA-256 of its text',
    COMMENT COLUMN applied_at 'when, by the clock of the process that ran it, UTC',
    COMMENT COLUMN took_ms 'duration in milliseconds'
{{- end -}}
ALTER TABLE {{.Target "depth_events"}}
    {{template "depth_events"}};

ALTER TABLE {{.Target "book_snapshots"}}
    {{template "book_snapshots"}};

ALTER TABLE {{.Target "trades"}}
    {{template "trades"}};

ALTER TABLE {{.Target "tickers"}}
    {{template "tickers"}};

ALTER TABLE {{.Target "gaps"}}
    {{template "gaps"}};
{{if .Clustered}}
ALTER TABLE {{.View "depth_events"}}
    {{template "depth_events"}};

ALTER TABLE {{.View "book_snapshots"}}
    {{template "book_snapshots"}};

ALTER TABLE {{.View "trades"}}
    {{template "trades"}};

ALTER TABLE {{.View "tickers"}}
    {{template "tickers"}};

ALTER TABLE {{.View "gaps"}}
    {{template "gaps"}};
{{end}}
ALTER TABLE {{.View "leases"}}
    {{template "leases"}};

ALTER TABLE {{.View "schema_migrations"}}
    {{template "schema_migrations"}};

ALTER TABLE {{.View "spreads_1m"}}
    {{template "of_minutes"}},
    COMMENT COLUMN spread_min 'smallest ask - bid',
    COMMENT COLUMN spread_avg 'mean of ask - bid over the tickers of the minute',
    COMMENT COLUMN spread_max 'largest ask - bid',
    COMMENT COLUMN spread_avg_bps 'mean spread in hundredths of a percent of the middle price',
    COMMENT COLUMN bid_qty_avg 'mean quantity at the best bid',
    COMMENT COLUMN ask_qty_avg 'mean quantity at the best ask',
    COMMENT COLUMN mid_close 'last price halfway between best bid and best ask',
    COMMENT COLUMN updates 'number of tickers';

ALTER TABLE {{.View "depths_1m"}}
    {{template "of_minutes"}},
    COMMENT COLUMN bid_qty_10bps 'quantity of bids down to a tenth of a percent below the middle price',
    COMMENT COLUMN ask_qty_10bps 'quantity of asks up to a tenth of a percent above it',
    COMMENT COLUMN bid_qty_100bps 'quantity of bids down to a percent below the middle price',
    COMMENT COLUMN ask_qty_100bps 'quantity of asks up to a percent above it',
    COMMENT COLUMN bid_levels 'number of stored bids',
    COMMENT COLUMN ask_levels 'number of stored asks',
    COMMENT COLUMN snapshots 'number of snapshots that the means are of'
