package orderbook_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A contract watches one Syncer and holds every Output against what is promised:
//
//   - Folding the events into an oracle, pruned by the same rule, gives exactly Book(), bounds
//     included. Folding them without pruning gives a book that Book() nowhere contradicts.
//   - No Update comes outside a span that a Snapshot began and no Gap ended.
//   - No emitted Update skips an id or lies wholly in the past.
//   - At most one request for a snapshot is out, requests keep their distance, failures back off.
//   - A book that is not synced has a request out or a deadline, and a deadline is never in the past,
//     so that a caller who ticks at deadlines alone neither hangs nor spins.
//   - A refresh never makes a Gap. It begins when it is due and ends with an Audit; a Snapshot that it
//     brings stands at the id of the book, whose known range it extends or whose errors it mends.
//   - The counters add up, and nothing that waits is thrown away without a Gap that says so.
type contract struct {
	cfg    orderbook.SyncerConfig // without zeros
	syncer *orderbook.Syncer

	book   *oracleBook
	whole  *oracleBook             // never pruned; nil if there is no MaxDepth
	known  func(*oracleBook) error // if not nil, judges every book that the events make
	synced bool
	fresh  bool // nothing was applied since the snapshot

	out       orderbook.FetchID // the request that is out
	asked     time.Time         // when the last one went out
	last      orderbook.FetchID // its number
	notBefore time.Time         // when the next may go out, after a failure
	failures  int
	refresh   refreshModel

	stats     orderbook.SyncerStats // as counted from outside
	discarded uint64                // of the Syncer's stats, before the call
	tooOld    uint64                // likewise
}

func newContract(cfg orderbook.SyncerConfig) (*contract, error) {
	syncer, err := orderbook.NewSyncer(cfg)
	if err != nil {
		return nil, err
	}
	c := &contract{cfg: cfg, syncer: syncer, book: newOracleBook()}
	if cfg.MaxDepth > 0 {
		c.whole = newOracleBook()
	}
	return c, nil
}

// The calls of the Syncer, each with its Output checked.

func (c *contract) connected(now time.Time) (orderbook.Output, error) {
	out := c.syncer.Connected(now)
	return out, c.check(now, out)
}

func (c *contract) disconnected(now time.Time, cause error) (orderbook.Output, error) {
	out := c.syncer.Disconnected(now, cause)
	c.out, c.failures, c.notBefore = 0, 0, time.Time{}
	if state := c.syncer.State(); state != orderbook.Offline {
		return out, fmt.Errorf("%v after a disconnect", state)
	}
	return out, c.check(now, out)
}

func (c *contract) update(now time.Time, u *orderbook.Update) (orderbook.Output, error) {
	c.stats.Received++
	out := c.syncer.Update(now, u)
	return out, c.check(now, out)
}

func (c *contract) snapshot(now time.Time, id orderbook.FetchID, s *orderbook.Snapshot) (orderbook.Output, error) {
	awaited := id != 0 && id == c.out
	before := c.syncer.Stats()
	out := c.syncer.Snapshot(now, id, s)
	after := c.syncer.Stats()
	switch {
	case !awaited && (len(out.Events) > 0 || out.Audit != nil || before.Snapshots+before.TooOld != after.Snapshots+after.TooOld):
		return out, fmt.Errorf("the answer to fetch %d was used, awaited was %d", id, c.out)
	case awaited && c.refresh.active:
		if err := c.joined(now, s, out); err != nil {
			return out, err
		}
	case awaited && before.Snapshots+before.TooOld+1 != after.Snapshots+after.TooOld:
		return out, fmt.Errorf("the answer to fetch %d was ignored", id)
	case awaited && c.syncer.State() == orderbook.Synced:
		c.out, c.failures, c.notBefore = 0, 0, time.Time{}
	case awaited && regressed(out):
		c.out, c.notBefore = 0, time.Time{} // a new beginning, not a repetition
		c.failures++
	case awaited:
		c.failed(now)
	}
	return out, c.check(now, out)
}

func (c *contract) snapshotFailed(now time.Time, id orderbook.FetchID, err error) (orderbook.Output, error) {
	if id != 0 && id == c.out {
		c.failed(now)
	}
	out := c.syncer.SnapshotFailed(now, id, err)
	return out, c.check(now, out)
}

func (c *contract) resync(now time.Time, g orderbook.Gap) (orderbook.Output, error) {
	out := c.syncer.Resync(now, g)
	c.discarded = c.syncer.Stats().Discarded // its Gap says so, whatever its reason
	return out, c.check(now, out)
}

func (c *contract) tick(now time.Time) (orderbook.Output, error) {
	if c.out != 0 && c.cfg.SnapshotTimeout > 0 && !now.Before(c.asked.Add(c.cfg.SnapshotTimeout)) {
		c.failed(now)
	}
	c.refreshTimeout(now)
	out := c.syncer.Tick(now)
	return out, c.check(now, out)
}

// failed notes that the request that was out gave nothing of use: the next one has to wait, twice as
// long each time.
func (c *contract) failed(now time.Time) {
	delay := c.cfg.RetryMin
	for range min(c.failures, 30) {
		delay = min(2*delay, c.cfg.RetryMax)
	}
	c.out, c.notBefore = 0, now.Add(delay)
	c.failures++
}

func regressed(out orderbook.Output) bool {
	return slices.ContainsFunc(out.Events, func(e orderbook.Event) bool {
		return e.Gap != nil && e.Gap.Reason == orderbook.GapRegressed
	})
}

// told tells whether a Gap says that updates were thrown away. A skipped id is no reason for that:
// what waits stays.
func told(out orderbook.Output) bool {
	return slices.ContainsFunc(out.Events, func(e orderbook.Event) bool {
		return e.Gap != nil && e.Gap.Reason != orderbook.GapSequence
	})
}

func (c *contract) check(now time.Time, out orderbook.Output) error {
	for i := range out.Events {
		if err := c.fold(now, &out.Events[i], out.Audit); err != nil {
			return fmt.Errorf("event %d of %d: %w", i+1, len(out.Events), err)
		}
	}
	if err := c.checkRefresh(now, out); err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	if state := c.syncer.State(); (state == orderbook.Synced) != c.synced {
		return fmt.Errorf("the state is %v; by the events synced is %t", state, c.synced)
	}
	if c.synced {
		if err := c.book.differs(c.syncer.Book()); err != nil {
			return fmt.Errorf("Book() is not what the events say: %w", err)
		}
		if c.whole != nil {
			if err := c.whole.contradicts(c.syncer.Book()); err != nil {
				return fmt.Errorf("Book() is not what the events say without pruning: %w", err)
			}
		}
	}
	if err := c.checkFetch(now, out.Fetch); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if err := c.checkDeadline(now); err != nil {
		return fmt.Errorf("deadline %v: %w", c.syncer.Deadline(), err)
	}
	return c.checkStats(out)
}

// fold applies an event as a reader would, who knows nothing but the events.
func (c *contract) fold(now time.Time, e *orderbook.Event, audit *orderbook.Audit) error {
	switch {
	case e.Snapshot != nil && e.Update == nil && e.Gap == nil:
		c.stats.Snapshots++
		if c.synced {
			return c.swap(e.Snapshot, audit)
		}
		c.synced, c.fresh = true, true
		c.refresh.schedule(now, now, c.cfg)
		c.change(func(book *oracleBook) { book.reset(e.Snapshot) })
		return c.judge()
	case e.Update != nil && e.Snapshot == nil && e.Gap == nil:
		if !c.synced {
			return errors.New("an Update outside a span")
		}
		if err := c.continues(e.Update); err != nil {
			return err
		}
		c.stats.Applied++
		if c.fresh && c.book.lastID == -1 {
			c.firstOfAll(now, e.Update)
		}
		c.fresh = false
		c.change(func(book *oracleBook) { book.apply(e.Update) })
		return c.judge()
	case e.Gap != nil && e.Snapshot == nil && e.Update == nil:
		if e.Gap.After != c.book.lastID {
			return fmt.Errorf("a Gap after %d, but the last id was %d", e.Gap.After, c.book.lastID)
		}
		c.stats.Gaps++
		c.synced = false
	default:
		return errors.New("not exactly one field is set")
	}
	return nil
}

// change changes the folded book, and its double that is not pruned.
func (c *contract) change(f func(*oracleBook)) {
	if c.whole != nil {
		f(c.whole)
	}
	f(c.book)
	c.book.prune(c.cfg.MaxDepth)
}

func (c *contract) judge() error {
	if c.known == nil {
		return nil
	}
	return c.known(c.book)
}

// continues tells why an update does not follow the folded book.
func (c *contract) continues(u *orderbook.Update) error {
	id := c.book.lastID
	if c.fresh && id == -1 { // the first update of a new instrument has any id
		return nil
	}
	skips, old := u.FirstID > id+1, u.LastID <= id
	if c.cfg.Continuity == orderbook.Linked {
		// The event that ends at the snapshot may be applied again: it is the snapshot's own past.
		skips, old = u.PrevLastID > id, u.LastID < id || u.LastID == id && !c.fresh
	}
	if skips || old {
		return fmt.Errorf("update %d-%d (pu %d) after id %d: skips %t, old %t", u.FirstID, u.LastID, u.PrevLastID, id, skips, old)
	}
	return nil
}

func (c *contract) checkFetch(now time.Time, id orderbook.FetchID) error {
	if id == 0 {
		return nil
	}
	c.stats.Fetches++
	switch {
	case c.out != 0:
		return fmt.Errorf("%d is wanted while %d is out", id, c.out)
	case c.syncer.State() != orderbook.Buffering && !c.refresh.asking():
		return fmt.Errorf("%d is wanted, state %v", id, c.syncer.State())
	case id <= c.last:
		return fmt.Errorf("%d follows %d", id, c.last)
	case !c.asked.IsZero() && now.Sub(c.asked) < c.cfg.RetryMin:
		return fmt.Errorf("%d follows the one before by %v", id, now.Sub(c.asked))
	case now.Before(c.notBefore):
		return fmt.Errorf("%d comes %v too early, failures %d", id, c.notBefore.Sub(now), c.failures)
	}
	c.out, c.last, c.asked = id, id, now
	return nil
}

func (c *contract) checkDeadline(now time.Time) error {
	deadline := c.syncer.Deadline()
	switch {
	case c.syncer.State() != orderbook.Buffering && !c.refresh.asking():
		if want := c.refresh.deadline(c.shallow()); c.syncer.State() == orderbook.Offline && !deadline.IsZero() ||
			c.synced && !deadline.Equal(want) {
			return fmt.Errorf("in state %v, want %v", c.syncer.State(), want)
		}
		return nil
	case c.out != 0 && c.cfg.SnapshotTimeout > 0 && !deadline.Equal(c.asked.Add(c.cfg.SnapshotTimeout)):
		return fmt.Errorf("a request went out at %v", c.asked)
	case c.out != 0:
		return nil
	case !deadline.After(now):
		return fmt.Errorf("no request is out, and it is %v", now)
	}
	earliest := c.asked.Add(c.cfg.RetryMin)
	if earliest.Before(c.notBefore) {
		earliest = c.notBefore
	}
	if !deadline.Equal(earliest) {
		return fmt.Errorf("the next request may go out at %v", earliest)
	}
	return nil
}

func (c *contract) checkStats(out orderbook.Output) error {
	got := c.syncer.Stats()
	want := c.stats
	want.Dropped, want.Discarded, want.TooOld = got.Dropped, got.Discarded, got.TooOld
	want.Buffered, want.Kept = got.Buffered, got.Kept
	switch {
	case got != want:
		return fmt.Errorf("stats %+v, by the events %+v", got, want)
	case got.Received != got.Applied+got.Dropped+got.Discarded+uint64(got.Buffered):
		return fmt.Errorf("updates do not add up: %+v", got)
	case got.Kept > c.cfg.MaxBuffered || got.Kept > 0 && !c.refresh.asking():
		return fmt.Errorf("%d updates are kept, MaxBuffered is %d, refresh %+v", got.Kept, c.cfg.MaxBuffered, c.refresh)
	case got.Buffered > c.cfg.MaxBuffered:
		return fmt.Errorf("%d updates wait, MaxBuffered is %d", got.Buffered, c.cfg.MaxBuffered)
	case c.syncer.State() != orderbook.Buffering && got.Buffered != 0:
		return fmt.Errorf("%d updates wait in state %v", got.Buffered, c.syncer.State())
	case got.Discarded > c.discarded && c.syncer.State() == orderbook.Buffering && !told(out):
		return fmt.Errorf("%d updates were thrown away, and nobody was told", got.Discarded-c.discarded)
	}
	c.discarded = got.Discarded
	return nil
}
