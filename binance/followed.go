package binance

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A symbolBook is one symbol that a DepthSyncer follows. Its connection's owner alone changes it.
type symbolBook struct {
	instrument marketprism.Instrument

	mu        sync.RWMutex // held for writing by the owner while it changes the next four
	syncer    *orderbook.Syncer
	updatedAt time.Time     // local clock
	lastGap   orderbook.Gap // Reason 0 if there was none
	tops      tops

	// The owner's alone.
	arrivals arrivals
	lostAt   time.Time // when the book was last known, or its connection was opened
	wasKnown bool      // the book has been known at some time
	answered int       // levels a side that the latest snapshot was asked for with
	refresh  refreshSchedule
	check    tickerCheck

	// Set by whoever changes the symbols followed.
	named bool     // by the program, not chosen by the filter
	feeds []*shard // those that have its streams
	home  *shard   // the one that has its depth stream

	listing atomic.Pointer[string] // status by the last listing, "" if not listed; nil before the first

	request *fetch // the snapshot that is asked for; guarded by the fetcher
}

func newSymbolBook(instrument marketprism.Instrument, s *orderbook.Syncer, topLevels int) *symbolBook {
	y := &symbolBook{instrument: instrument, syncer: s, tops: tops{levels: topLevels}}
	y.tops.latest.Store(&Top{})
	return y
}

// end closes what watches the symbol, which is no longer followed.
func (y *symbolBook) end() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.tops.end()
}

func (y *symbolBook) isOn(f *shard) bool { return slices.Contains(y.feeds, f) }

// trading tells whether orders are matched, as far as known. Where they are not, a book may be crossed,
// one-sided or empty, and that is right.
func (y *symbolBook) trading() bool {
	status := y.listing.Load()
	return status == nil || *status == statusTrading
}

// change lets f act on the Syncer, out of readers' sight, and notes what came of it.
func (y *symbolBook) change(at time.Time, f func(*orderbook.Syncer) orderbook.Output) orderbook.Output {
	y.mu.Lock()
	defer y.mu.Unlock()
	state := y.syncer.State()
	out := f(y.syncer)
	y.note(at, out)
	if len(out.Events) == 0 && y.syncer.State() != state {
		y.publish()
	}
	return out
}

// update is change for Syncer.Update, without a closure since it runs for every event.
func (y *symbolBook) update(now, at time.Time, u *orderbook.Update) orderbook.Output {
	y.mu.Lock()
	defer y.mu.Unlock()
	out := y.syncer.Update(now, u)
	y.note(at, out)
	return out
}

func (y *symbolBook) note(at time.Time, out orderbook.Output) {
	for i := range out.Events {
		if gap := out.Events[i].Gap; gap != nil {
			y.lastGap = *gap
		} else {
			y.updatedAt = at
		}
	}
	if len(out.Events) > 0 {
		y.publish()
	}
}

// status is called with mu held for reading.
func (y *symbolBook) status() Status {
	book := y.syncer.Book()
	listing := ""
	if last := y.listing.Load(); last != nil {
		listing = *last
	}
	return Status{
		Listing:   listing,
		State:     y.syncer.State(),
		LastID:    book.LastID(),
		EventTime: book.EventTime(),
		UpdatedAt: y.updatedAt,
		LastGap:   y.lastGap,
		Sync:      y.syncer.Stats(),
	}
}

// A Status is how one symbol's book stands.
type Status struct {
	State orderbook.State // the book can be trusted only if Synced

	LastID    int64         // update id of the book; the last one known if it is not Synced
	EventTime time.Time     // exchange clock of the book's last change; zero if it had none with a time
	UpdatedAt time.Time     // local clock of the same, UTC; zero if the book was never known
	LastGap   orderbook.Gap // the latest; Reason is 0 if there was none

	Listing string // the exchange's word of the last poll: "TRADING", "BREAK", …; "" if it lists the symbol no longer, or was not asked

	Sync orderbook.SyncerStats
}

// Age returns how long ago the book was changed last, by the local clock. A quiet symbol's book may
// be old and right: on a sound connection every change arrives.
func (s Status) Age() time.Duration { return time.Since(s.UpdatedAt) }
