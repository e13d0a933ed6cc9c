package binance

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bookset"
	"github.com/marketprism/marketprism/orderbook"
)

// A DepthSyncer keeps the order books of many symbols equal to the exchange's. Its methods are safe for
// concurrent use. The Handler, hooks and other funcs of the program may call all of them and those of its Client: see
// Ready for the one that may refuse. Add and the requests of the Client make the books wait for the answer then.
type DepthSyncer struct {
	client    *Client
	cfg       DepthConfig
	books     *bookset.Set[string, Status, *symbolBook]
	snapshots *snapshotFetcher
	lister    lister

	depthSuffix string         // of the depth streams' names
	routes      []routeStreams // the streams of each symbol by their routes

	changing sync.Mutex   // held while the symbols change, and the members of the shards
	added    int          // books made so far; guarded by changing
	launch   func(*shard) // runs a new shard; nil while Run does not run
	leaving  map[string]*leavingSymbol
	waiting  bookset.Waiting // what the first listing waits for
	listed   atomic.Bool     // the symbols of AllTrading are known
	unread   atomic.Int64    // Stats.Unread
	leftOut  atomic.Int64    // Stats.LeftOut
	missing  []string        // the symbols that the last listing lacked; only Run's listings use it

	mu     sync.Mutex
	shards []*shard // a new slice with each change
}

// NewDepthSyncer returns a DepthSyncer for the symbols of cfg. A nil Client means one with the zero Config: spot, the real exchange.
// It fails if cfg is contradictory. It does not connect: Run does.
func NewDepthSyncer(c *Client, cfg DepthConfig) (*DepthSyncer, error) {
	if c == nil {
		var err error
		if c, err = NewClient(Config{}); err != nil {
			return nil, err
		}
	}
	cfg, err := cfg.withDefaults(c.market)
	if err != nil {
		return nil, err
	}
	depth, err := c.market.depthSuffix(cfg.Interval)
	if err != nil {
		return nil, err
	}
	d := &DepthSyncer{
		client: c, cfg: cfg,
		routes: cfg.routesOf(c.market, depth), depthSuffix: depth,
		snapshots: newSnapshotFetcher(c, cfg.SnapshotTimeout), leaving: make(map[string]*leavingSymbol),
		lister: lister{maxAge: 10 * time.Minute},
	}
	d.books = d.newBooks()
	if cfg.PollEvery > 0 {
		d.lister.maxAge = 2 * cfg.PollEvery
	}
	return d, d.add(cfg.Symbols, true)
}

// Run connects and keeps every book synced until ctx ends, and reconnects as often as needed. It blocks,
// and returns nil when ctx has ended and every synced book has ended with a Gap record that the Handler
// accepted. Nothing of it is left running then. If the Handler fails it returns a *marketprism.HandlerError, also while the
// books end: it says at which record, and how many did not arrive after it. It returns an error earlier if the exchange does not list a symbol, an *UnknownSymbolsError; if the exchange refuses
// to list its symbols, an *APIError; and ErrRunning if it runs already. It may be called again afterwards.
func (d *DepthSyncer) Run(ctx context.Context) error {
	if !d.books.RunBegan() {
		return ErrRunning
	}
	err := d.firstListing(ctx)
	switch {
	case err == nil:
		err = d.runShards(ctx)
	case ctx.Err() != nil:
		err = nil
	}
	if d.client.net.owned {
		d.client.CloseIdleConnections()
	}
	for _, b := range d.books.All() {
		b.SetWait(marketprism.Wait{For: marketprism.WaitRun})
	}
	d.books.RunEnded(err)
	return err
}

// runShards returns nil once ctx has ended and all shards have, or how the Handler has failed.
func (d *DepthSyncer) runShards(ctx context.Context) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	handling, endHandling := bookset.WithGrace(ctx)
	defer endHandling()

	fetching, endFetching := context.WithCancel(context.WithoutCancel(ctx))
	defer endFetching()
	var fetcher, shards sync.WaitGroup
	d.snapshots.begin()
	d.keepWeight()
	fetcher.Go(func() { d.snapshots.run(fetching) })
	d.changing.Lock()
	d.launch = func(s *shard) {
		s.begin(time.Now())
		shards.Go(func() {
			s.run(running, handling)
			cancel()
		})
	}
	for _, s := range d.allShards() {
		d.launch(s)
	}
	d.changing.Unlock()
	shards.Go(func() { d.poll(running) })

	<-running.Done()
	d.changing.Lock()
	d.launch = nil
	d.changing.Unlock()
	shards.Wait()
	d.allLeft()
	d.snapshots.end()
	d.keepWeight()
	endFetching()
	fetcher.Wait()
	return d.books.Failure()
}

// Rotate replaces every connection by a new one, without a resync and without a gap: each old
// connection is closed once its replacement carries every stream. It returns at once; Hooks.Rotated
// is called for each. A connection whose replacement is on its way is left as it is. While Run does not
// run, Rotate does nothing.
func (d *DepthSyncer) Rotate() {
	d.changing.Lock()
	defer d.changing.Unlock()
	for _, s := range d.allShards() {
		if d.launch == nil || s.rotating.Swap(true) {
			continue
		}
		s.tasks.post(func(_ context.Context, now time.Time) error {
			s.rotating.Store(false)
			for _, slot := range s.conns.slots {
				s.rotateSlot(now, slot, RotateRequest)
			}
			return nil
		})
	}
}

func (d *DepthSyncer) newBooks() *bookset.Set[string, Status, *symbolBook] {
	return bookset.New[string, Status, *symbolBook](reflect.TypeFor[DepthSyncer]().PkgPath(), bookset.Errors[string, Status]{
		Unknown: d.unknownSymbol,
		NotSynced: func(symbol string, s Status) error {
			return &NotSyncedError{Symbol: symbol, State: s.State, Wait: d.waitFor(s.Wait)}
		},
		Stopped:   ErrStopped,
		Reentrant: ErrReentrant,
	})
}

// View calls f with the symbol's book and its status, neither of which changes while f runs. The book must not be used
// after f has returned. f may call any method, and the feed does not wait for it: a change that comes meanwhile is made
// in a copy of the book, which costs some ten microseconds. The error is ErrUnknownSymbol, or a *NotSyncedError while the
// book is not synced; f is not called then.
func (d *DepthSyncer) View(symbol string, f func(b *orderbook.Book, s Status)) error {
	return d.books.View(symbol, f)
}

// Best returns the best bid and ask of the symbol's book; one is the zero Level where its side is empty. The error is that of
// View: a *NotSyncedError says why the book is not synced and what is tried next.
func (d *DepthSyncer) Best(symbol string) (bid, ask orderbook.Level, err error) {
	err = d.books.View(symbol, func(b *orderbook.Book, _ Status) {
		bid, _ = b.BestBid()
		ask, _ = b.BestAsk()
	})
	return bid, ask, err
}

// Status returns the status of the symbol's book, and whether the DepthSyncer has the symbol.
func (d *DepthSyncer) Status(symbol string) (Status, bool) {
	s, ok := d.books.Status(symbol)
	s.Wait = d.waitFor(s.Wait)
	return s, ok
}

// waitFor returns what a book waits for: if that is a request which the exchange forbids at present, request weight.
func (d *DepthSyncer) waitFor(w marketprism.Wait) marketprism.Wait {
	if w.For != marketprism.WaitSnapshot && w.For != marketprism.WaitSymbols {
		return w
	}
	if until := d.client.Usage().BlockedUntil; until.After(time.Now()) && until.After(w.Next) {
		w.For, w.Next = marketprism.WaitWeight, until
	}
	return w
}

// unknownSymbol returns the ErrUnknownSymbol of a symbol, with the one that it may stand for.
func (d *DepthSyncer) unknownSymbol(symbol string) error {
	for _, known := range d.books.Keys() {
		if isSpelling(symbol, known) {
			return fmt.Errorf("%w: %q (%q?)", ErrUnknownSymbol, symbol, known)
		}
	}
	return fmt.Errorf("%w: %q", ErrUnknownSymbol, symbol)
}

// isSpelling reports whether text is a symbol in other letters, or in the spelling of others: "btcusdt", "BTC/USDT".
func isSpelling(text, symbol string) bool {
	letters := strings.NewReplacer("/", "", "-", "", "_", "", " ", "")
	return text != symbol && strings.EqualFold(letters.Replace(text), letters.Replace(symbol))
}

// Symbols returns the symbols in the order they were added.
func (d *DepthSyncer) Symbols() []string { return slices.Clone(d.books.Keys()) }

// Stats returns the counters.
func (d *DepthSyncer) Stats() Stats {
	s := Stats{Unread: int(d.unread.Load()), LeftOut: int(d.leftOut.Load())}
	for _, f := range d.allShards() {
		f.count.addTo(&s)
		f.conns.queueStats(&s)
	}
	return s
}

// Ready blocks until the books of the symbols, of all if none is named, are synced at once. The error
// is ErrUnknownSymbol, also for a symbol that is removed meanwhile; ErrStopped with the error of Run
// if that has returned; or that of ctx with the *NotSyncedError of a symbol, which says why. It may be called before Run.
//
// In the Handler, in a hook and in SymbolFilter.Keep it does not wait, since the books may need their goroutine: the
// error is then ErrReentrant with a symbol that is not synced. A goroutine that they start may wait, as long as they do
// not wait for it.
func (d *DepthSyncer) Ready(ctx context.Context, symbols ...string) error {
	return d.books.Ready(ctx, d.unlistedYet, symbols...)
}

// unlistedYet returns an error while it is not known which symbols AllTrading chooses.
func (d *DepthSyncer) unlistedYet() error {
	if d.cfg.AllTrading == nil || d.listed.Load() {
		return nil
	}
	return &NotSyncedError{Symbol: "AllTrading", Wait: d.waitFor(d.waiting.Wait())}
}

// Top returns the best levels of the symbol's book, at most DepthConfig.TopLevels a side, with the
// book's State. It takes no lock. The error is ErrUnknownSymbol or ErrNoTop.
func (d *DepthSyncer) Top(symbol string) (*Top, error) {
	b, err := d.bookWithTop(symbol)
	if err != nil {
		return nil, err
	}
	return b.tops.latest.Load(), nil
}

// Watch returns a channel that gets the symbol's Top now and after each change. It holds the latest
// one only: a slow reader skips values; it never blocks the feed. The channel is closed when ctx ends
// and when the symbol is removed. Errors are those of Top.
func (d *DepthSyncer) Watch(ctx context.Context, symbol string) (<-chan *Top, error) {
	b, err := d.bookWithTop(symbol)
	if err != nil {
		return nil, err
	}
	return b.watch(ctx), nil
}

func (d *DepthSyncer) bookWithTop(symbol string) (*symbolBook, error) {
	if d.cfg.TopLevels == 0 {
		return nil, ErrNoTop
	}
	b, err := d.books.Find(symbol)
	if err == nil {
		b.Want()
	}
	return b, err
}

// allShards returns the shards, for reading only.
func (d *DepthSyncer) allShards() []*shard {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shards
}
