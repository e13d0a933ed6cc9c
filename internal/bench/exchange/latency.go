package main

import (
	"math/bits"
	"time"
)

// Latencies are counted in buckets an eighth wide or narrower, of microseconds.
type latencies struct {
	buckets [64 * 8]int
	count   int
	max     time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.count++
	l.max = max(l.max, d)
	l.buckets[bucket(uint64(max(d.Microseconds(), 0)))]++
}

// bucket numbers the buckets: one for each value below 16, then eight for each power of two.
func bucket(v uint64) int {
	if v < 16 {
		return int(v)
	}
	shift := bits.Len64(v) - 4
	return shift*8 + int(v>>shift)
}

// quantile is the upper end of the bucket in which that part of the latencies ends.
func (l *latencies) quantile(q float64) time.Duration {
	left := int(q * float64(l.count))
	for i, n := range l.buckets {
		if left -= n; left < 0 {
			if i < 16 {
				return time.Duration(i+1) * time.Microsecond
			}
			shift := i/8 - 1
			return time.Duration((uint64(i%8)+9)<<shift) * time.Microsecond
		}
	}
	return l.max
}
