package binance

import (
	"context"
	"sync"
	"time"

	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A fetch is one snapshot that a book waits for.
type fetch struct {
	symbol   *symbolBook
	feed     *shard
	id       orderbook.FetchID // 0 of a refresh that the book's Syncer has not begun
	limit    int               // levels a side
	weight   int
	priority Priority

	ticket  *ticket
	offered bool // it is with the owner of the book, who is to begin the refresh
	sent    bool // it is on its way, or answered
	void    bool // nobody waits for it any more

	snap orderbook.Snapshot
	at   time.Time // local clock of the answer
	err  error
}

// A snapshotFetcher requests the snapshots of all connections of a DepthSyncer. They wait in the Budget's
// queue, where one that has become void gives its place away.
type snapshotFetcher struct {
	client  *Client
	timeout time.Duration
	granted chan *fetch // may be sent; has room for as many as the Budget ever grants at a time

	mu   sync.Mutex // guards what a symbolBook knows of its request, and the feeds' inboxes
	open bool       // requests are taken
}

func newSnapshotFetcher(c *Client, cfg *DepthConfig) *snapshotFetcher {
	return &snapshotFetcher{client: c, timeout: cfg.Sync.SnapshotTimeout, granted: make(chan *fetch, c.budget.cfg.Concurrent)}
}

// ask queues a request for the symbol. An earlier one is void. The answer comes to the feed's inbox.
func (f *snapshotFetcher) ask(y *symbolBook, from *shard, id orderbook.FetchID, limit int, p Priority) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoke(y)
	f.enqueue(&fetch{symbol: y, feed: from, id: id, limit: limit, priority: p})
}

// askRefresh queues a refresh of the symbol, unless something is queued or on its way already. The
// feed is asked to begin it when it may be sent.
func (f *snapshotFetcher) askRefresh(y *symbolBook, of *shard, limit int, p Priority) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if y.request == nil {
		f.enqueue(&fetch{symbol: y, feed: of, limit: limit, priority: p})
	}
}

// enqueue is called with mu held.
func (f *snapshotFetcher) enqueue(r *fetch) {
	if !f.open {
		return
	}
	r.symbol.request = r
	r.weight = f.client.market.depthWeight(r.limit)
	r.ticket = f.client.budget.enqueue(f.client.spender, r.priority, r.weight, func() { f.granted <- r })
}

// claim takes over a refresh that was offered; false if it has become void.
func (f *snapshotFetcher) claim(r *fetch) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	claimed := r.offered && !r.void
	r.offered = false
	return claimed
}

// requeue gives back a refresh that was claimed, and lets it wait for the Budget once more.
func (f *snapshotFetcher) requeue(r *fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.ticket.giveUp()
	if r.symbol.request == r {
		f.enqueue(r)
	}
}

// resume sends a refresh that was claimed. With the id 0 the Syncer did not ask for a snapshot, and
// it is over.
func (f *snapshotFetcher) resume(r *fetch, id orderbook.FetchID) {
	if id == 0 {
		f.mu.Lock()
		if r.symbol.request == r {
			r.symbol.request = nil
		}
		f.mu.Unlock()
		r.ticket.giveUp()
		return
	}
	r.id = id
	f.granted <- r
}

// forget makes the symbol's request void, if there is one.
func (f *snapshotFetcher) forget(y *symbolBook) {
	f.mu.Lock()
	f.revoke(y)
	f.mu.Unlock()
}

// revoke is called with mu held. A request that was granted and not yet sent is given back by run. One
// that is on its way goes on: its weight is spent, and the answer may be the one that tells to stay away.
func (f *snapshotFetcher) revoke(y *symbolBook) {
	r := y.request
	if r == nil {
		return
	}
	y.request = nil
	r.void = true
	switch {
	case r.sent:
	case r.offered:
		r.ticket.giveUp()
	default:
		r.ticket.leave()
	}
}

// begin lets requests be asked for.
func (f *snapshotFetcher) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = true
}

// end makes the requests for all symbols void, and takes no more.
func (f *snapshotFetcher) end(symbols []*symbolBook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = false
	for _, y := range symbols {
		f.revoke(y)
	}
}

// run makes requests until ctx ends, and returns when none is on its way. It is to end after end.
func (f *snapshotFetcher) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case r := <-f.granted:
			f.start(ctx, r, &wg)
		case <-ctx.Done():
			for {
				select {
				case r := <-f.granted:
					r.ticket.giveUp()
				default:
					return
				}
			}
		}
	}
}

func (f *snapshotFetcher) start(ctx context.Context, r *fetch, wg *sync.WaitGroup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.void:
		r.ticket.giveUp()
	case r.id == 0:
		r.offered = true
		r.feed.tasks.post(func(ctx context.Context) error { return r.feed.granted(ctx, r) })
	default:
		r.sent = true
		wg.Go(func() { f.do(ctx, r) })
	}
}

// do makes one request and hands over its outcome.
func (f *snapshotFetcher) do(ctx context.Context, r *fetch) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	start := time.Now()
	r.snap, r.at, r.err = f.client.depth(ctx, r.symbol.instrument.Symbol, r.limit)
	r.ticket.close()
	info := SnapshotInfo{
		Instrument: r.symbol.instrument, Priority: r.priority, Limit: r.limit, Weight: r.weight, LastID: r.snap.LastID,
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
	hook.Call(f.client.hooks.SnapshotDone, info)
	if !void {
		wake(r.feed.answered)
	}
}

// collect returns what has come to the feed's inbox.
func (f *snapshotFetcher) collect(to *shard) []*fetch {
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
