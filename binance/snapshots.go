package binance

import (
	"context"
	"sync"
	"time"

	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A fetchState is how far the request for a snapshot has come.
type fetchState uint8

const (
	fetchQueued    fetchState = iota // it waits for request weight, or has it and is about to be sent
	refreshQueued                    // the same of a refresh, which its shard begins before it is sent
	refreshOffered                   // it has its weight, and its shard is to begin it
	fetchSent                        // it is on its way, or answered
	fetchVoid                        // the book no longer needs it
)

// A fetch is the request for one snapshot of a book.
type fetch struct {
	book     *symbolBook
	inbox    *snapshotInbox // of the book's shard
	id       orderbook.FetchID
	limit    int // levels a side
	weight   int
	priority Priority
	rank     rank // zero for refreshes, which go in the order in which they are due

	state       fetchState   // guarded by the fetcher's mu
	reservation *reservation // its place in the Budget

	// The answer, once it is in the inbox.
	snap orderbook.Snapshot
	at   time.Time // local clock
	err  error
}

// A snapshotInbox receives the answers for the books of a shard, and the refreshes that the shard is to
// begin. The fetcher's mu guards its list.
type snapshotInbox struct {
	ready chan struct{} // holds a token while the list may hold some
	count *counters
	list  []*fetch
}

// A snapshotFetcher requests the snapshots for all shards of a DepthSyncer. Requests wait in the
// Budget's queue; a void one leaves it.
type snapshotFetcher struct {
	client  *Client
	timeout time.Duration
	granted chan *fetch // have their weight; has room for as many as the Budget ever grants at a time

	mu       sync.Mutex             // guards the rest, the states, and the inboxes
	open     bool                   // requests are accepted
	requests map[*symbolBook]*fetch // until they are answered, also of a book that was removed meanwhile
	kept     int                    // weight that the Budget keeps for the books; 0 unless open
}

func newSnapshotFetcher(c *Client, timeout time.Duration) *snapshotFetcher {
	return &snapshotFetcher{
		client: c, timeout: timeout, granted: make(chan *fetch, c.budget.cfg.Concurrent),
		requests: make(map[*symbolBook]*fetch),
	}
}

// request queues the request of the book's Syncer with that id, in place of an earlier one. The answer
// comes to the book's inbox.
func (f *snapshotFetcher) request(b *symbolBook, id orderbook.FetchID, limit int, p Priority) {
	r := &fetch{book: b, inbox: b.inbox, id: id, limit: limit, priority: p, rank: b.rank()}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoke(b)
	f.enqueue(r)
}

// requestRefresh queues a refresh of the book, unless it has a request already. The refresh comes to
// the book's inbox when its shard can begin it.
func (f *snapshotFetcher) requestRefresh(b *symbolBook, limit int, p Priority) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.requests[b] == nil {
		f.enqueue(&fetch{book: b, inbox: b.inbox, limit: limit, priority: p, state: refreshQueued})
	}
}

// enqueue is called with mu held.
func (f *snapshotFetcher) enqueue(r *fetch) {
	if !f.open {
		return
	}
	f.requests[r.book] = r
	r.weight = f.client.market.depthWeight(r.limit)
	r.reservation = f.client.budget.enqueue(f.client.spender, r.priority, r.rank, r.weight, func() { f.granted <- r })
}

// keep makes the Budget keep weight for the snapshots that sync all books once, while requests are accepted.
func (f *snapshotFetcher) keep(weight int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open {
		weight = 0
	}
	f.client.budget.keepForBooks(weight - f.kept)
	f.kept = weight
}

// claim reports whether the shard may begin a refresh from its inbox: it has not become void.
func (f *snapshotFetcher) claim(r *fetch) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.state != refreshOffered {
		return false
	}
	r.state = fetchQueued
	return true
}

// requeue gives back the weight of a claimed refresh, and queues it again.
func (f *snapshotFetcher) requeue(r *fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.reservation.giveUp()
	if f.requests[r.book] == r {
		r.state = refreshQueued
		f.enqueue(r)
	}
}

// send sends a claimed refresh. An id of 0 means that the Syncer did not ask for a snapshot: the
// refresh is over.
func (f *snapshotFetcher) send(r *fetch, id orderbook.FetchID) {
	if id == 0 {
		f.mu.Lock()
		if f.requests[r.book] == r {
			delete(f.requests, r.book)
		}
		f.mu.Unlock()
		r.reservation.giveUp()
		return
	}
	r.id = id
	f.granted <- r
}

// cancel makes the book's request void, if there is one.
func (f *snapshotFetcher) cancel(b *symbolBook) {
	f.mu.Lock()
	f.revoke(b)
	f.mu.Unlock()
}

// revoke is called with mu held. The weight of a request that was granted and not yet sent is given
// back by run. A request on its way goes on: its weight is spent, and the answer may be a refusal that
// asks the Client to wait.
func (f *snapshotFetcher) revoke(b *symbolBook) {
	r := f.requests[b]
	if r == nil {
		return
	}
	delete(f.requests, b)
	switch r.state {
	case fetchSent:
	case refreshOffered:
		r.reservation.giveUp()
	default:
		r.reservation.leave()
	}
	r.state = fetchVoid
}

// begin starts to accept requests.
func (f *snapshotFetcher) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = true
}

// end makes all requests void, and accepts no more.
func (f *snapshotFetcher) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = false
	for b := range f.requests {
		f.revoke(b)
	}
}

// run sends requests until ctx ends, and returns once none is on its way. Its ctx ends after end was
// called.
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
					r.reservation.giveUp()
				default:
					return
				}
			}
		}
	}
}

// start sends a request that has its weight, or offers it to the shard.
func (f *snapshotFetcher) start(ctx context.Context, r *fetch, wg *sync.WaitGroup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.state {
	case fetchVoid:
		r.reservation.giveUp()
	case refreshQueued:
		r.state = refreshOffered
		r.reservation.park()
		r.inbox.list = append(r.inbox.list, r)
		wake(r.inbox.ready)
	default:
		r.state = fetchSent
		wg.Go(func() { f.do(ctx, r) })
	}
}

// do makes one request and puts its answer into the inbox.
func (f *snapshotFetcher) do(ctx context.Context, r *fetch) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	start := time.Now()
	r.snap, r.at, r.err = f.client.depth(ctx, r.reservation, r.book.instrument.Symbol, r.limit)
	info := SnapshotInfo{
		Instrument: r.book.instrument, Priority: r.priority, Limit: r.limit, Weight: r.weight, LastID: r.snap.LastID,
		Bids: len(r.snap.Bids), Asks: len(r.snap.Asks), Elapsed: time.Since(start), Err: r.err,
	}
	r.inbox.count.requests.Add(1)
	if r.err != nil {
		r.inbox.count.failures.Add(1)
	}
	f.mu.Lock()
	void := r.state == fetchVoid
	if !void {
		delete(f.requests, r.book)
		r.inbox.list = append(r.inbox.list, r) // the shard may take it from now on
	}
	f.mu.Unlock()
	hook.Call(f.client.hooks.SnapshotDone, info)
	if !void {
		wake(r.inbox.ready)
	}
}

// collect empties an inbox.
func (f *snapshotFetcher) collect(from *snapshotInbox) (answers, refreshes []*fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range from.list {
		if r.state == fetchSent {
			answers = append(answers, r)
		} else {
			refreshes = append(refreshes, r)
		}
	}
	from.list = nil
	return answers, refreshes
}
