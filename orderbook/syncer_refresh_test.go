package orderbook_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// Books corrupted at random are refreshed with snapshots cut at random. The Audit is compared with one
// made from maps, and the book afterwards with the truth.
func TestAuditFindsWhatIsPlanted(t *testing.T) {
	found := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 6))
		now := time.Unix(1000, 0)
		c, err := newContract(orderbook.SyncerConfig{
			MaxBuffered: 100, MaxBufferedBytes: 1 << 20, SnapshotTimeout: time.Second,
			RetryMin: time.Millisecond, RetryMax: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		truth := newOracleBook()
		for id := range int64(30) {
			truth.apply(randomUpdate(r, id, 25))
		}
		out, err := c.connected(now)
		if err == nil {
			_, err = c.snapshot(now, out.Fetch, truth.snapshot(r.IntN(20)))
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		planted := randomUpdate(r, 0, 25)
		c.corrupt(planted)

		now = now.Add(time.Second)
		out, err = c.refreshNow(now)
		fetch := out.Fetch
		for id := int64(30); err == nil && id < int64(30+r.IntN(4)); id++ {
			u := randomUpdate(r, id, 25)
			truth.apply(u)
			_, err = c.update(now, u)
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		fresh := truth.snapshot(r.IntN(20))
		want := differences(c.book, fresh)
		out, err = c.snapshot(now, fetch, fresh)
		switch {
		case err != nil:
			t.Fatalf("seed %d: %v", seed, err)
		case out.Audit == nil || out.Audit.LastID != truth.lastID || !slices.Equal(out.Audit.Differences, want):
			t.Fatalf("seed %d: %+v planted, audit %+v, want %+v", seed, planted, out.Audit, want)
		}
		if len(want) > 0 {
			found++
			if err := truth.contradicts(c.syncer.Book()); err != nil {
				t.Fatalf("seed %d: after the audit: %v", seed, err)
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d books had a difference", found)
	}
}

// differences lists the levels in which a book and a snapshot of its id differ, within the depth known to both.
func differences(had *oracleBook, snap *orderbook.Snapshot) []orderbook.Difference {
	fresh := newOracleBook()
	fresh.reset(snap)
	var out []orderbook.Difference
	for price := orderbook.Fixed(30); price > 0; price-- {
		p := price * orderbook.One
		outside := had.bidBound.Limited && p < had.bidBound.Price || fresh.bidBound.Limited && p < fresh.bidBound.Price
		if !outside && had.bids[p] != fresh.bids[p] {
			out = append(out, orderbook.Difference{Side: orderbook.Bid, Price: p, Had: had.bids[p], Fresh: fresh.bids[p]})
		}
	}
	for price := orderbook.Fixed(1); price <= 30; price++ {
		p := price * orderbook.One
		outside := had.askBound.Limited && p > had.askBound.Price || fresh.askBound.Limited && p > fresh.askBound.Price
		if !outside && had.asks[p] != fresh.asks[p] {
			out = append(out, orderbook.Difference{Side: orderbook.Ask, Price: p, Had: had.asks[p], Fresh: fresh.asks[p]})
		}
	}
	return out
}

// maxDifferences is documented at Audit.Differences.
const maxDifferences = 32

func TestAuditListIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	s, err := orderbook.NewSyncer(orderbook.SyncerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s.Snapshot(now, s.Connected(now).Fetch, &orderbook.Snapshot{LastID: 7})
	snap := &orderbook.Snapshot{LastID: 7}
	for price := range int64(maxDifferences + 10) {
		snap.Asks = append(snap.Asks, levels(100+price, 1)...)
	}
	now = now.Add(time.Second)
	a := s.Snapshot(now, s.Refresh(now).Fetch, snap).Audit
	if a.Compared != len(snap.Asks) || a.Different != len(snap.Asks) || len(a.Differences) != maxDifferences {
		t.Errorf("%d compared, %d different, %d listed", a.Compared, a.Different, len(a.Differences))
	}
	if s.Book().AskCount() != len(snap.Asks) || s.Stats().Differences != uint64(len(snap.Asks)) {
		t.Errorf("the book has %d asks, %+v", s.Book().AskCount(), s.Stats())
	}
	now = now.Add(time.Second)
	if a := s.Snapshot(now, s.Refresh(now).Fetch, snap).Audit; a.Different != 0 || len(a.Differences) != 0 || a.Swapped {
		t.Errorf("the next audit is %+v", a)
	}
}

// A refresh that fails names its last cause.
func TestRefreshNamesItsCause(t *testing.T) {
	now := time.Unix(1000, 0)
	s, err := orderbook.NewSyncer(orderbook.SyncerConfig{SnapshotTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	s.Snapshot(now, s.Connected(now).Fetch, &orderbook.Snapshot{LastID: 7})
	out := s.Refresh(now)
	for _, cause := range []error{errSim, nil} {
		for range 8 {
			now = s.Deadline()
			out = s.SnapshotFailed(now, s.Tick(now).Fetch, cause)
		}
		if a := out.Audit; a == nil || !errors.Is(a.Err, orderbook.ErrRefreshFailed) || errors.Is(a.Err, errSim) != (cause != nil) {
			t.Errorf("after %v: %+v", cause, a)
		}
		out = s.Refresh(now)
	}
	s.Disconnected(now, nil)
	now = now.Add(time.Minute)
	s.Snapshot(now, s.Connected(now).Fetch, &orderbook.Snapshot{LastID: 7})
	// Without a SnapshotTimeout a snapshot that is ahead is given up after RetryMax.
	now = now.Add(time.Minute)
	s.Snapshot(now, s.Refresh(now).Fetch, &orderbook.Snapshot{LastID: 8})
	if wait := s.Deadline().Sub(now); wait != 30*time.Second {
		t.Errorf("a snapshot that is ahead waits for %v", wait)
	}
}

// Refresh extends a book that began with a small snapshot, and audits it, while updates come.
func ExampleSyncer_Refresh() {
	syncer, err := orderbook.NewSyncer(orderbook.SyncerConfig{})
	if err != nil {
		panic(err)
	}
	now := time.Now()
	small := &orderbook.Snapshot{LastID: 100, Bids: []orderbook.Level{level("99", "1")}, Asks: []orderbook.Level{level("100", "1")}}
	small.SetLimit(1)
	syncer.Snapshot(now, syncer.Connected(now).Fetch, small)
	fmt.Println("the best five bids are known:", syncer.Book().KnowsTop(orderbook.Bid, 5))

	now = now.Add(time.Second)
	fetch := syncer.Refresh(now).Fetch
	syncer.Update(now, &orderbook.Update{FirstID: 101, LastID: 101, Bids: []orderbook.Level{level("99", "3")}})
	deep := &orderbook.Snapshot{
		LastID: 100,
		Bids:   []orderbook.Level{level("99", "1"), level("98", "2"), level("97", "2")},
		Asks:   []orderbook.Level{level("100", "1"), level("101", "4")},
	}
	deep.SetLimit(1000)
	out := syncer.Snapshot(now, fetch, deep)
	fmt.Println("levels compared:", out.Audit.Compared, "different:", out.Audit.Different)
	fmt.Println("the same book, deeper, at", out.Events[0].Snapshot.LastID)
	fmt.Println("the best five bids are known:", syncer.Book().KnowsTop(orderbook.Bid, 5))

	// Output:
	// the best five bids are known: false
	// levels compared: 2 different: 0
	// the same book, deeper, at 101
	// the best five bids are known: true
}
