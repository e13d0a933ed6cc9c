package binance_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// A harness is a fake exchange, a DepthSyncer on it, and an audit of every record: whenever a book is
// synced, it must be the exchange's true book at that update id.
type harness struct {
	t       *testing.T
	srv     *binancetest.Server
	client  *binance.Client
	syncer  *binance.DepthSyncer
	stop    context.CancelFunc // ends Run
	busy    atomic.Bool        // the handler runs
	ended   chan struct{}      // closed when Run has returned
	result  error              // what it returned
	checked bool               // a test has looked at the result

	each     func(*marketprism.Record) // sees every record; nil means none
	midBatch bool                      // snapshots lie between the borders of events
	forged   string                    // the symbol whose book a test makes wrong

	mu     sync.Mutex
	books  map[string]*auditedBook
	trades int
	ticks  int
	events []noted       // all hook calls, in order
	maxLag time.Duration // between an update's event time and its ReceivedAt
	seen   chan struct{} // if not nil, gets a token with every record
	block  chan struct{} // while not nil, the handler waits for it
}

type noted struct {
	at   time.Time
	info any
}

type auditedBook struct {
	book orderbook.Book
	bookCounts
}

// bookCounts are what has happened to a book.
type bookCounts struct {
	lastID    int64 // of the book, set by at
	synced    bool
	updates   int
	snapshots int
	gaps      []orderbook.Gap

	lastTrade      [2]int64 // id, of trades and of aggregates
	twice, skipped int      // trades
}

type setup struct {
	server binancetest.Config
	client binance.Config
	depth  binance.DepthConfig
	dial   func(*binancetest.Server) *http.Client // the program's own client for REST; nil means none
	before func(*harness)                         // called when all is made and nothing runs
}

// bubble runs test inside testing/synctest on an exchange in memory, whose books move at random.
func bubble(t *testing.T, s setup, test func(t *testing.T, h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s.server.Network = binancetest.InMemory()
		h := newHarness(t, s)
		defer h.close()
		test(t, h)
	})
}

func newHarness(t *testing.T, s setup) *harness {
	t.Helper()
	s.server.Symbols = at100(s.server.Symbols)
	srv, err := binancetest.New(s.server)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, srv: srv, books: make(map[string]*auditedBook), midBatch: s.server.MidBatchSnapshots}
	s.client.Market = s.server.Market
	s.client.Endpoints = binance.Endpoints{REST: srv.RESTURL(), Stream: srv.StreamURL(), SBE: srv.StreamURL()}
	if s.client.DialContext == nil {
		s.client.DialContext = srv.DialContext
	}
	if s.dial != nil {
		s.client.HTTPClient = s.dial(srv)
	}
	s.client.Hooks = binance.TeeHooks(h.hooks(), s.client.Hooks)
	if h.client, err = binance.NewClient(s.client); err != nil {
		t.Fatal(err)
	}
	if s.depth.Symbols == nil {
		s.depth.Symbols = srv.Listed()
	}
	for _, symbol := range s.depth.Symbols {
		h.books[symbol] = &auditedBook{}
	}
	handler := s.depth.Handler
	s.depth.Handler = func(ctx context.Context, rec *marketprism.Record) error {
		err := h.audit(ctx, rec)
		if err == nil && handler != nil {
			err = handler(ctx, rec)
		}
		return err
	}
	if h.syncer, err = binance.NewDepthSyncer(h.client, s.depth); err != nil {
		t.Fatal(err)
	}
	if s.before != nil {
		s.before(h)
	}
	go srv.Run(h.run()) //nolint:errcheck // ends with the server
	return h
}

// run starts Run, which ends with the context that it returns.
func (h *harness) run() context.Context {
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan struct{})
	h.stop, h.ended, h.checked = cancel, ended, false
	go func() {
		defer close(ended)
		h.result = h.syncer.Run(ctx)
	}()
	return ctx
}

// end waits until Run has returned and returns its result.
func (h *harness) end() error {
	<-h.ended
	h.checked = true
	return h.result
}

func (h *harness) close() {
	h.stop()
	if checked := h.checked; h.end() != nil && !checked {
		h.t.Errorf("Run: %v", h.result)
	}
	h.client.CloseIdleConnections()
	h.srv.Close()
	for symbol, b := range h.books {
		if b.synced {
			h.t.Errorf("%s: the synced book did not end with a Gap", symbol)
		}
	}
}

// audit is the Handler.
func (h *harness) audit(_ context.Context, rec *marketprism.Record) error {
	if !h.busy.CompareAndSwap(false, true) {
		h.t.Error("two calls of the handler at a time")
	}
	defer h.busy.Store(false)
	h.mu.Lock()
	block := h.block
	h.mu.Unlock()
	if block != nil {
		<-block
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case h.seen <- struct{}{}:
	default:
	}
	if err := rec.Validate(); err != nil {
		h.t.Error(err)
	}
	if rec.ReceivedAt.IsZero() || rec.ReceivedAt.Location() != time.UTC || rec.ReceivedAt.After(time.Now()) {
		h.t.Errorf("ReceivedAt is %v", rec.ReceivedAt)
	}
	if h.each != nil {
		h.each(rec)
	}
	b := h.books[rec.Instrument.Symbol]
	switch {
	case rec.Snapshot != nil:
		if b.synced && rec.Snapshot.LastID != b.book.LastID() {
			h.t.Errorf("%v: a Snapshot at %d within a span, the book is at %d", rec.Instrument, rec.Snapshot.LastID, b.book.LastID())
		}
		b.book.Reset(rec.Snapshot)
		b.synced = true
		b.snapshots++
		h.compare(rec.Instrument.Symbol, b)
	case rec.Update != nil:
		if !b.synced {
			h.t.Errorf("%v: an Update outside a synced span", rec.Instrument)
		}
		b.book.Apply(rec.Update)
		b.updates++
		h.maxLag = max(h.maxLag, rec.ReceivedAt.Sub(rec.EventTime))
		h.compare(rec.Instrument.Symbol, b)
	case rec.Gap != nil:
		if b.synced && rec.Gap.After != b.book.LastID() {
			h.t.Errorf("%v: Gap after %d, the book is at %d", rec.Instrument, rec.Gap.After, b.book.LastID())
		}
		b.synced = false
		b.gaps = append(b.gaps, *rec.Gap)
	case rec.Trade != nil:
		h.trades++
		b.trade(rec.Trade)
	case rec.Ticker != nil:
		h.ticks++
	}
	return nil
}

// trade counts trades that come twice, late or not at all.
func (b *auditedBook) trade(t *marketprism.Trade) {
	last := &b.lastTrade[0]
	if t.Aggregate {
		last = &b.lastTrade[1]
	}
	switch {
	case *last == 0:
	case t.ID <= *last:
		b.twice++
	default:
		b.skipped += int(t.ID - *last - 1)
	}
	*last = max(*last, t.ID)
}

// compare is called with mu held.
func (h *harness) compare(symbol string, b *auditedBook) {
	if symbol == h.forged {
		return
	}
	truth, err := h.srv.BookAt(symbol, b.book.LastID())
	if h.midBatch && errors.Is(err, binancetest.ErrNoBook) {
		return // a snapshot between two borders
	}
	if err != nil {
		h.t.Errorf("%s: no truth at %d: %v", symbol, b.book.LastID(), err)
		return
	}
	have := b.book.Snapshot()
	if !slices.Equal(knownLevels(&b.book, orderbook.Bid, have.Bids), knownLevels(&b.book, orderbook.Bid, truth.Bids)) ||
		!slices.Equal(knownLevels(&b.book, orderbook.Ask, have.Asks), knownLevels(&b.book, orderbook.Ask, truth.Asks)) {
		h.t.Errorf("%s: the book at %d is not the exchange's", symbol, b.book.LastID())
	}
}

// knownLevels returns the levels, best first, within the known depth of the book.
func knownLevels(b *orderbook.Book, s orderbook.Side, levels []orderbook.Level) []orderbook.Level {
	end := slices.IndexFunc(levels, func(l orderbook.Level) bool { return !b.Knows(s, l.Price) })
	if end < 0 {
		return levels
	}
	return levels[:end]
}

func (h *harness) note(info any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, noted{time.Now(), info})
}

func (h *harness) hooks() *binance.Hooks {
	return &binance.Hooks{
		ListingDone:    func(i binance.ListingInfo) { h.note(i) },
		StatusChanged:  func(i binance.StatusInfo) { h.note(i) },
		SymbolsChanged: func(i binance.SymbolsInfo) { h.note(i) },
		ConnectDone:    func(i binance.ConnectInfo) { h.note(i) },
		Subscribed:     func(i binance.SubscribeInfo) { h.note(i) },
		Refused:        func(i binance.RefuseInfo) { h.note(i) },
		Rotated:        func(i binance.RotateInfo) { h.note(i) },
		Watchdog:       func(i binance.WatchInfo) { h.note(i) },
		TradeGap:       func(i binance.TradeGapInfo) { h.note(i) },
		Disconnected:   func(i binance.DisconnectInfo) { h.note(i) },
		SnapshotDone:   func(i binance.SnapshotInfo) { h.note(i) },
		RequestDone:    func(i binance.RequestInfo) { h.note(i) },
		Synced:         func(i binance.SyncInfo) { h.note(i) },
		Audited:        func(i binance.AuditInfo) { h.note(i) },
		Mismatch:       func(i binance.MismatchInfo) { h.note(i) },
		Capped:         func(i binance.CappedInfo) { h.note(i) },
		Gap:            func(i binance.GapInfo) { h.note(i) },
		Dropped:        func(i binance.DropInfo) { h.note(i) },
		Paused:         func(late time.Duration) { h.note(late) },
		Throttled:      func(i binance.ThrottleInfo) { h.note(i) },
		DecodeFailed:   func(i binance.DecodeInfo) { h.note(i) },
	}
}

// infos returns the hook calls of one kind so far.
func infos[T any](h *harness) []T {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []T
	for _, e := range h.events {
		if info, ok := e.info.(T); ok {
			all = append(all, info)
		}
	}
	return all
}

// ready waits until every book is synced.
func (h *harness) ready() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Hour)
	defer cancel()
	if err := h.syncer.Ready(ctx); err != nil {
		h.t.Fatal(err)
	}
}

// at returns what has happened to the book of a symbol.
func (h *harness) at(symbol string) bookCounts {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.books[symbol].bookCounts
	c.lastID, c.gaps = h.books[symbol].book.LastID(), slices.Clone(c.gaps)
	return c
}

// live checks that each symbol is synced and goes on receiving updates.
func (h *harness) live(symbols ...string) {
	h.t.Helper()
	before := make(map[string]int)
	for _, s := range symbols {
		before[s] = h.at(s).updates
	}
	time.Sleep(5 * time.Second)
	synctest.Wait()
	for _, s := range symbols {
		if status, _ := h.syncer.Status(s); status.State != orderbook.Synced || h.at(s).updates == before[s] {
			h.t.Errorf("%s is %v with %d updates before and %d after 5 s", s, status.State, before[s], h.at(s).updates)
		}
	}
}

// at100 returns symbols with the price that the levels and prices in these tests are near, and with its steps, where they have none.
func at100(symbols []binancetest.Symbol) []binancetest.Symbol {
	symbols = slices.Clone(symbols)
	for i := range symbols {
		if s := &symbols[i]; s.Price == 0 && s.Bids == nil && s.Asks == nil {
			s.Price = 100 * orderbook.One
		}
		if s := &symbols[i]; s.StepSize == 0 && s.BasePrecision == 0 {
			s.StepSize = orderbook.One / 1000
		}
	}
	return symbols
}

func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("T%04dUSDT", i)
	}
	return all
}

func (h *harness) wellBehaved() {
	h.t.Helper()
	if s := h.srv.Stats(); s.Violations() != 0 {
		h.t.Errorf("limits were broken: %+v", s)
	}
}

func requests(s *binancetest.Server, suffix string) int {
	n := 0
	for path, count := range s.Stats().Requests {
		if strings.HasSuffix(path, suffix) {
			n += count
		}
	}
	return n
}

func newBudget(t *testing.T, cfg binance.BudgetConfig) *binance.Budget {
	t.Helper()
	b, err := binance.NewBudget(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dial returns a Client of the fake exchange, whose connections end with the test.
func dial(t *testing.T, srv *binancetest.Server, cfg binance.Config) *binance.Client {
	t.Helper()
	cfg.Endpoints = binance.Endpoints{REST: srv.RESTURL(), Stream: srv.StreamURL(), SBE: srv.StreamURL()}
	cfg.DialContext = srv.DialContext
	client, err := binance.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}
