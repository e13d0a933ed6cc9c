// Package eventgen generates the depth events of a busy spot symbol, reproducibly, so that all benchmarks
// measure the same stream.
//
// An event changes 20 to 60 levels and is about 1.4 kB long: a third of its levels are removed, a third are
// new, a third change their quantity. The distance of a change from the touch is log-uniform: as many changes
// between the 1st and the 10th level as between the 100th and the 1000th. Update ids are contiguous. A feed is
// finite; a benchmark at its end starts again from the snapshot, outside its timer.
package eventgen
