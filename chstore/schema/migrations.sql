CREATE TABLE IF NOT EXISTS {{.View "schema_migrations"}}
(
    version    UInt32,
    name       String,
    checksum   String,
    applied_at DateTime64(3, 'UTC'),
    took_ms    UInt32
)
ENGINE = {{.Bookkeeping "applied_at"}}
ORDER BY version
