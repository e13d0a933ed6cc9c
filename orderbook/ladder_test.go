package orderbook

import (
	"math/rand/v2"
	"testing"
)

// A book that was large once gives the memory back.
func TestPruneGivesRoomBack(t *testing.T) {
	var b Book
	s := &Snapshot{}
	for price := Fixed(10_000); price > 0; price-- {
		s.Bids = append(s.Bids, Level{Price: price, Quantity: 1})
	}
	b.Reset(s)
	if b.Prune(100); len(b.bids.levels) != 100 || cap(b.bids.levels) > 400 {
		t.Errorf("%d levels in room for %d", len(b.bids.levels), cap(b.bids.levels))
	}
}

// orders are the orders in which the levels of a side may come: a function of an index less than n.
func orders(n int) map[string]func(i int) int {
	random := rand.New(rand.NewPCG(uint64(n), 1)).Perm(n)
	return map[string]func(i int) int{
		"best first":  func(i int) int { return n - 1 - i },
		"worst first": func(i int) int { return i },
		"random":      func(i int) int { return random[i] },
		"interleaved": func(i int) int { return i/2 + i%2*(n/2) },
		"outside in": func(i int) int {
			if i%2 == 0 {
				return i / 2
			}
			return n - 1 - i/2
		},
		"inside out": func(i int) int {
			if i%2 == 0 {
				return n/2 + i/2
			}
			return n/2 - 1 - i/2
		},
	}
}

// The work of an update grows with its size, not with the square of it: few changes are applied by themselves before
// the rest is merged, whatever their order and whether they insert, change or remove.
func TestLargeUpdatesAreMerged(t *testing.T) {
	const n = 20_000
	for name, order := range orders(n) {
		var b Book
		b.setSides()
		want := make(map[Fixed]Fixed)
		for round, kind := range []string{"insert", "insert between", "change", "remove"} {
			changes := make([]Level, n)
			for i := range changes {
				changes[i] = Level{Price: Fixed(2*order(i) + round&1), Quantity: Fixed(i + 1)}
				if kind == "remove" {
					changes[i].Quantity = 0
					delete(want, changes[i].Price)
				} else {
					want[changes[i].Price] = changes[i].Quantity
				}
			}
			before := len(b.bids.levels)
			single := b.Clone()
			rest := single.bids.applySingly(changes)
			// Where levels are moved, the change k moves k/8 of them or more in the mean.
			moves := movesAllowed * (before + n)
			if applied := n - len(rest); len(rest) > 0 && applied*applied/16 > moves {
				t.Errorf("%s, %s: %d of %d were applied singly, %d moves allowed", kind, name, applied, n, moves)
			}
			if len(rest) == 0 && kind == "insert" && name != "worst first" {
				t.Errorf("%s, %s: all were applied singly", kind, name)
			}
			for _, l := range [...]*ladder{&b.bids, &b.asks} {
				l.apply(changes)
				checkLadder(t, l, want)
			}
			if t.Failed() {
				t.Fatalf("%s, %s", kind, name)
			}
		}
	}
}

func checkLadder(t *testing.T, l *ladder, want map[Fixed]Fixed) {
	t.Helper()
	if len(l.levels) != len(want) {
		t.Errorf("%d levels, want %d", len(l.levels), len(want))
	}
	for i, level := range l.levels {
		if want[level.Price] != level.Quantity || level.Quantity == 0 || i > 0 && l.levels[i-1].Price^l.order >= level.Price^l.order {
			t.Errorf("level %d is %v, want quantity %v", i, level, want[level.Price])
			return
		}
	}
}
