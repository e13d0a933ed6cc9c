package orderbook

import "slices"

// A ladder is one side of a book: its levels sorted with the best at the end, so that the changes
// near the touch, which are most of them, move few bytes.
//
// order is 0 for bids and -1 for asks. A price xor order is the level's rank: x ^ -1 = -x-1 reverses
// the order of the integers, so one search serves both sides without a branch.
//
// front is the free room before levels in the same array. Changes in the far half use it: they
// move the levels beyond them instead of all levels up to the touch.
//
// bound is the known depth. apply does not move it.
type ladder struct {
	levels []Level
	front  []Level
	order  Fixed
	bound  Bound
}

// apply sets the absolute quantities of changes, in any order; quantity 0 removes. Removing a level
// that does not exist is normal (Binance, How to manage a local order book correctly: "Receiving an
// event that removes a price level that is not in your local order book can happen and is normal").
//
// The slot of a removed level stays vacant until the next insertion or removal: an insertion
// then moves only the levels between the two, not all up to the touch.
func (l *ladder) apply(changes []Level) {
	at, vacant := len(l.levels), noSlot
	for i := range changes {
		c := &changes[i]
		at = l.search(c.Price^l.order, at)
		found := at < len(l.levels) && l.levels[at].Price == c.Price
		switch {
		case found && c.Quantity != 0:
			l.levels[at].Quantity = c.Quantity
			if at == vacant {
				vacant = noSlot
			}
		case found && at != vacant:
			if vacant != noSlot {
				l.close(vacant)
				if vacant < at {
					at--
				}
			}
			vacant = at
		case !found && c.Quantity != 0:
			at = l.insert(at, vacant, *c)
			vacant = noSlot
		}
	}
	if vacant != noSlot {
		l.close(vacant)
	}
}

const noSlot = -1

// close removes the vacant slot by moving the levels beyond it or those before it, whichever are fewer.
func (l *ladder) close(vacant int) {
	if vacant >= len(l.levels)/2 {
		copy(l.levels[vacant:], l.levels[vacant+1:])
		l.levels = l.levels[:len(l.levels)-1]
		return
	}
	copy(l.levels[1:vacant+1], l.levels[:vacant])
	if l.front == nil {
		l.front = l.levels[:0]
	}
	l.front = l.front[:len(l.front)+1]
	l.levels = l.levels[1:]
}

// insert puts level before the one at index at, fills the vacant slot if there is one, and returns the
// index of the new level.
func (l *ladder) insert(at, vacant int, level Level) int {
	switch {
	case vacant == noSlot && at < len(l.levels)/2 && len(l.front) > 0:
		room := len(l.front) - 1
		l.levels = l.front[room : room+1+len(l.levels)]
		l.front = l.front[:room]
		copy(l.levels[:at], l.levels[1:at+1])
	case vacant == noSlot:
		l.grow()
		copy(l.levels[at+1:], l.levels[at:])
	case vacant < at:
		at--
		copy(l.levels[vacant:at], l.levels[vacant+1:])
	default:
		copy(l.levels[at+1:vacant+1], l.levels[at:])
	}
	l.levels[at] = level
	return at
}

// grow adds a slot at the end: in the array, or by moving all levels to its front if there is much
// room, or in a larger array.
func (l *ladder) grow() {
	n := len(l.levels)
	switch {
	case n < cap(l.levels):
		l.levels = l.levels[:n+1]
	case len(l.front) > n/4:
		wvacant := l.front[:len(l.front)+n]
		copy(wvacant, l.levels)
		l.levels, l.front = wvacant[:n+1], nil
	default:
		l.levels, l.front = append(l.levels, Level{}), nil
	}
}

// search returns the index of the first level whose rank is at least rank. It gallops from near, the index
// of the previous change: the venue sends a side sorted, so the next one is close by.
func (l *ladder) search(rank Fixed, near int) int {
	levels, order := l.levels, l.order
	lo, hi := 0, len(levels) // the answer is in [lo, hi]
	if near < len(levels) && levels[near].Price^order < rank {
		lo = near + 1
		for step := 1; lo+step < hi; step *= 2 {
			if levels[lo+step].Price^order >= rank {
				hi = lo + step
				break
			}
			lo += step + 1
		}
	} else {
		hi = min(near, hi)
		for step := 1; hi-step > lo; step *= 2 {
			if levels[hi-step].Price^order < rank {
				lo = hi - step + 1
				break
			}
			hi -= step
		}
	}
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if levels[mid].Price^order < rank {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// reset replaces the side by levels that come best first, as venues send them. Any other order works
// too, but slower. Of several levels with one price the last counts; empty ones are left out.
func (l *ladder) reset(bestFirst []Level) {
	if l.front != nil {
		l.levels = l.front // the wvacant array is free
	}
	l.levels, l.front = l.levels[:0], nil
	for i := len(bestFirst) - 1; i >= 0; i-- {
		l.levels = append(l.levels, bestFirst[i])
	}
	for i, level := range l.levels {
		sorted := i == 0 || l.levels[i-1].Price^l.order < level.Price^l.order
		if !sorted || level.Quantity == 0 {
			l.levels, l.front = l.levels[:0], nil
			l.apply(bestFirst)
			return
		}
	}
}

func (l *ladder) best() (Level, bool) {
	if len(l.levels) == 0 {
		return Level{}, false
	}
	return l.levels[len(l.levels)-1], true
}

// appendTop appends the best n levels, best first; all of them if n is negative.
func (l *ladder) appendTop(dst []Level, n int) []Level {
	if n < 0 || n > len(l.levels) {
		n = len(l.levels)
	}
	dst = slices.Grow(dst, n)
	for i := len(l.levels) - 1; i >= len(l.levels)-n; i-- {
		dst = append(dst, l.levels[i])
	}
	return dst
}

func (l *ladder) all(yield func(Level) bool) {
	for i := len(l.levels) - 1; i >= 0; i-- {
		if !yield(l.levels[i]) {
			return
		}
	}
}

// quantity sums the best n levels as a float: the exact sum can be outside Fixed. It is false if a quantity of
// one is MaxFixed.
func (l *ladder) quantity(n int) (sum float64, ok bool) {
	if n < 0 || n > len(l.levels) {
		n = len(l.levels)
	}
	for _, level := range l.levels[len(l.levels)-n:] {
		if level.Quantity == MaxFixed {
			return 0, false
		}
		sum += level.Quantity.Float64()
	}
	return sum, true
}

// knows reports whether price is within the known depth.
func (l *ladder) knows(price Fixed) bool {
	return !l.bound.Limited || price^l.order >= l.bound.Price^l.order
}

// knowsTop reports whether the best n levels are within the known depth, or are all there are of a side
// that is known to its end.
func (l *ladder) knowsTop(n int) bool {
	if !l.bound.Limited || n <= 0 {
		return true
	}
	return n <= len(l.levels) && l.knows(l.levels[len(l.levels)-n].Price)
}

// deeper reports whether l is known to a worse price than other.
func (l *ladder) deeper(other *ladder) bool {
	return other.bound.Limited && (!l.bound.Limited || l.bound.Price^l.order < other.bound.Price^l.order)
}

// knownToBoth returns the levels within the known depth of both l and other, best last.
func (l *ladder) knownToBoth(other *ladder) []Level {
	nearer := other
	if other.deeper(l) {
		nearer = l
	}
	if !nearer.bound.Limited {
		return l.levels
	}
	return l.levels[l.search(nearer.bound.Price^l.order, 0):]
}

// prunedRoom bounds the capacity of a pruned side, as a multiple of its levels.
const prunedRoom = 4

// prune keeps the best n levels, at least 1.
func (l *ladder) prune(n int) {
	extra := len(l.levels) - n
	if extra <= 0 {
		return
	}
	last := l.levels[extra].Price
	l.levels = l.levels[:copy(l.levels, l.levels[extra:])]
	if cap(l.levels) > prunedRoom*max(n, 64) {
		l.levels, l.front = slices.Clone(l.levels), nil
	}
	if l.knows(last) {
		l.bound = Bound{Price: last, Limited: true}
	}
}
