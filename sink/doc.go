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
// accepted records writes to a sink that has stored them when Write returns.
package sink
