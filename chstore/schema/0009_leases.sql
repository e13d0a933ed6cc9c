CREATE TABLE IF NOT EXISTS {{.View "leases"}}
(
    name   String                COMMENT 'table and stream that one Store at a time writes',
    epoch  UInt64                COMMENT 'counts the holders',
    holder String,
    turn   UInt64                COMMENT 'counts what the holder has said; the last word counts',
    until  DateTime64(3, 'UTC')  COMMENT 'clock of the server'
)
ENGINE = {{.Bookkeeping "turn"}}
ORDER BY (name, epoch)
SETTINGS {{.Window}}
