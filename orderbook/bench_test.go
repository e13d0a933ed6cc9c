package orderbook_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/orderbook"
)

// benchmarkFeeds runs f on a busy symbol's feed, 20 to 60 levels an update, for two sizes of book.
func benchmarkFeeds(b *testing.B, f func(b *testing.B, feed *eventgen.Feed)) {
	for _, levels := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("levels=%d", levels), func(b *testing.B) {
			feed := eventgen.New(eventgen.Config{Levels: levels, Events: 4096, Seed: 1})
			b.ReportAllocs()
			f(b, feed)
		})
	}
}

// reportPerLevel adds the time per changed level, where an operation is one update.
func reportPerLevel(b *testing.B, feed *eventgen.Feed) {
	changes := 0
	for i := range feed.Updates {
		changes += len(feed.Updates[i].Bids) + len(feed.Updates[i].Asks)
	}
	perUpdate := float64(changes) / float64(len(feed.Updates))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perUpdate, "ns/level")
}

func BenchmarkBookApply(b *testing.B) {
	benchmarkFeeds(b, func(b *testing.B, feed *eventgen.Feed) {
		var book orderbook.Book
		at := len(feed.Updates)
		for b.Loop() {
			if at == len(feed.Updates) {
				b.StopTimer()
				book.Reset(&feed.Snapshot)
				at = 0
				b.StartTimer()
			}
			book.Apply(&feed.Updates[at])
			at++
		}
		reportPerLevel(b, feed)
	})
}

func BenchmarkSyncerUpdate(b *testing.B) {
	benchmarkFeeds(b, func(b *testing.B, feed *eventgen.Feed) {
		now := time.Unix(1000, 0)
		s := syncedWith(b, now, feed)
		at := 0
		for b.Loop() {
			if at == len(feed.Updates) {
				b.StopTimer()
				s = syncedWith(b, now, feed)
				at = 0
				b.StartTimer()
			}
			s.Update(now, &feed.Updates[at])
			at++
		}
		if s.State() != orderbook.Synced {
			b.Fatal(s.State())
		}
		reportPerLevel(b, feed)
	})
}

// BenchmarkSyncerJoin measures a snapshot with a hundred pending updates.
func BenchmarkSyncerJoin(b *testing.B) {
	benchmarkFeeds(b, func(b *testing.B, feed *eventgen.Feed) {
		now := time.Unix(1000, 0)
		s, err := orderbook.NewSyncer(orderbook.SyncerConfig{})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			fetch := s.Connected(now).Fetch
			for i := range feed.Updates[:100] {
				s.Update(now, &feed.Updates[i])
			}
			s.Snapshot(now, fetch, &feed.Snapshot)
			if s.State() != orderbook.Synced {
				b.Fatal(s.State())
			}
			s.Disconnected(now, nil)
			now = now.Add(time.Second)
		}
	})
}

func syncedWith(b *testing.B, now time.Time, feed *eventgen.Feed) *orderbook.Syncer {
	s, err := orderbook.NewSyncer(orderbook.SyncerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	s.Snapshot(now, s.Connected(now).Fetch, &feed.Snapshot)
	return s
}

// A realistic feed does not allocate either, once the book has its memory.
func TestFeedAllocatesNothing(t *testing.T) {
	feed := eventgen.New(eventgen.Config{Levels: 1000, Events: 2000, Seed: 2})
	var book orderbook.Book
	book.Reset(&feed.Snapshot)
	for i := range feed.Updates {
		book.Apply(&feed.Updates[i])
	}
	book.Reset(&feed.Snapshot)
	at := 0
	if n := testing.AllocsPerRun(len(feed.Updates)-1, func() { book.Apply(&feed.Updates[at]); at++ }); n != 0 {
		t.Errorf("Apply allocates %v times", n)
	}
	want := newOracleBook()
	want.reset(&feed.Snapshot)
	for i := range feed.Updates {
		want.apply(&feed.Updates[i])
	}
	if err := want.differs(&book); err != nil {
		t.Error(err)
	}
}

// BenchmarkBookApplyLarge applies one update of 100,000 levels to an empty book and, after it, one that changes
// a third of them, removes a third and inserts as many between them.
func BenchmarkBookApplyLarge(b *testing.B) {
	const n = 100_000
	random := rand.New(rand.NewPCG(1, 2)).Perm(n)
	for _, order := range []struct {
		name string
		at   func(i int) int
	}{
		{"bestFirst", func(i int) int { return n - 1 - i }},
		{"worstFirst", func(i int) int { return i }},
		{"random", func(i int) int { return random[i] }},
		{"interleaved", func(i int) int { return i/2 + i%2*(n/2) }},
	} {
		first, second := &orderbook.Update{}, &orderbook.Update{}
		for i := range n {
			level := orderbook.Level{Price: orderbook.One + orderbook.Fixed(order.at(i))*orderbook.One/100, Quantity: orderbook.One}
			first.Bids = append(first.Bids, level)
			switch i % 3 {
			case 0:
				level.Quantity = 0
			case 1:
				level.Price++
			}
			second.Bids = append(second.Bids, level)
		}
		b.Run("empty/"+order.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var book orderbook.Book
				book.Apply(first)
			}
		})
		b.Run("full/"+order.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				var book orderbook.Book
				book.Apply(first)
				b.StartTimer()
				book.Apply(second)
			}
		})
	}
}
