package binance_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A simTally counts what happened in runs, which shows that they went everywhere.
type simTally struct {
	faults map[string]int // by their numbers in the documentation of binancetest
	gaps   map[string]int // by reason
	did    map[string]int // what the driver and the program did

	judged, unjudged int // books held against the exchange's, and those for which it had none any more
	viewed           int // books held against the DepthSyncer's
	trades, tickers  int
	recovery         time.Duration // the longest time until all was live
}

func newSimTally() simTally {
	return simTally{faults: map[string]int{}, gaps: map[string]int{}, did: map[string]int{}}
}

// neverThrown are the faults that no run can show, and why.
func neverThrown() map[string]string {
	return map[string]string{
		"F25": "the driver writes stream names in lower case",
		"F33": "the driver uses the right routes",
		"F35": "the driver subscribes no all-market stream",
	}
}

// count notes a fault.
func (s *sim) count(fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.faults[fault]++
}

// did notes something else.
func (s *sim) did(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.did[what]++
}

// snapshot and update note the faults that lie in the data themselves.
func (t *simTally) snapshot(snap *orderbook.Snapshot) {
	t.faults["F6"]++ // unless F7 is on, every snapshot stands at the end of an event
	if snap.LastID == -1 {
		t.did["newborn"]++
	}
}

func (t *simTally) update(u *orderbook.Update, b *simBook) {
	switch {
	case len(u.Bids) == 0 && len(u.Asks) == 0:
		t.did["empty update"]++
	case len(u.Bids) == 0 || len(u.Asks) == 0:
		t.faults["F11"]++
	}
	if at := b.book.LastID(); b.fresh && u.PrevLastID == at && u.FirstID > at {
		t.faults["F34"]++
	}
}

func (t *simTally) add(o *simTally) {
	for _, both := range [][2]map[string]int{{t.faults, o.faults}, {t.gaps, o.gaps}, {t.did, o.did}} {
		for k, n := range both[1] {
			both[0][k] += n
		}
	}
	t.judged += o.judged
	t.unjudged += o.unjudged
	t.viewed += o.viewed
	t.trades += o.trades
	t.tickers += o.tickers
	t.recovery = max(t.recovery, o.recovery)
}

func (t simTally) String() string {
	return fmt.Sprintf("faults: %s\ngaps: %s\nactions: %s\nbooks judged: %d, %d not any more, %d against View; %d trades, %d tickers; live after %v at the latest",
		inOrder(t.faults), inOrder(t.gaps), inOrder(t.did), t.judged, t.unjudged, t.viewed, t.trades, t.tickers, t.recovery)
}

// inOrder formats counts, F2 before F10.
func inOrder(counts map[string]int) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if len(a) != len(b) && strings.HasPrefix(a, "F") && strings.HasPrefix(b, "F") {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	var all []string
	for _, k := range keys {
		all = append(all, fmt.Sprintf("%s %d", k, counts[k]))
	}
	return strings.Join(all, ", ")
}

// check fails if something never happened in many runs.
func (t *simTally) check(tb testing.TB, futures bool) {
	tb.Helper()
	never := neverThrown()
	if !futures {
		never["F34"] = "it is one of the futures markets"
	}
	for n := 1; n <= 40; n++ {
		name := fmt.Sprint("F", n)
		if why := never[name]; why != "" {
			continue
		}
		if t.faults[name] == 0 {
			tb.Errorf("%s was never thrown", name)
		}
	}
	for _, reason := range []string{"sequence", "disconnect", "overflow", "removed", "invalid", "regressed"} {
		if t.gaps[reason] == 0 {
			tb.Errorf("no gap of the reason %s", reason)
		}
	}
	for _, a := range acts() {
		if t.did["act: "+a.name] == 0 {
			tb.Errorf("the program never did: %s", a.name)
		}
	}
	if t.judged == 0 || t.viewed < t.judged/4 || t.unjudged > t.judged/20 {
		tb.Errorf("%d books judged, %d not any more, %d against View", t.judged, t.unjudged, t.viewed)
	}
}
