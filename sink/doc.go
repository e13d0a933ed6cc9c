// Package sink defines where records go. A [Sink] is anything that takes them: natsbus.Publisher,
// chstore.Store, a file, a program of yours. The other types here combine sinks.
//
// # Usage
//
// [Func] makes a function a sink, [Tee] writes to several, [Filter] leaves records out, and [Handler] lets a driver write to
// one. A [Buffer] decouples a producer that must not wait, such as a driver, from a sink that is slow at times. What runs is
// a [Stage], and [RunStages] ends them from the source to the last sink:
//
//	buffer, err := sink.NewBuffer(store, sink.BufferConfig{})
//	...
//	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: symbols, Handler: sink.Handler(buffer)})
//	...
//	err = sink.RunStages(ctx, sink.Stage{Name: "books", Run: books.Run}, sink.Stage{Name: "buffer", Run: buffer.Run})
//
// When ctx ends, the driver ends first, and the Gaps that end its books still find the Buffer at work. Were both run with one
// ctx, the Buffer might end first: the driver's Run then returns a marketprism.HandlerError with the number of lost records.
//
// A [Spill] protects a sink that is unavailable at times, such as a bus: it keeps on disk the records
// that the sink cannot take:
//
//	spill, err := sink.NewSpill(publisher, sink.SpillConfig{
//		Dir: "spill", Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord,
//	})
//	...
//	stage := sink.Stage{Name: "spill", Run: spill.Run, Flush: spill.Flush} // delivers the records on disk
//	err = spill.Write(ctx, recs)                                           // returns once they are accepted by publisher or on disk
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
