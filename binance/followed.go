package binance

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bookset"
	"github.com/marketprism/marketprism/orderbook"
)

// A symbolBook is one symbol that a DepthSyncer follows. Its connection's owner alone changes it.
type symbolBook struct {
	instrument marketprism.Instrument

	bookset.Shared // its lock guards the next two as well
	syncer         *orderbook.Syncer
	tops           tops

	// The owner's alone.
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
	y.Lock()
	defer y.Unlock()
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
	y.Lock()
	defer y.Unlock()
	state := y.syncer.State()
	out := f(y.syncer)
	y.Note(at, out.Events)
	if len(out.Events) > 0 || y.syncer.State() != state {
		y.publish()
	}
	return out
}

// update is change for Syncer.Update, without a closure since it runs for every event.
func (y *symbolBook) update(now, at time.Time, u *orderbook.Update) orderbook.Output {
	y.Lock()
	defer y.Unlock()
	out := y.syncer.UpdateReceived(now, at, u)
	if len(out.Events) > 0 {
		y.Note(at, out.Events)
		y.publish()
	}
	return out
}

// Key returns the symbol.
func (y *symbolBook) Key() string { return y.instrument.Symbol }

// State returns the state of the book. The caller is the owner or holds the lock for reading.
func (y *symbolBook) State() orderbook.State { return y.syncer.State() }

// Book returns the book. The caller is the owner or holds the lock for reading.
func (y *symbolBook) Book() *orderbook.Book { return y.syncer.Book() }

// Status returns the status of the book. The caller is the owner or holds the lock for reading.
func (y *symbolBook) Status() Status {
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
		UpdatedAt: y.UpdatedAt,
		LastGap:   y.LastGap,
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
