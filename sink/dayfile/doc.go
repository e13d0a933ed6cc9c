// Package dayfile writes records to files that other programs read: a set of files for each instrument and UTC day, in the
// form of a Format: those of packages sink/parquet, sink/tardis, sink/hftbacktest and sink/nautilus, or one of your own.
//
//	w, err := dayfile.New(dayfile.Config{Dir: "archive"}, tardis.Format{})
//	go w.Run(ctx)                  // makes the files of each day once it is over
//	err = w.Write(ctx, records)    // a sink.Sink
//	err = w.Flush(ctx, time.Time{}) // makes the files of what is left
//	err = w.Close()
//
// A file that other programs read is complete or it is not there. Formats need what is known at the end only, such as
// the number of rows, or the whole day in the order of another clock, and 1,300 instruments would keep 1,300 encoders in
// memory. So Write only appends to the log, and the files are a function of the log: a crash at any moment costs
// nothing that Write accepted, and the work of an interrupted conversion is done again.
//
// # Log
//
// The folder _log has segments, NUMBER.log, each a sequence of frames. A frame is
//
//	length, 32 bits | first day, 32 bits | last day, 32 bits | CRC-32C of the days and the payload | payload
//
// with little-endian numbers; days count from 1970-01-01. The payload is compressed with ZSTD and holds the records of one
// Write, so a Write is accepted as a whole or not at all. Bytes at the end of the last segment that make no frame are
// those of an interrupted Write: they are cut off. A frame that is damaged later costs its records, ends the spans of all
// books, and is counted in the manifests.
//
// # Clocks
//
// A record belongs to the day of its local clock: ReceivedAt, but never before that of an earlier record of its
// stream. Updates that arrived while their snapshot was requested have a ReceivedAt before it, and a reader that sorts by
// time would apply them to the wrong book. Tardis does the same: it folds them into the snapshot at its
// arrival (tardis-node, src/mappers/binance.ts).
//
// # Conversion
//
// Each instrument has three streams: its book, its trades and its tickers. A conversion splits the log of a day into one temporary
// file a stream, and gives a Format one instrument at a time, so memory is bounded by one instrument. The files that
// the Format creates get their names together, when all of them are complete and synced; the manifest comes
// last. The books at the end of the day begin the next one.
package dayfile
