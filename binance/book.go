package binance

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bookset"
	"github.com/marketprism/marketprism/orderbook"
)

// A symbolBook is one symbol's Syncer with its status. The goroutine of its shard alone changes it.
type symbolBook struct {
	instrument marketprism.Instrument

	bookset.Shared // its lock guards the next two as well
	syncer         *orderbook.Syncer
	tops           tops

	// Only the shard's goroutine uses these.
	lostAt        time.Time // when the book was last synced, or its connection was opened
	wasSynced     bool      // the book was synced at some time
	capped        bool      // a quantity of MaxFixed was reported since the book was synced last
	unknown       bool      // the exchange has refused the symbol in the latest snapshot request
	snapshotLimit int       // levels a side of the latest snapshot's request
	refresh       refreshSchedule
	ticker        marketprism.Ticker // the latest
	ticked        bool               // there is a ticker

	order int // among all books: those that were added earlier come first; set once

	// The DepthSyncer's changing guards these.
	named bool           // by the program, not chosen by the filter
	inbox *snapshotInbox // of the shard that has the depth stream

	listing atomic.Pointer[string] // status by the last listing, "" if not listed; nil before the first
}

func newSymbolBook(instrument marketprism.Instrument, s *orderbook.Syncer, topLevels, order int) *symbolBook {
	b := &symbolBook{instrument: instrument, syncer: s, tops: tops{levels: topLevels}, order: order}
	b.tops.latest.Store(&Top{})
	b.SetWait(marketprism.Wait{For: marketprism.WaitRun})
	return b
}

// rank returns the place of the book among those whose snapshots wait: books that the program has asked for
// since they were last synced, with View, Top, Watch or by name in Ready, come before the others.
func (b *symbolBook) rank() rank {
	b.Lock()
	defer b.Unlock()
	return rank{unwanted: !b.Wanted() && len(b.tops.watchers) == 0, order: b.order}
}

// end closes the watches of a removed symbol.
func (b *symbolBook) end() {
	b.Lock()
	defer b.Unlock()
	b.tops.end()
}

// watch returns a channel for the tops until ctx ends.
func (b *symbolBook) watch(ctx context.Context) <-chan *Top {
	b.Lock()
	defer b.Unlock()
	w := topWatcher{tops: make(chan *Top, 1)}
	if b.tops.ended {
		close(w.tops)
		return w.tops
	}
	w.tops <- b.tops.latest.Load()
	w.stop = context.AfterFunc(ctx, func() {
		b.Lock()
		defer b.Unlock()
		b.tops.remove(w.tops)
	})
	b.tops.watchers = append(b.tops.watchers, w)
	return w.tops
}

// trading reports whether the exchange matches orders, as far as it has been asked. Where it does not,
// a correct book may be crossed, one-sided or empty.
func (b *symbolBook) trading() bool {
	status := b.listing.Load()
	return status == nil || *status == statusTrading
}

func (b *symbolBook) synced() bool { return b.syncer.State() == orderbook.Synced }

// change calls f with the Syncer while no reader sees it. at is the local clock of what changed it.
func (b *symbolBook) change(at time.Time, f func(*orderbook.Syncer) orderbook.Output) orderbook.Output {
	if b.BeginChange() {
		b.syncer.Detach()
	}
	defer b.Unlock()
	state := b.syncer.State()
	out := f(b.syncer)
	b.Note(at, out.Events)
	if len(out.Events) > 0 || b.syncer.State() != state {
		b.tops.publish(b.syncer, b.UpdatedAt)
	}
	return out
}

// update is change for Syncer.UpdateReceived, without a closure since it runs for every event.
func (b *symbolBook) update(now, at time.Time, u *orderbook.Update) orderbook.Output {
	if b.BeginChange() {
		b.syncer.Detach()
	}
	defer b.Unlock()
	out := b.syncer.UpdateReceived(now, at, u)
	if len(out.Events) > 0 {
		b.Note(at, out.Events)
		b.tops.publish(b.syncer, b.UpdatedAt)
	}
	return out
}

// Key returns the symbol.
func (b *symbolBook) Key() string { return b.instrument.Symbol }

// State returns the state of the book. The caller is its shard or holds the lock.
func (b *symbolBook) State() orderbook.State { return b.syncer.State() }

// Book returns the book. The caller is its shard or holds the lock.
func (b *symbolBook) Book() *orderbook.Book { return b.syncer.Book() }

// Status returns the status of the book. The caller is its shard or holds the lock.
func (b *symbolBook) Status() Status {
	book := b.syncer.Book()
	listing := ""
	if last := b.listing.Load(); last != nil {
		listing = *last
	}
	return Status{
		Listing:   listing,
		Wait:      b.Wait(),
		State:     b.syncer.State(),
		LastID:    book.LastID(),
		EventTime: book.EventTime(),
		UpdatedAt: b.UpdatedAt,
		LastGap:   b.LastGap,
		Sync:      b.syncer.Stats(),
	}
}

// A Status describes one symbol's book.
type Status struct {
	State orderbook.State // the book equals the exchange's only if Synced

	LastID    int64         // update id of the book; of the last synced one if it is not Synced
	EventTime time.Time     // exchange clock of the book's last change; zero if it had none with a time
	UpdatedAt time.Time     // local clock of the same, UTC; zero if the book was never synced
	LastGap   orderbook.Gap // the latest; Reason is 0 if there was none

	Listing string // the exchange's word at the last poll: "TRADING", "BREAK", …; "" if it does not list the symbol, or was not asked

	Wait marketprism.Wait // why the book is not synced, and what is tried next; zero if it is synced

	Sync orderbook.SyncerStats
}

// Age returns the time since the book's last change, by the local clock. A quiet symbol's book may be
// old and correct: on a working connection every change arrives.
func (s Status) Age() time.Duration { return time.Since(s.UpdatedAt) }

// A Top is the best levels of a book as they were at one update id. It never changes and may be kept;
// its levels must not be changed.
type Top struct {
	State     orderbook.State // there are levels only if Synced
	LastID    int64           // update id of the book; of the last synced one if it is not Synced
	EventTime time.Time       // exchange clock of the book's last change; zero if it had none with a time
	UpdatedAt time.Time       // local clock of the same, UTC: time.Since gives the age; zero if the book was never synced

	Bids, Asks []orderbook.Level // best first, at most DepthConfig.TopLevels
}

// ErrNoTop says that DepthConfig.TopLevels is 0, so no tops are published.
var ErrNoTop = errors.New("binance: tops are off: DepthConfig.TopLevels is 0")

// tops publishes the best levels of one book. The book's lock guards all but latest.
type tops struct {
	levels   int // a side; 0 means that nothing is published
	latest   atomic.Pointer[Top]
	watchers []topWatcher
	ended    bool

	bids, asks []orderbook.Level // scratch
}

// A topWatcher is one call of Watch.
type topWatcher struct {
	tops chan *Top // holds one value; publish is the only sender
	stop func() bool
}

// publish makes a Top of the book and gives it to the watchers in place of one they have not read.
// It allocates, since readers may keep a Top; a side that has not changed is shared with the last one.
func (t *tops) publish(s *orderbook.Syncer, updatedAt time.Time) {
	if t.levels == 0 || t.ended {
		return
	}
	book := s.Book()
	next := &Top{State: s.State(), LastID: book.LastID(), EventTime: book.EventTime(), UpdatedAt: updatedAt}
	if next.State == orderbook.Synced {
		t.bids, t.asks = book.AppendBids(t.bids[:0], t.levels), book.AppendAsks(t.asks[:0], t.levels)
		last := t.latest.Load()
		next.Bids, next.Asks = shared(last.Bids, t.bids), shared(last.Asks, t.asks)
	}
	t.latest.Store(next)
	for _, w := range t.watchers {
		select {
		case <-w.tops:
		default:
		}
		w.tops <- next
	}
}

// shared returns have if it equals levels, otherwise a copy of levels.
func shared(have, levels []orderbook.Level) []orderbook.Level {
	if slices.Equal(have, levels) {
		return have
	}
	return slices.Clone(levels)
}

func (t *tops) remove(c chan *Top) {
	at := slices.IndexFunc(t.watchers, func(w topWatcher) bool { return w.tops == c })
	if at >= 0 {
		t.watchers = slices.Delete(t.watchers, at, at+1)
		close(c)
	}
}

// end closes the channels of all watchers. A value they hold can still be read.
func (t *tops) end() {
	t.ended = true
	for _, w := range t.watchers {
		w.stop()
		close(w.tops)
	}
	t.watchers = nil
}
