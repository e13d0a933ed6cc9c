CREATE TABLE IF NOT EXISTS {{.View "schema_migrations"}}
(
    version    UInt32                COMMENT 'number of the migration',
    name       String                COMMENT 'name of its file',
    checksum   String                COMMENT 'SHA-256 of its text',
    applied_at DateTime64(3, 'UTC')  COMMENT 'when, by the clock of the process that ran it, UTC',
    took_ms    UInt32                COMMENT 'duration in milliseconds'
)
ENGINE = {{.Bookkeeping "applied_at"}}
ORDER BY version
COMMENT 'the migrations that Migrate has applied; read it with FINAL'
