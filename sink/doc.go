// Package sink defines where records go. A [Sink] is anything that takes them: natsbus.Publisher,
// chstore.Store, a file, a program of yours. The other types here combine sinks.
//
// # Usage
//
// [Func] makes a function a sink, [Tee] writes to several, [Filter] leaves records out. A [Buffer]
// decouples a producer that must not wait, such as a feed, from a sink that is slow at times:
//
//	buffer, err := sink.NewBuffer(store, sink.BufferConfig{})
//	...
//	go func() { done <- buffer.Run(ctx) }() // the only goroutine that calls store
//	err = buffer.Write(ctx, recs)           // returns once recs are copied
//
// A [Spill] protects a sink that is unavailable at times, such as a bus: it keeps on disk the records
// that the sink cannot take:
//
//	spill, err := sink.NewSpill(publisher, sink.SpillConfig{
//		Dir: "spill", Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord,
//	})
//	...
//	go func() { done <- spill.Run(ctx) }() // delivers the records on disk
//	err = spill.Write(ctx, recs)           // returns once recs are accepted by publisher or on disk
//
// Package sinktest has the test that every sink must pass.
//
// # Concurrency
//
// Every type here may be used from any number of goroutines. Records that one goroutine writes stay
// in order; between goroutines there is none.
//
// # Limitations
//
// A Buffer is in memory: its records are lost when the process is killed. If accepted records must not be
// lost, use a sink that has stored them when Write returns, such as a Spill.
//
// A Spill delivers some records twice after a crash, in order; the reader, or a bus within its dedupe
// window, recognizes them by their Key. It runs on systems with file locks: not on Solaris, AIX, Plan 9,
// JavaScript and WASI, where NewSpill returns an error.
package sink
