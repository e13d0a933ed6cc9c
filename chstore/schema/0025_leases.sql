CREATE TABLE IF NOT EXISTS {{.View "leases"}}
(
    name   String                COMMENT 'table and stream that one Store at a time writes',
    epoch  UInt64                COMMENT 'number of the holder, counted from 1',
    holder String                COMMENT 'the process that holds or held it',
    turn   UInt64                COMMENT 'counts the writes of the holder; of two rows the one with the higher count is valid',
    until  DateTime64(3, 'UTC')  COMMENT 'when it expires, by the clock of the server, UTC'
)
ENGINE = {{.Bookkeeping "turn"}}
ORDER BY (name, epoch)
SETTINGS {{.Window}}
COMMENT 'which process writes the records of a stream (Config.Lease)'
