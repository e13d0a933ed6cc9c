package orderbook_test

import (
	"fmt"
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
