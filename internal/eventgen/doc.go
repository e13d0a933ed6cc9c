// Package eventgen makes up the depth events of a busy spot symbol, the same ones each time, so that
// benchmarks of the decoder and of the book measure one and the same stream.
//
// An event changes 20 to 60 levels and is about 1.4 kB long: a third of its levels go, a third are
// new, a third change their quantity. How far from the touch a change lies is log-uniform: as many
// between the 1st and the 10th level as between the 100th and the 1000th. Update ids have no holes.
// A feed is finite; a benchmark that has come to its end starts again from the snapshot, outside its
// timer.
package eventgen
