package orderbook

import (
	"math/bits"
	"slices"
)

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
// An update of many levels would move all others with each of them, so the changes that are left once that costs
// more than a pass over the whole side are merged in one.
func (l *ladder) apply(changes []Level) {
	if rest := l.applySingly(changes); len(rest) > 0 {
		l.merge(rest)
	}
}

// movesAllowed is how many levels, for each level and change, applySingly moves. Moving one takes about a
// tenth of the time that merging one does.
const movesAllowed = 8

// applySingly applies one change after the other until it has moved many levels, and returns the rest.
//
// The slot of a removed level stays vacant until the next insertion or removal: an insertion
// then moves only the levels between the two, not all up to the touch.
func (l *ladder) applySingly(changes []Level) (rest []Level) {
	at, vacant := len(l.levels), noSlot
	budget := movesAllowed * (len(l.levels) + len(changes)) // levels that may still be moved
	for i := range changes {
		if budget < 0 {
			rest = changes[i:]
			break
		}
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
				budget -= l.close(vacant)
				if vacant < at {
					at--
				}
			}
			vacant = at
		case !found && c.Quantity != 0:
			var moved int
			at, moved = l.insert(at, vacant, *c)
			vacant, budget = noSlot, budget-moved
		}
	}
	if vacant != noSlot {
		l.close(vacant)
	}
	return rest
}

const noSlot = -1

// close removes the vacant slot by moving the levels beyond it or those before it, whichever are fewer. It returns
// how many.
func (l *ladder) close(vacant int) (moved int) {
	if vacant >= len(l.levels)/2 {
		moved = copy(l.levels[vacant:], l.levels[vacant+1:])
		l.levels = l.levels[:len(l.levels)-1]
		return moved
	}
	moved = copy(l.levels[1:vacant+1], l.levels[:vacant])
	if l.front == nil {
		l.front = l.levels[:0]
	}
	l.front = l.front[:len(l.front)+1]
	l.levels = l.levels[1:]
	return moved
}

// insert puts level before the one at index at, fills the vacant slot if there is one, and returns the
// index of the new level and how many others moved.
func (l *ladder) insert(at, vacant int, level Level) (index, moved int) {
	switch {
	case vacant == noSlot && at < len(l.levels)/2 && len(l.front) > 0:
		room := len(l.front) - 1
		l.levels = l.front[room : room+1+len(l.levels)]
		l.front = l.front[:room]
		moved = copy(l.levels[:at], l.levels[1:at+1])
	case vacant == noSlot:
		l.grow()
		moved = copy(l.levels[at+1:], l.levels[at:])
	case vacant < at:
		at--
		moved = copy(l.levels[vacant:at], l.levels[vacant+1:])
	default:
		moved = copy(l.levels[at+1:vacant+1], l.levels[at:])
	}
	l.levels[at] = level
	return at, moved
}

// merge applies changes, in any order, in one pass over the side. It allocates where the array has no room for all
// levels and changes, and where the changes are not sorted.
func (l *ladder) merge(changes []Level) {
	at, step := 0, 1
	switch l.direction(changes) {
	case falling:
		at, step = len(changes)-1, -1
	case unsorted:
		changes = sortedByRank(changes, l.order)
	}
	array, old := l.roomBefore(len(changes))
	merged := array[:0]
	for left := len(changes); left > 0; left-- {
		c := &changes[at]
		at += step
		if left > 1 && changes[at].Price == c.Price {
			continue // a later change of the same level counts
		}
		rank := c.Price ^ l.order
		n := 0
		for n < len(old) && old[n].Price^l.order < rank {
			merged = append(merged, old[n])
			n++
		}
		if n < len(old) && old[n].Price == c.Price {
			n++
		}
		old = old[n:]
		if c.Quantity != 0 {
			merged = append(merged, *c)
		}
	}
	l.levels, l.front = append(merged, old...), nil
}

// roomBefore moves the levels behind room for n others in one array.
func (l *ladder) roomBefore(n int) (array, levels []Level) {
	array, size := l.levels, n+len(l.levels)
	if l.front != nil {
		array = l.front // the whole array
	}
	if cap(array) < size {
		array = make([]Level, size)
	}
	array = array[:size]
	copy(array[n:], l.levels)
	return array, array[n:]
}

// A direction is the order of a list of changes by rank.
type direction uint8

const (
	unsorted direction = iota
	rising             // from the worst to the best; one rank several times, too
	falling            // from the best to the worst
)

func (l *ladder) direction(changes []Level) direction {
	up, down := true, true
	for i := 1; i < len(changes) && (up || down); i++ {
		before, rank := changes[i-1].Price^l.order, changes[i].Price^l.order
		up, down = up && before <= rank, down && before > rank
	}
	switch {
	case up:
		return rising
	case down:
		return falling
	}
	return unsorted
}

// sortedByRank returns a copy of changes by rising rank, those of one rank in their order. It sorts byte by byte, from
// the lowest: in linear time, where comparing takes five times as long.
func sortedByRank(changes []Level, order Fixed) []Level {
	room := make([]Level, 2*len(changes))
	from, to := room[:len(changes)], room[len(changes):]
	copy(from, changes)
	for shift := 0; shift < 64; shift += 8 {
		digit := func(c *Level) byte { return byte((uint64(c.Price^order) ^ 1<<63) >> shift) }
		var place [256]int // first how many have a digit, then where the next of them goes
		for i := range from {
			place[digit(&from[i])]++
		}
		if place[digit(&from[0])] == len(from) {
			continue // all have the same
		}
		next := 0
		for d, n := range place {
			place[d], next = next, next+n
		}
		for i := range from {
			d := digit(&from[i])
			to[place[d]] = from[i]
			place[d]++
		}
		from, to = to, from
	}
	return from
}

// grow adds a slot at the end: in the array, or by moving all levels to its front if there is much
// room, or in a larger array.
func (l *ladder) grow() {
	n := len(l.levels)
	switch {
	case n < cap(l.levels):
		l.levels = l.levels[:n+1]
	case len(l.front) > n/4:
		whole := l.front[:len(l.front)+n]
		copy(whole, l.levels)
		l.levels, l.front = whole[:n+1], nil
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
	// It halves without a branch, since no processor can predict which half it will be. With the sign bit inverted,
	// integers compare as unsigned ones.
	const sign = 1 << 63
	flip, wanted := uint64(order)^sign, uint64(rank)^sign
	at := uint64(lo)
	for n := uint64(hi) - at; n > 0; {
		half := (n + 1) / 2
		_, below := bits.Sub64(uint64(levels[at+half-1].Price)^flip, wanted, 0) // 1 or 0
		at += half & -below
		n -= half
	}
	return int(at)
}

// reset replaces the side by levels that come best first, as venues send them. Any other order works,
// too. Of several levels with one price the last counts; empty ones are left out.
func (l *ladder) reset(bestFirst []Level) {
	if l.front != nil {
		l.levels = l.front // the whole array is free
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
