// Package sink says where records go. A [Sink] is anything that takes them: natsbus.Publisher,
// chstore.Store, a file, a program of yours. The other types here combine sinks.
//
// # Usage
//
// [Func] makes a function a sink, [Tee] writes to several, [Filter] leaves records out. A [Buffer]
// stands between a producer that must not wait, such as a feed, and a sink that is slow now and then:
//
//	buffer, err := sink.NewBuffer(store, sink.BufferConfig{})
//	...
//	go func() { done <- buffer.Run(ctx) }() // the only goroutine that calls store
//	err = buffer.Write(ctx, recs)           // returns once recs are copied
//
// A [Spill] stands in front of a sink that is away now and then, such as a bus, and keeps on disk what that
// cannot take:
//
//	spill, err := sink.NewSpill(publisher, sink.SpillConfig{
//		Dir: "spill", Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord,
//	})
//	...
//	go func() { done <- spill.Run(ctx) }() // hands on what is on disk
//	err = spill.Write(ctx, recs)           // returns once recs are accepted by publisher or on disk
//
// Package sinktest has the test that every sink has to pass.
//
// # Concurrency
//
// Every type here may be used from any number of goroutines. Records that one goroutine writes stay
// in order; between goroutines there is none.
//
// # Limitations
//
// A Buffer lives in memory: what it holds when the process is killed is gone. Whoever must not lose
// accepted records writes to a sink that has stored them when Write returns, such as a Spill.
//
// A Spill hands some records on twice after a crash, in order; the reader, or a bus within its dedupe
// window, tells them by their Key. It runs on systems with file locks: not on Solaris, AIX, Plan 9,
// JavaScript and WASI, where NewSpill returns an error.
package sink
