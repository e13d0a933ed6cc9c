package binance_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// A simOracle checks every record and every hook of a run:
//
//   - A book made by the records, as their contract says, is within its known depth the exchange's true
//     book at its id, after every Snapshot and every Update; and it is the DepthSyncer's own book
//     whenever both are at one id.
//   - No Update comes outside a span that a Snapshot began and no Gap ended; a Snapshot within a span is a
//     refresh at the id of the book; a Gap names the id of the book that it ends; when Run has returned, no
//     book is synced.
//   - Each trade comes once. Audits and bookTickers find no difference.
//   - No limit of the exchange is broken.
//
// After the ids of the exchange have gone back, an id no longer names one book, and checks that depend on
// that are left out.
type simOracle struct {
	sim  *sim
	roll *rand.Rand // the handler's alone

	busy  atomic.Bool
	books map[string]*simBook // guarded by the sim's mu
	view  orderbook.Snapshot  // scratch of the handler
	own   orderbook.Snapshot
}

type simBook struct {
	book        orderbook.Book
	synced      bool
	fresh       bool   // nothing was applied since the snapshot
	gone        bool   // it was removed or delisted at some time
	doubt       string // it is not the DepthSyncer's, which is right if a record of the same id follows at once
	restartedAt int64  // the exchange's id before its ids went back; 0 if they have not
	gaps        int
	trades      [2]map[int64]bool // those seen, and the aggregates
}

// at returns the book of a symbol; with mu held.
func (o *simOracle) at(symbol string) *simBook {
	b := o.books[symbol]
	if b == nil {
		b = &simBook{trades: [2]map[int64]bool{{}, {}}}
		o.books[symbol] = b
	}
	return b
}

// handle is the Handler.
func (o *simOracle) handle(ctx context.Context, rec *marketprism.Record) error {
	s := o.sim
	if !o.busy.CompareAndSwap(false, true) {
		s.fail("two calls of the handler at a time")
	}
	defer o.busy.Store(false)
	if d := time.Duration(s.stall.Swap(0)); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	if slow := s.slowness.Load(); slow > 0 && o.roll.Int64N(1000) < slow && ctx.Err() == nil {
		time.Sleep(time.Duration(o.roll.Int64N(int64(2 * time.Second))))
	}
	s.inCallback("Handler")
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := rec.Validate(); err != nil {
		s.failLocked("%v", err)
	}
	if rec.ReceivedAt.IsZero() || rec.ReceivedAt.Location() != time.UTC || rec.ReceivedAt.After(time.Now()) {
		s.failLocked("%v was received at %v", rec.Instrument, rec.ReceivedAt)
	}
	b := o.at(rec.Instrument.Symbol)
	if b.doubt != "" && rec.Trade == nil && rec.Ticker == nil {
		if at := b.book.LastID(); (rec.Snapshot == nil || rec.Snapshot.LastID != at) && (rec.Update == nil || rec.Update.LastID != at) {
			s.failLocked("%s", b.doubt)
		}
		b.doubt = ""
	}
	switch {
	case rec.Snapshot != nil:
		if b.synced && rec.Snapshot.LastID != b.book.LastID() {
			s.failLocked("%v: a Snapshot at %d within a span, and the book is at %d", rec.Instrument, rec.Snapshot.LastID, b.book.LastID())
		}
		b.book.Reset(rec.Snapshot)
		b.synced, b.fresh = true, true
		o.compareBook(rec.Instrument.Symbol, b, true)
		s.tally.snapshot(rec.Snapshot)
	case rec.Update != nil:
		if !b.synced {
			s.failLocked("%v: an Update outside a synced span", rec.Instrument)
			return nil
		}
		s.tally.update(rec.Update, b)
		b.book.Apply(rec.Update)
		b.fresh = false
		o.compareBook(rec.Instrument.Symbol, b, false)
	case rec.Gap != nil:
		if b.synced && rec.Gap.After != b.book.LastID() {
			s.failLocked("%v: a Gap after %d, and the book is at %d", rec.Instrument, rec.Gap.After, b.book.LastID())
		}
		if rec.Gap.Reason == orderbook.GapRemoved && !b.gone {
			s.failLocked("%v was removed, and is listed", rec.Instrument)
		}
		b.synced = false
		b.gaps++
		s.tally.gaps[rec.Gap.Reason.String()]++
	case rec.Trade != nil:
		if rec.Trade.Price <= 0 || rec.Trade.Quantity <= 0 {
			s.failLocked("%v: a record of what is no trade: %+v", rec.Instrument, rec.Trade)
		}
		seen := b.trades[0]
		if rec.Trade.Aggregate {
			seen = b.trades[1]
		}
		if seen[rec.Trade.ID] && !s.restarted && !b.gone {
			s.failLocked("%v: trade %d (aggregate: %v) comes twice", rec.Instrument, rec.Trade.ID, rec.Trade.Aggregate)
		}
		seen[rec.Trade.ID] = true
		s.tally.trades++
	case rec.Ticker != nil:
		s.tally.tickers++
	}
	return nil
}

// compareBook compares a book with the true one at its id and with the DepthSyncer's; with mu held.
func (o *simOracle) compareBook(symbol string, b *simBook, snapshot bool) {
	s := o.sim
	o.own = b.book.Snapshot()
	truth, err := s.srv.BookAt(symbol, b.book.LastID())
	switch {
	case b.ambiguous():
	case err == nil:
		s.tally.compared++
		if !sameKnown(&b.book, orderbook.Bid, o.own.Bids, truth.Bids) || !sameKnown(&b.book, orderbook.Ask, o.own.Asks, truth.Asks) {
			s.failLocked("%s: the book at %d is not the exchange's\nhave %v\nwant %v", symbol, b.book.LastID(), o.own, truth)
		}
	case errors.Is(err, binancetest.ErrUnknownSymbol) && b.gone:
	case errors.Is(err, binancetest.ErrNoBook) && (s.restarted || b.gone || snapshot):
		s.tally.skipped++ // a snapshot between two borders is forgotten after a while
	default:
		s.failLocked("%s: no truth at %d: %v", symbol, b.book.LastID(), err)
	}
	if b.gone {
		return // the DepthSyncer's may be another one, of the same name
	}
	s.syncer.View(symbol, func(book *orderbook.Book, _ binance.Status) { //nolint:errcheck // it may have been lost meanwhile
		if book.LastID() != b.book.LastID() {
			return
		}
		s.tally.viewed++
		o.view = book.Snapshot()
		if !slices.Equal(o.view.Bids, o.own.Bids) || !slices.Equal(o.view.Asks, o.own.Asks) ||
			o.view.BidBound != o.own.BidBound || o.view.AskBound != o.own.AskBound {
			b.doubt = fmt.Sprintf("%s: the records make another book at %d than View shows\nhave %v\nwant %v", symbol, book.LastID(), o.own, o.view)
		}
	})
}

// ambiguous reports whether the book's id named an earlier book of the exchange as well, which BookAt no longer
// has. Those of a symbol that was no newborn begin too high to be used again.
func (b *simBook) ambiguous() bool {
	return b.restartedAt < 1_000_000 && b.book.LastID() <= b.restartedAt
}

// sameKnown compares levels, best first, within the known depth.
func sameKnown(b *orderbook.Book, side orderbook.Side, have, want []orderbook.Level) bool {
	return slices.Equal(knownLevels(b, side, have), knownLevels(b, side, want))
}

func (s *sim) gapCount() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.books {
		n += b.gaps
	}
	return n
}

// finish checks what holds when Run has returned.
func (s *sim) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for symbol, b := range s.books {
		if b.synced {
			s.failLocked("%s: the synced book did not end with a Gap", symbol)
		}
	}
	for kind, n := range s.syncer.Stats().OtherTrades {
		s.tally.did["trade of type "+kind] += int(n)
	}
	st := s.srv.Stats()
	if s.depth.QueueFrames > 0 {
		st.SlowConsumers = 0 // with a short queue the exchange has to hold what a slow handler does not take
	}
	if st.Violations() != 0 {
		s.failLocked("limits were broken: %+v", st)
	}
}

func (s *sim) hooks() *binance.Hooks {
	hooks := &binance.Hooks{
		StatusChanged:  func(i binance.StatusInfo) { s.note(i) },
		SymbolsChanged: func(i binance.SymbolsInfo) { s.note(i) },
		ConnectDone:    func(i binance.ConnectInfo) { s.note(i) },
		Subscribed:     func(i binance.SubscribeInfo) { s.note(i) },
		Refused: func(i binance.RefuseInfo) {
			s.note(i)
			s.did("refused")
			if i.Stream == "" && !s.strange(i.Instrument.Symbol) {
				s.fail("a symbol that was listed all the time was refused: %+v", i)
			}
		},
		Rotated:  func(i binance.RotateInfo) { s.note(i); s.did("rotation: " + i.Reason.String()) },
		Watchdog: func(i binance.WatchInfo) { s.note(i); s.did("watchdog: " + i.Reason.String()) },
		TradeGap: func(i binance.TradeGapInfo) {
			s.note(i)
			s.did("trade gap")
			if i.Others > 0 {
				s.did("trade gap over others")
			}
		},
		Disconnected: func(i binance.DisconnectInfo) {
			s.note(i)
			s.did("disconnect")
			if errors.Is(i.Err, binance.ErrNoAck) && !slices.ContainsFunc([]string{"F19", "F22"}, func(f string) bool { return slices.Contains(s.chaos.Faults, f) }) {
				s.fail("no fault delays acknowledgements: %v", i.Err)
			}
		},
		SnapshotDone: func(i binance.SnapshotInfo) {
			s.note(i)
			if i.Err == nil && (i.Bids < i.Limit || i.Asks < i.Limit) {
				s.count("F14")
			}
		},
		Synced: func(i binance.SyncInfo) { s.note(i); s.did("sync") },
		Audited: func(i binance.AuditInfo) {
			s.note(i)
			s.did("audit")
			if i.Different > 0 && !s.idsUnsure(i.Instrument.Symbol) {
				s.fail("an audit found a difference: %+v", i)
			}
		},
		Mismatch: func(i binance.MismatchInfo) {
			s.note(i)
			if !s.idsUnsure(i.Instrument.Symbol) {
				s.fail("the best levels are not bookTicker's: %+v", i)
			}
		},
		Capped:       func(i binance.CappedInfo) { s.note(i); s.did("capped") },
		Gap:          func(i binance.GapInfo) { s.note(i) },
		Dropped:      func(i binance.DropInfo) { s.note(i); s.did("overflow") },
		Paused:       func(late time.Duration) { s.note(fmt.Sprint("paused for ", late)); s.did("pause") },
		Throttled:    func(i binance.ThrottleInfo) { s.note(i); s.did("throttle") },
		DecodeFailed: func(i binance.DecodeInfo) { s.note(i); s.did("undecoded") },
	}
	each := reflect.ValueOf(hooks).Elem()
	for i := range each.NumField() {
		name, notes := each.Type().Field(i).Name, each.Field(i).Interface()
		each.Field(i).Set(reflect.MakeFunc(each.Field(i).Type(), func(info []reflect.Value) []reflect.Value {
			if f := reflect.ValueOf(notes); !f.IsNil() {
				f.Call(info)
			}
			s.inCallback(name)
			return nil
		}))
	}
	return hooks
}

// noSuchSymbol is a symbol that no exchange of the simulation ever lists.
const noSuchSymbol = "NOSUCHUSDT"

// strange reports whether the exchange may not know the symbol.
func (s *sim) strange(symbol string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return symbol == noSuchSymbol || s.at(symbol).gone
}

// idsUnsure reports whether an update id of the symbol may have named two books.
func (s *sim) idsUnsure(symbol string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.at(symbol)
	return s.restarted || b.gone
}

// A simTally counts what happened in runs, which shows that they covered everything.
type simTally struct {
	faults map[string]int // by their numbers in the documentation of binancetest
	gaps   map[string]int // by reason
	did    map[string]int // what the driver and the program did

	compared, skipped int // books compared with the exchange's, and those that it no longer had
	viewed            int // books compared with the DepthSyncer's
	trades, tickers   int
	recovery          time.Duration // the longest time until all was live
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
	t.faults["F6"]++ // unless F7 is on, every snapshot is at the end of an event
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
	t.compared += o.compared
	t.skipped += o.skipped
	t.viewed += o.viewed
	t.trades += o.trades
	t.tickers += o.tickers
	t.recovery = max(t.recovery, o.recovery)
}

func (t simTally) String() string {
	return fmt.Sprintf("faults: %s\ngaps: %s\nactions: %s\nbooks compared: %d, %d not any more, %d against View; %d trades, %d tickers; live after %v at the latest",
		inOrder(t.faults), inOrder(t.gaps), inOrder(t.did), t.compared, t.skipped, t.viewed, t.trades, t.tickers, t.recovery)
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
	for n := 1; n <= 41; n++ {
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
	for _, c := range simCalls() {
		if t.did["called back: "+c.name] == 0 {
			tb.Errorf("no callback called %s", c.name)
		}
	}
	if t.did["capped"] == 0 {
		tb.Error("no quantity was beyond MaxFixed")
	}
	for _, a := range acts() {
		if t.did["act: "+a.name] == 0 {
			tb.Errorf("the program never did: %s", a.name)
		}
	}
	if futures && t.did["trade of type NA"] == 0 {
		tb.Error("no trade of type NA")
	}
	if t.compared == 0 || t.viewed < t.compared/4 || t.skipped > t.compared/20 {
		tb.Errorf("%d books compared, %d not any more, %d against View", t.compared, t.skipped, t.viewed)
	}
}
