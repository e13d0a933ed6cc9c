// Package latency counts how long things took, in little space, to tell quantiles.
package latency

import (
	"math/bits"
	"time"
)

// A Histogram counts latencies in buckets an eighth wide or narrower, of microseconds. Its zero value is
// empty. It is for one goroutine at a time.
type Histogram struct {
	buckets [64 * 8]int
	count   int
	max     time.Duration
}

// Add counts one.
func (l *Histogram) Add(d time.Duration) {
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

// Quantile is the upper end of the bucket in which that part of the latencies ends, and
// Max at most.
func (l *Histogram) Quantile(q float64) time.Duration {
	left := int(q * float64(l.count))
	for i, n := range l.buckets {
		if left -= n; left < 0 {
			if i < 16 {
				return time.Duration(i+1) * time.Microsecond
			}
			shift := i/8 - 1
			return min(time.Duration((uint64(i%8)+9)<<shift)*time.Microsecond, l.max)
		}
	}
	return l.max
}

// Count is how many were counted.
func (l *Histogram) Count() int { return l.count }

// Max is the longest.
func (l *Histogram) Max() time.Duration { return l.max }
