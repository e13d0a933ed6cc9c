package binance

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A fetch is one snapshot that a book waits for.
type fetch struct {
	symbol *followed
	feed   *feed
	id     orderbook.FetchID

	cancel context.CancelFunc // set while the request is on its way
	void   bool               // nobody waits for it any more

	snap orderbook.Snapshot
	at   time.Time // local clock of the answer
	err  error
}

// A fetcher requests the snapshots of all connections of a DepthSyncer, a bounded number at a time
// and no faster than the request weight allows. What waits here costs nothing: the weight is taken
// before it is decided which book gets it, so a book that was known comes before one that never was.
type fetcher struct {
	client  *Client
	limit   int // levels a side
	timeout time.Duration
	slots   chan struct{} // holds a token for each request on its way
	ready   chan struct{} // holds a token while something may be queued

	mu     sync.Mutex
	queues [2][]*fetch // of books that were known, and of others; oldest first
}

func newFetcher(c *Client, cfg *DepthConfig) *fetcher {
	return &fetcher{
		client: c, limit: cfg.SnapshotLimit, timeout: cfg.Sync.SnapshotTimeout,
		slots: make(chan struct{}, cfg.SnapshotWorkers),
		ready: make(chan struct{}, 1),
	}
}

// ask queues a request for the symbol. An earlier one is void. The answer comes to the feed's inbox.
func (f *fetcher) ask(y *followed, from *feed, id orderbook.FetchID) {
	f.mu.Lock()
	f.revoke(y)
	y.request = &fetch{symbol: y, feed: from, id: id}
	q := &f.queues[rank(y)]
	*q = append(*q, y.request)
	f.mu.Unlock()
	wake(f.ready)
}

// forget makes the symbol's request void, if there is one.
func (f *fetcher) forget(y *followed) {
	f.mu.Lock()
	f.revoke(y)
	f.mu.Unlock()
}

// revoke is called with mu held.
func (f *fetcher) revoke(y *followed) {
	r := y.request
	if r == nil {
		return
	}
	y.request = nil
	r.void = true
	if r.cancel != nil {
		r.cancel()
		return
	}
	for i := range f.queues {
		if at := slices.Index(f.queues[i], r); at >= 0 {
			f.queues[i] = slices.Delete(f.queues[i], at, at+1)
		}
	}
}

func rank(y *followed) int {
	if y.wasKnown {
		return 0
	}
	return 1
}

// run makes requests until ctx ends, and returns when none is on its way.
func (f *fetcher) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-f.ready:
		case <-ctx.Done():
			return
		}
		for f.queued() {
			select {
			case f.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			weight := f.client.market.depthWeight(f.limit)
			if f.client.budget.wait(ctx, weight) != nil {
				<-f.slots
				return
			}
			r, reqCtx := f.next(ctx)
			if r == nil {
				f.client.budget.giveBack(weight)
				<-f.slots
				continue
			}
			wg.Go(func() {
				f.do(reqCtx, r, weight)
				<-f.slots
			})
		}
	}
}

func (f *fetcher) queued() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queues[0])+len(f.queues[1]) > 0
}

// next takes the request whose turn it is; nil if all have become void.
func (f *fetcher) next(ctx context.Context) (*fetch, context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.queues {
		if len(f.queues[i]) > 0 {
			r := f.queues[i][0]
			f.queues[i] = slices.Delete(f.queues[i], 0, 1)
			ctx, r.cancel = context.WithTimeout(ctx, f.timeout)
			return r, ctx
		}
	}
	return nil, nil
}

// do makes one request and hands over its outcome.
func (f *fetcher) do(ctx context.Context, r *fetch, weight int) {
	defer r.cancel()
	symbol := r.symbol.instrument.Symbol
	start := time.Now()
	r.snap, r.at, r.err = f.client.depth(ctx, symbol, f.limit)
	info := SnapshotInfo{
		Instrument: r.symbol.instrument, Limit: f.limit, Weight: weight, LastID: r.snap.LastID,
		Bids: len(r.snap.Bids), Asks: len(r.snap.Asks), Elapsed: time.Since(start), Err: r.err,
	}

	f.mu.Lock()
	void := r.void
	if !void {
		r.symbol.request = nil
		r.feed.inbox = append(r.feed.inbox, r)
	}
	f.mu.Unlock()

	r.feed.count.requests.Add(1)
	if r.err != nil {
		r.feed.count.failures.Add(1)
	}
	call(f.client.hooks.SnapshotDone, info)
	if !void {
		wake(r.feed.answered)
	}
}

// collect returns what has come to the feed's inbox.
func (f *fetcher) collect(to *feed) []*fetch {
	f.mu.Lock()
	defer f.mu.Unlock()
	answers := to.inbox
	to.inbox = nil
	return answers
}

// wake puts a token into a channel of one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
