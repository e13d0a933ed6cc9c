CREATE TABLE IF NOT EXISTS {{.Table "schema_migrations"}}
(
    version    UInt32,
    name       String,
    checksum   String,
    applied_at DateTime64(3, 'UTC'),
    took_ms    UInt32
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY version
