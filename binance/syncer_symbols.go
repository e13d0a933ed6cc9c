package binance

import (
	"context"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Add adds symbols, on the connections that have room, and on new ones. A symbol that was added before is
// left as it is; the records of one that was removed before begin after its former last one. While Run
// runs, the exchange has to list them, unless DepthConfig.SkipSymbolCheck is set: the error is then an
// *UnknownSymbolsError, or one of Client.ExchangeInfo. The latest listing is believed that a symbol is listed
// for twice DepthConfig.PollEvery, or ten minutes where that is negative; a symbol that it lacks is asked
// for, once for all calls that wait for the answer. Ready waits for their books.
func (d *DepthSyncer) Add(ctx context.Context, symbols ...string) error {
	for _, symbol := range symbols {
		if err := checkSymbol(symbol); err != nil {
			return err
		}
	}
	var statuses map[string]string
	if d.books.Running() && !d.cfg.SkipSymbolCheck {
		found, missing, err := d.lister.find(ctx, symbols, func(ctx context.Context) (func(), error) {
			_, report, err := d.askListing(ctx, callPriority(ctx))
			return report, err
		})
		if err == nil {
			err = d.unknown(missing, found)
		}
		if err != nil {
			return err
		}
		statuses = found
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	if err := d.add(symbols, true); err != nil {
		return err
	}
	for _, symbol := range symbols {
		if b, status := d.books.Get(symbol), statuses[symbol]; b != nil && status != "" {
			b.listing.CompareAndSwap(nil, &status)
		}
	}
	return nil
}

// unknown returns an *UnknownSymbolsError of symbols that the exchange does not list, nil if there are none. listed has the
// ones that it lists.
func (d *DepthSyncer) unknown(symbols []string, listed map[string]string) error {
	if symbols == nil {
		return nil
	}
	err := &UnknownSymbolsError{Market: d.client.market.name, Symbols: symbols}
	for _, symbol := range symbols {
		for known := range listed {
			if isSpelling(symbol, known) {
				if err.Similar == nil {
					err.Similar = make(map[string]string)
				}
				err.Similar[symbol] = known
			}
		}
	}
	return err
}

// statusesOf returns the statuses by symbol.
func statusesOf(info *ExchangeInfo) map[string]string {
	statuses := make(map[string]string, len(info.Symbols))
	for i := range info.Symbols {
		statuses[info.Symbols[i].Symbol] = info.Symbols[i].Status
	}
	return statuses
}

// add adds symbols; named ones stay whatever the filter chooses. It is called with changing held.
func (d *DepthSyncer) add(symbols []string, named bool) error {
	var added []*symbolBook
	seen := make(map[string]bool, len(symbols))
	for _, symbol := range symbols {
		if b := d.books.Get(symbol); b != nil {
			b.named = b.named || named
			continue
		}
		if seen[symbol] {
			continue
		}
		seen[symbol] = true
		b, err := d.newBook(symbol)
		if err != nil {
			return err
		}
		b.named = named
		if d.launch != nil {
			b.SetWait(marketprism.Wait{For: marketprism.WaitConnection})
		}
		added = append(added, b)
	}
	if len(added) == 0 {
		return nil
	}
	d.books.Add(added...)
	d.keepWeight()
	d.start(added)
	return nil
}

// start places books and starts their streams. A book whose symbol is still leaving waits until that is
// over, so that its records come after the last one of the symbol's former book, which may be in another
// shard. It is called with changing held.
func (d *DepthSyncer) start(books []*symbolBook) {
	books = slices.DeleteFunc(books, func(b *symbolBook) bool {
		l := d.leaving[b.instrument.Symbol]
		if l != nil {
			l.next = b
		}
		return l != nil
	})
	if len(books) == 0 {
		return
	}
	before := d.allShards()
	placed := d.place(books)
	for _, s := range d.allShards() {
		switch books := placed[s]; {
		case d.launch == nil || books == nil:
		case slices.Contains(before, s):
			s.tasks.post(func(ctx context.Context, now time.Time) error { return s.addSymbols(ctx, now, books) })
		default:
			d.launch(s)
		}
	}
}

// newBook returns the book of a newly added symbol.
func (d *DepthSyncer) newBook(symbol string) (*symbolBook, error) {
	s, err := orderbook.NewSyncer(d.cfg.syncer(d.client.market))
	if err != nil {
		return nil, err
	}
	d.added++
	return newSymbolBook(d.client.Instrument(symbol), s, d.cfg.TopLevels, d.added), nil
}

// A routeStreams is the streams of a symbol on one route. They share a connection.
type routeStreams struct {
	route    route
	suffixes []string
}

// routesOf returns the streams of each symbol by their routes.
func (cfg *DepthConfig) routesOf(m *market, depth string) []routeStreams {
	books := routeStreams{m.bookRoute(), []string{depth}}
	if cfg.Tickers {
		books.suffixes = append(books.suffixes, m.ticker)
	}
	if cfg.Trades {
		books.suffixes = append(books.suffixes, tradeSuffix)
	}
	switch {
	case !cfg.AggTrades:
	case m.aggRoute() == books.route:
		books.suffixes = append(books.suffixes, aggTradeSuffix)
	default:
		return []routeStreams{books, {m.aggRoute(), []string{aggTradeSuffix}}}
	}
	return []routeStreams{books}
}

// place spreads books evenly over as few shards as possible, some of them new or unused so far, and returns the books that
// each has got. It is called with changing held.
func (d *DepthSyncer) place(books []*symbolBook) map[*shard][]*symbolBook {
	shards, placed := slices.Clone(d.allShards()), make(map[*shard][]*symbolBook)
	env := shardEnv{
		client: d.client, cfg: &d.cfg, snapshots: d.snapshots,
		handle: d.handle, notify: d.books.Changed, firstLimit: d.firstLimit,
	}
	for _, rs := range d.routes {
		perShard, room := d.cfg.StreamsPerConn/len(rs.suffixes), 0
		var open, unused []*shard
		for _, s := range shards {
			switch {
			case s.route != rs.route:
			case len(s.members) == 0: // its connections are closed, or about to be
				unused = append(unused, s)
			default:
				open = append(open, s)
				room += perShard - len(s.members)
			}
		}
		for ; room < len(books); room += perShard {
			if len(unused) == 0 {
				unused = append(unused, newShard(len(shards), env, rs, d.depthSuffix))
				shards = append(shards, unused[0])
			}
			open, unused = append(open, unused[0]), unused[1:]
		}
		for _, b := range books {
			s := slices.MinFunc(open, func(a, b *shard) int { return len(a.members) - len(b.members) })
			s.members = append(s.members, b)
			placed[s] = append(placed[s], b)
			if slices.Contains(rs.suffixes, d.depthSuffix) {
				b.inbox = &s.inbox
			}
		}
	}
	d.mu.Lock()
	d.shards = shards
	d.mu.Unlock()
	return placed
}

// Remove removes symbols. A synced book ends with a Gap of the reason GapRemoved. The error is
// ErrUnknownSymbol, and then nothing is removed. With DepthConfig.AllTrading a symbol that the filter
// chooses comes back with the next poll. A connection on which no symbol is left is closed half a minute
// later.
func (d *DepthSyncer) Remove(symbols ...string) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	for _, symbol := range symbols {
		if _, err := d.books.Find(symbol); err != nil {
			return err
		}
	}
	d.remove(symbols)
	return nil
}

// remove is Remove with changing held. It ignores symbols that were removed meanwhile.
func (d *DepthSyncer) remove(symbols []string) {
	var removed []*symbolBook
	for _, symbol := range symbols {
		if b := d.books.Get(symbol); b != nil && !slices.Contains(removed, b) {
			removed = append(removed, b)
			b.end()
			if l := d.leaving[symbol]; l != nil {
				l.next = nil
			}
		}
	}
	d.books.Remove(symbols...)
	d.keepWeight()
	for _, s := range d.allShards() {
		s.members = slices.DeleteFunc(s.members, func(b *symbolBook) bool {
			if !slices.Contains(removed, b) {
				return false
			}
			if d.launch != nil {
				d.leave(s, b)
			}
			return true
		})
	}
	d.books.Changed()
}

// A leavingSymbol is one that was removed, and of which records may still come. The DepthSyncer's changing
// guards it.
type leavingSymbol struct {
	shards int         // that have not ended its book
	next   *symbolBook // of the same symbol, added since; nil if there is none
}

// leave ends a book in a shard. It is called with changing held.
func (d *DepthSyncer) leave(s *shard, b *symbolBook) {
	symbol := b.instrument.Symbol
	if d.leaving[symbol] == nil {
		d.leaving[symbol] = &leavingSymbol{}
	}
	d.leaving[symbol].shards++
	s.tasks.post(func(ctx context.Context, now time.Time) error {
		err := s.removeSymbol(ctx, now, b)
		s.conns.running.Go(func() { d.left(symbol) }) // the shard never waits for changing
		return err
	})
}

// left notes that a shard makes no more records of a removed symbol.
func (d *DepthSyncer) left(symbol string) {
	d.changing.Lock()
	defer d.changing.Unlock()
	l := d.leaving[symbol]
	if l.shards--; l.shards > 0 {
		return
	}
	delete(d.leaving, symbol)
	if l.next != nil {
		d.start([]*symbolBook{l.next})
	}
}

// allLeft notes that no shard runs any more.
func (d *DepthSyncer) allLeft() {
	d.changing.Lock()
	defer d.changing.Unlock()
	waiting := slices.DeleteFunc(d.books.All(), func(b *symbolBook) bool {
		l := d.leaving[b.instrument.Symbol]
		return l == nil || l.next != b
	})
	clear(d.leaving)
	d.start(waiting)
}

// handle calls the Handler with a record, one call at a time for all shards.
func (d *DepthSyncer) handle(ctx context.Context, rec *marketprism.Record) error {
	return d.books.Handle(ctx, d.cfg.Handler, rec)
}

// Refresh requests an audit of the symbol's book: a snapshot of SnapshotLimit levels is joined beside
// the running book and compared with it, and replaces it if they differ. Hooks.Audited gets the result.
// The request waits in the Budget with PriorityRefresh; a second one for the same book is not queued.
// The error is ErrUnknownSymbol, or a *NotSyncedError while the book is not synced.
func (d *DepthSyncer) Refresh(symbol string) error {
	b, err := d.books.Find(symbol)
	if err != nil {
		return err
	}
	b.Lock()
	state := b.syncer.State()
	b.Unlock()
	if state != orderbook.Synced {
		return &NotSyncedError{Symbol: symbol, State: state}
	}
	d.snapshots.requestRefresh(b, d.cfg.SnapshotLimit, PriorityRefresh)
	return nil
}

// firstLimit returns the size of the snapshot that syncs a book: small where many books are waiting for
// theirs, so that all are synced soon, and deepened afterwards.
func (d *DepthSyncer) firstLimit() int {
	if d.cfg.FirstLimit > 0 {
		return d.cfg.FirstLimit
	}
	m, perMinute, books := d.client.market, d.client.budget.Usage().Limit, len(d.books.Keys())
	for _, limit := range [...]int{d.cfg.SnapshotLimit, shallowLimit} {
		if perMinute == 0 || books*m.depthWeight(limit) <= perMinute/2 {
			return min(limit, d.cfg.SnapshotLimit)
		}
	}
	return min(m.depthWeights[0].limit, d.cfg.SnapshotLimit)
}

// keepWeight makes the Budget keep the weight of the snapshots that sync every book once.
func (d *DepthSyncer) keepWeight() {
	d.snapshots.keep(len(d.books.Keys()) * d.client.market.depthWeight(d.firstLimit()))
}
