package binance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A stream is one subscription of a feed.
type stream struct {
	name   string
	symbol *symbolBook
	book   bool // it is the symbol's depth stream
	merge  arbiter
	behind suspicion // of a depth stream
}

// A shard keeps the books of a group of symbols, over one connection or over several that carry the
// same streams. The goroutine of run, its owner, alone touches the Syncers of its books. Each
// connection has a goroutine that reads it, so that pings are answered whatever the owner does, and
// hands frames over in a bounded queue.
type shard struct {
	number int
	syncer *DepthSyncer
	routeStreams

	members []*symbolBook // whoever has streams here; the DepthSyncer's changing guards it

	names   []string               // of the streams, in order of subscription; requests share the array, so that its elements stay as they are
	ordered []*stream              // the streams, likewise
	naming  sync.RWMutex           // held for writing by the owner while it changes the next three
	streams map[string]*stream     // by name
	symbols map[string]*symbolBook // all that have a stream here
	books   map[string]*stream     // depth streams, by symbol

	inbox    []*fetch      // answers of the fetcher, which guards it
	answered chan struct{} // holds a token while the inbox may hold some
	tasks    tasks         // for the owner, from others
	ready    chan struct{} // holds a token while frames may be queued
	running  sync.WaitGroup
	count    counters
	queues   [maxConns]atomic.Pointer[frameQueue] // of the open connections, by their place in links

	// The owner's alone.
	seats   []*connSlot
	links   [maxConns]*conn
	holding map[*stream]struct{} // those with held events
	decoder Decoder
	frame   frame
	msg     Message
	rec     marketprism.Record
	now     time.Time       // local clock of the current step
	timer   *time.Timer     // fires at due
	due     time.Time       // the earliest time at which something is to be done; zero if there is none
	watchAt time.Time       // when the watchdogs look next
	life    context.Context // of the run
}

func newShard(number int, d *DepthSyncer, rs routeStreams) *shard {
	return &shard{
		number: number, syncer: d, routeStreams: rs,
		streams:  make(map[string]*stream),
		symbols:  make(map[string]*symbolBook),
		books:    make(map[string]*stream),
		answered: make(chan struct{}, 1),
		ready:    make(chan struct{}, 1),
		tasks:    tasks{ready: make(chan struct{}, 1)},
	}
}

// begin prepares the owner's state for a run.
func (f *shard) begin() {
	f.now = time.Now()
	f.tasks.clear()
	f.syncer.changing.Lock()
	f.gather(f.members)
	f.syncer.changing.Unlock()
	f.links = [maxConns]*conn{}
	for i := range f.queues {
		f.queues[i].Store(nil)
	}
	f.holding = make(map[*stream]struct{})
	f.watchAt = f.now.Add(watchEvery)
	f.seats = nil
	for i := range f.syncer.cfg.Redundancy {
		f.seats = append(f.seats, newConnSlot(f.number*f.syncer.cfg.Redundancy+i, &f.syncer.cfg, f.now))
	}
	f.frame, f.due = frame{}, time.Time{}
	f.timer = time.NewTimer(0)
	for _, st := range f.ordered {
		st.merge, st.behind = arbiter{}, suspicion{}
		if st.book {
			st.symbol.lostAt = f.now
		}
	}
}

// run keeps the feed connected until ctx ends, whose error it returns, or until the handler fails,
// whose error it returns as a *bookset.HandlerError. handling is the handler's context. The books know of the
// end before the goroutines of the connections are waited for.
func (f *shard) run(ctx, handling context.Context) error {
	f.begin()
	defer f.timer.Stop()
	linking, cancel := context.WithCancel(ctx)
	f.life = linking
	err := f.own(linking, handling)
	if failed := f.cutOff(handling, err); failed != nil {
		err = errors.Join(err, failed)
	}
	cancel()
	f.running.Wait()
	for _, l := range f.links {
		if l != nil && l.stream != nil {
			f.disconnected(l, len(f.symbols), err)
		}
	}
	return err
}

// cutOff tells the books that nothing more comes.
func (f *shard) cutOff(handling context.Context, cause error) error {
	f.now = time.Now()
	var failed error
	for _, st := range f.ordered {
		if !st.book {
			if err := f.letGo(handling, st); err != nil {
				failed = err
			}
			continue
		}
		if err := f.offline(handling, st, cause); err != nil {
			failed = err
		}
	}
	return failed
}

// letGo makes records of the trades that wait for others, and tells of those: nothing is fetched any more.
func (f *shard) letGo(handling context.Context, st *stream) error {
	m := &st.merge
	gap := m.filling
	if gap == nil {
		m.filling = &backfill{first: m.at + 1, last: m.at} // none
	}
	err := f.release(handling, st, true)
	if gap != nil {
		f.filled(st, strings.HasSuffix(st.name, aggTradeSuffix), gap, 0, fmt.Errorf("%w: they were being fetched at the end", ErrTradesMissing))
	}
	return err
}

// offline tells a book that nothing carries its stream.
func (f *shard) offline(ctx context.Context, st *stream, cause error) error {
	y := st.symbol
	f.syncer.snapshots.forget(y)
	out := y.change(f.now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Disconnected(f.now, cause) })
	st.merge.restart()
	delete(f.holding, st)
	return f.obey(ctx, y, out, f.now.UTC())
}

// A tasks is what others want the owner of a feed to do. Its methods are safe for concurrent use.
type tasks struct {
	ready chan struct{} // holds a token while there may be some

	mu   sync.Mutex
	list []func(context.Context) error
}

// post leaves something to do with the owner, who runs it with the handler's context. An error of it
// ends the feed.
func (t *tasks) post(do func(context.Context) error) {
	t.mu.Lock()
	t.list = append(t.list, do)
	t.mu.Unlock()
	wake(t.ready)
}

func (t *tasks) take() []func(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.list
	t.list = nil
	return list
}

func (t *tasks) clear() { t.take() }
