package orderbook

import "slices"

// knows tells whether price lies within the known range.
func (l *ladder) knows(price Fixed) bool {
	return !l.bound.Limited || price^l.order >= l.bound.Price^l.order
}

// knowsTop tells whether the best n levels do, or there are no more.
func (l *ladder) knowsTop(n int) bool {
	if !l.bound.Limited || n <= 0 {
		return true
	}
	return n <= len(l.levels) && l.knows(l.levels[len(l.levels)-n].Price)
}

// deeper tells whether l is known to a worse price than other.
func (l *ladder) deeper(other *ladder) bool {
	return other.bound.Limited && (!l.bound.Limited || l.bound.Price^l.order < other.bound.Price^l.order)
}

// knownToBoth returns the levels that lie within the known ranges of l and of other, best last.
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

// prunedRoom is how many times the room of its levels a pruned side may hold on to.
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
