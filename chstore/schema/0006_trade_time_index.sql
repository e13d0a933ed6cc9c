ALTER TABLE {{.Target "trades"}} ADD INDEX IF NOT EXISTS trade_time_range trade_time TYPE minmax GRANULARITY 1
