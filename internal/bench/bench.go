// Package bench measures CPU time and latencies for the programs below it.
package bench

import (
	"bytes"
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"time"
)

// A CPUTime is the CPU time of this process in user and in system mode. On a machine that does other work too,
// it measures the cost of something more steadily than elapsed time. See CPUUsed.
type CPUTime struct{ User, System time.Duration }

// Minus returns the time between b and t.
func (t CPUTime) Minus(b CPUTime) CPUTime { return CPUTime{t.User - b.User, t.System - b.System} }

// Plus returns the sum of both.
func (t CPUTime) Plus(b CPUTime) CPUTime { return CPUTime{t.User + b.User, t.System + b.System} }

// Total returns user and system time together.
func (t CPUTime) Total() time.Duration { return t.User + t.System }

// A Histogram counts latencies in buckets of a relative width of at most an eighth, from a microsecond up. Its
// zero value is empty. It is not safe for concurrent use.
type Histogram struct {
	buckets [64 * 8]int
	count   int
	max     time.Duration
}

// Add counts one latency.
func (h *Histogram) Add(d time.Duration) {
	h.count++
	h.max = max(h.max, d)
	h.buckets[bucket(uint64(max(d.Microseconds(), 0)))]++
}

// bucket returns the index of a value's bucket: one for each value below 16, then eight for each power of two.
func bucket(v uint64) int {
	if v < 16 {
		return int(v)
	}
	shift := bits.Len64(v) - 4
	return shift*8 + int(v>>shift)
}

// Quantile returns the upper end of the bucket that holds the quantile q, at most Max.
func (h *Histogram) Quantile(q float64) time.Duration {
	left := int(q * float64(h.count))
	for i, n := range h.buckets {
		if left -= n; left < 0 {
			if i < 16 {
				return time.Duration(i+1) * time.Microsecond
			}
			shift := i/8 - 1
			return min(time.Duration((uint64(i%8)+9)<<shift)*time.Microsecond, h.max)
		}
	}
	return h.max
}

// Count returns the number of latencies.
func (h *Histogram) Count() int { return h.count }

// Max returns the longest latency.
func (h *Histogram) Max() time.Duration { return h.max }

// A Process is what Linux says of a process.
type Process struct {
	Parent int
	Used   time.Duration // CPU time until now, in steps of 10 ms
}

// ReadProcess looks at a process. ok is false if it has ended, or there is no Linux /proc.
func ReadProcess(pid int) (p Process, ok bool) {
	const tick = time.Second / 100                                  // USER_HZ, which is 100 for all programs on Linux: time(7)
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))       // proc_pid_stat(5): pid (name) state parent …
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // a name may contain blanks
	if len(fields) < 13 {
		return p, false
	}
	p.Parent, _ = strconv.Atoi(string(fields[1]))
	user, _ := strconv.Atoi(string(fields[11]))
	system, _ := strconv.Atoi(string(fields[12]))
	p.Used = time.Duration(user+system) * tick
	return p, true
}
