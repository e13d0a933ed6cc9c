package metrics

import (
	"math"
	"sync/atomic"
)

// A number is the value of a series that changes as things happen.
type number struct{ bits atomic.Uint64 }

func (n *number) get() float64  { return math.Float64frombits(n.bits.Load()) }
func (n *number) set(v float64) { n.bits.Store(math.Float64bits(v)) }
func (n *number) inc()          { n.add(1) }

func (n *number) add(v float64) {
	for {
		old := n.bits.Load()
		if n.bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// A series is a number with its name and labels.
type series struct {
	name   string
	labels []string
	number number
}

// A closedSet is the series of a family by the value of its last label.
type closedSet struct{ numbers map[string]*number }

// of returns the series of a value, or of Other.
func (s closedSet) of(value string) *number {
	if n := s.numbers[value]; n != nil {
		return n
	}
	return s.numbers[Other]
}
