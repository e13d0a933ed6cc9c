package binance

import (
	"context"
	"sync"
	"testing"
	"time"
)

// oneRequestAtATime returns a DepthSyncer of the symbols whose Budget lets one request go at a time.
func oneRequestAtATime(t *testing.T, symbols ...string) *DepthSyncer {
	t.Helper()
	budget, err := NewBudget(BudgetConfig{Concurrent: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(Config{Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDepthSyncer(c, DepthConfig{Symbols: symbols})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The weight of a refresh that became void while its shard had it is free for the next request.
func TestVoidRefreshGivesItsPlaceBack(t *testing.T) {
	d := oneRequestAtATime(t, "BTCUSDT", "ETHUSDT")
	f, btc, eth := d.snapshots, d.books.Get("BTCUSDT"), d.books.Get("ETHUSDT")
	f.begin()
	f.requestRefresh(btc, 100, PriorityRefresh)
	var sending sync.WaitGroup
	f.start(t.Context(), <-f.granted, &sending)
	f.requestRefresh(eth, 100, PriorityRefresh)
	if _, offered := f.collect(btc.inbox); len(offered) != 1 || offered[0].book != btc || offered[0].state != refreshOffered || len(f.granted) != 0 {
		t.Fatalf("offered: %+v, %d granted", offered, len(f.granted))
	} else if f.cancel(btc); f.claim(offered[0]) {
		t.Error("a void refresh was claimed")
	}
	select {
	case r := <-f.granted:
		if r.book != eth || d.client.Usage().Sending != 1 {
			t.Errorf("%s was granted, usage: %+v", r.book.instrument.Symbol, d.client.Usage())
		}
	default:
		t.Error("the other refresh waits for one that is void")
	}
}

// The request of a symbol that was removed as Run ended leaves the Budget too.
func TestEndRevokesTheRequestsOfRemovedBooks(t *testing.T) {
	d := oneRequestAtATime(t, "BTCUSDT", "ETHUSDT")
	d.snapshots.begin()
	btc, eth := d.books.Get("BTCUSDT"), d.books.Get("ETHUSDT")
	if err := d.Remove("BTCUSDT"); err != nil {
		t.Fatal(err)
	}
	d.snapshots.requestRefresh(eth, 100, PriorityRefresh)
	d.snapshots.requestRefresh(btc, 100, PriorityRefresh) // by a Refresh that found the book before
	d.snapshots.end()
	if u := d.client.Usage(); u.Queued[PriorityRefresh] != 0 {
		t.Errorf("after the end: %+v", u)
	}
}

// A refresh that waits for its shard keeps its weight and holds no place: its shard may be busy with a Handler that
// waits for a request of its own. It is sent once there is a place.
func TestOfferedRefreshHoldsNoPlace(t *testing.T) {
	d := oneRequestAtATime(t, "BTCUSDT")
	d.snapshots.begin()
	d.snapshots.requestRefresh(d.books.Get("BTCUSDT"), 100, PriorityRefresh)
	var sending sync.WaitGroup
	r := <-d.snapshots.granted
	d.snapshots.start(t.Context(), r, &sending)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	call, err := d.client.budget.wait(ctx, d.client.spender, PriorityCall, 1)
	if err != nil {
		t.Fatal(err)
	}
	if u := d.client.Usage(); u.Sending != 1 || u.Used != r.weight+1 || r.reservation.unpark() {
		t.Errorf("beside a call: %+v, or the refresh was to be sent too", u)
	}
	call.close()
	if u := d.client.Usage(); !r.reservation.unpark() || u.Sending != 0 {
		t.Errorf("after the call: %+v, or the refresh was not to be sent", u)
	}
	r.reservation.giveUp()
	if u := d.client.Usage(); u.Sending != 0 || u.Used != 1 {
		t.Errorf("at the end: %+v", u)
	}
}
