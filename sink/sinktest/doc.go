// Package sinktest tests sinks, and programs that write to them.
//
// [TestSink] is the conformance test that every sink of this module passes; run it on your
// own sink:
//
//	func TestFile(t *testing.T) {
//		sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
//			f := openFile(t, t.TempDir())
//			return f, f.readAll
//		})
//	}
//
// [Recorder] is a sink that keeps its records, [Faults] makes any sink fail on purpose, [Records]
// and [Extremes] make input, and [Equal] and [Diff] compare records as a reader would.
package sinktest
