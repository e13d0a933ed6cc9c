package orderbook_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A contract calls one Syncer and checks every Output against the documented promises:
//
//   - Folding the events into an oracle, pruned by the same rule, gives exactly Book(), bounds
//     included. Folding them without pruning gives a book that Book() nowhere contradicts.
//   - No Update comes outside a span that a Snapshot began and no Gap ended.
//   - No emitted Update skips an id or lies wholly in the past.
//   - At most one request for a snapshot is out, requests keep their distance, failures back off.
//   - A book that is not synced has a request out or a deadline, and a deadline is never in the past,
//     so that a caller who ticks at deadlines alone neither hangs nor spins.
//   - A refresh never makes a Gap. It begins when it is due and ends with an Audit; a Snapshot that it
//     brings is at the id of the book, and extends its known depth or corrects its errors.
//   - The counters add up, and no pending update is thrown away without a Gap that says so.
type contract struct {
	cfg    orderbook.SyncerConfig // without zeros
	syncer *orderbook.Syncer

	book   *oracleBook
	whole  *oracleBook             // never pruned; nil if there is no MaxDepth
	verify func(*oracleBook) error // if not nil, checks every book that the events make
	synced bool
	fresh  bool // nothing was applied since the snapshot

	out       orderbook.FetchID // the request that is out
	asked     time.Time         // when the last one went out
	last      orderbook.FetchID // its number
	notBefore time.Time         // when the next may go out, after a failure
	failures  int
	refresh   refreshModel

	stats     orderbook.SyncerStats // as counted here
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

// failed notes that the request that was out gave no usable snapshot: the next one waits, twice as long each
// time.
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

// saysDiscarded reports whether a Gap says that updates were thrown away. One of a skipped id does not:
// pending updates stay.
func saysDiscarded(out orderbook.Output) bool {
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

// fold applies an event as a reader does who sees only the events.
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
		return c.verifyBook()
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
		return c.verifyBook()
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

// change changes the folded book, and the one that is not pruned.
func (c *contract) change(f func(*oracleBook)) {
	if c.whole != nil {
		f(c.whole)
	}
	f(c.book)
	c.book.prune(c.cfg.MaxDepth)
}

func (c *contract) verifyBook() error {
	if c.verify == nil {
		return nil
	}
	return c.verify(c.book)
}

// continues returns an error if an update does not follow the folded book.
func (c *contract) continues(u *orderbook.Update) error {
	id := c.book.lastID
	if c.fresh && id == -1 { // the first update of a new instrument has any id
		return nil
	}
	skips, old := u.FirstID > id+1, u.LastID <= id
	if c.cfg.Continuity == orderbook.Linked {
		// The event that ends at the snapshot may be applied again: the snapshot has it already.
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
		return fmt.Errorf("%d updates are pending, MaxBuffered is %d", got.Buffered, c.cfg.MaxBuffered)
	case c.syncer.State() != orderbook.Buffering && got.Buffered != 0:
		return fmt.Errorf("%d updates are pending in state %v", got.Buffered, c.syncer.State())
	case got.Discarded > c.discarded && c.syncer.State() == orderbook.Buffering && !saysDiscarded(out):
		return fmt.Errorf("%d updates were thrown away without a Gap", got.Discarded-c.discarded)
	}
	c.discarded = got.Discarded
	return nil
}

// A refreshModel is the state of refreshes as a contract derives it from calls and Outputs.
type refreshModel struct {
	active bool
	from   int64     // the book's id when it began to keep updates
	ahead  time.Time // when a snapshot that the book has not reached is given up; zero if there is none
	goal   int64     // its id
	due    time.Time // of the next by RefreshEvery; zero if never
	hold   time.Time // of the next by RefreshDepth, at the earliest
}

// asking reports whether a refresh needs a request, or has one out.
func (r *refreshModel) asking() bool { return r.active && r.ahead.IsZero() }

func (r *refreshModel) begin(from int64) {
	r.active, r.from, r.ahead = true, from, time.Time{}
}

func (r *refreshModel) schedule(now, hold time.Time, cfg orderbook.SyncerConfig) {
	r.due, r.hold = time.Time{}, hold
	if cfg.RefreshEvery > 0 {
		r.due = now.Add(cfg.RefreshEvery)
	}
}

// deadline returns the deadline of a refresh that needs no request.
func (r *refreshModel) deadline(shallow bool) time.Time {
	switch {
	case r.active:
		return r.ahead
	case shallow && (r.due.IsZero() || r.hold.Before(r.due)):
		return r.hold
	}
	return r.due
}

// shallow reports whether the known depth of a side is less than RefreshDepth.
func (c *contract) shallow() bool {
	if c.cfg.RefreshDepth <= 0 {
		return false
	}
	bids, asks := c.book.knownDepth()
	return bids >= 0 && bids < c.cfg.RefreshDepth || asks >= 0 && asks < c.cfg.RefreshDepth
}

func (c *contract) refreshing() bool { return c.refresh.active }

func (c *contract) refreshNow(now time.Time) (orderbook.Output, error) {
	if c.synced && !c.refresh.active {
		c.refresh.begin(c.book.lastID)
		c.stats.Refreshes++
	}
	out := c.syncer.Refresh(now)
	if len(out.Events) > 0 || out.Audit != nil {
		return out, fmt.Errorf("a call of Refresh alone gave %+v", out)
	}
	return out, c.check(now, out)
}

// corrupt changes levels of the Syncer's book behind its back, and of the folded ones likewise.
func (c *contract) corrupt(u *orderbook.Update) {
	u.LastID = c.book.lastID
	c.syncer.Book().Apply(u)
	c.change(func(book *oracleBook) { book.apply(u) })
}

// joined checks the answer to a refresh's request.
func (c *contract) joined(now time.Time, s *orderbook.Snapshot, out orderbook.Output) error {
	tooOld := c.syncer.Stats().TooOld - c.tooOld
	compared := out.Audit != nil && out.Audit.Err == nil
	var want string
	switch r := &c.refresh; {
	case s.LastID < r.from:
		want = "refused"
		c.failed(now)
		if tooOld == 1 && !compared {
			return nil
		}
	case s.LastID > c.book.lastID:
		want = "kept until the book reaches it"
		c.out, r.ahead, r.goal = 0, now.Add(c.cfg.SnapshotTimeout), s.LastID
		if c.cfg.SnapshotTimeout < 0 {
			r.ahead = now.Add(c.cfg.RetryMax)
		}
		if tooOld == 0 && out.Audit == nil {
			return nil
		}
	default:
		want = "compared"
		if tooOld == 0 && compared {
			return nil
		}
	}
	return fmt.Errorf("a snapshot at %d must be %s, updates are kept from %d, the book is at %d: %+v", s.LastID, want, c.refresh.from, c.book.lastID, out.Audit)
}

// firstOfAll updates the model for the first update of a new instrument. Updates before it may be missing,
// so a snapshot must reach it.
func (c *contract) firstOfAll(now time.Time, u *orderbook.Update) {
	switch r := &c.refresh; {
	case !r.active:
	case r.ahead.IsZero():
		r.begin(u.LastID)
	case c.cfg.Continuity == orderbook.Linked && u.PrevLastID > r.goal, c.cfg.Continuity == orderbook.Contiguous && u.FirstID > r.goal+1:
		r.begin(u.LastID)
		c.failed(now)
	}
}

func (c *contract) refreshTimeout(now time.Time) {
	if r := &c.refresh; r.active && !r.ahead.IsZero() && !now.Before(r.ahead) {
		r.begin(c.book.lastID)
		c.failed(now)
	}
}

// swap folds a Snapshot event within a span.
func (c *contract) swap(s *orderbook.Snapshot, audit *orderbook.Audit) error {
	switch {
	case audit == nil || !audit.Swapped:
		return fmt.Errorf("a Snapshot without a Gap before it, and %+v", audit)
	case s.LastID != c.book.lastID:
		return fmt.Errorf("a Snapshot at %d in a book at %d", s.LastID, c.book.lastID)
	}
	c.stats.Swaps++
	old := c.book.clone()
	c.change(func(book *oracleBook) { book.reset(s) })
	bids, asks := reach(old.bidBound, c.book.bidBound, 1), reach(old.askBound, c.book.askBound, -1)
	if audit.Different == 0 && (bids < 0 || asks < 0 || bids+asks == 0) {
		return fmt.Errorf("nothing was different, and the bounds %+v, %+v became %+v, %+v",
			old.bidBound, old.askBound, c.book.bidBound, c.book.askBound)
	}
	return c.verifyBook()
}

// reach is 1 if the new bound of a side is further out, -1 if it is nearer; sign is -1 for asks.
func reach(old, now orderbook.Bound, sign orderbook.Fixed) int {
	switch {
	case old == now:
		return 0
	case !now.Limited || old.Limited && now.Price*sign < old.Price*sign:
		return 1
	}
	return -1
}

// checkRefresh updates the model for an Output whose events are folded.
func (c *contract) checkRefresh(now time.Time, out orderbook.Output) error {
	r := &c.refresh
	switch a := out.Audit; {
	case a != nil:
		if err := c.checkAudit(a); err != nil {
			return fmt.Errorf("%w: %+v", err, a)
		}
		*r = refreshModel{}
		r.schedule(now, now.Add(c.cfg.RetryMax), c.cfg)
		c.out, c.failures, c.notBefore = 0, 0, time.Time{}
	case r.active && !c.synced:
		return errors.New("the book was lost, and the refresh goes on")
	case r.active && !r.ahead.IsZero() && c.book.lastID >= r.goal:
		return fmt.Errorf("the book reached %d, and the refresh goes on", r.goal)
	case r.active && c.failures >= 8:
		return errors.New("eight failures, and it goes on")
	}
	if at := r.deadline(c.shallow()); c.synced && !r.active && !at.IsZero() && !at.After(now) {
		r.begin(c.book.lastID)
		c.stats.Refreshes++
	}
	c.tooOld = c.syncer.Stats().TooOld
	return nil
}

func (c *contract) checkAudit(a *orderbook.Audit) error {
	lost := errors.Is(a.Err, orderbook.ErrRefreshLost)
	switch {
	case !c.refresh.active:
		return errors.New("an Audit without a refresh")
	case a.LastID != c.book.lastID:
		return fmt.Errorf("an Audit of another id than %d", c.book.lastID)
	case lost == c.synced:
		return fmt.Errorf("synced is %t", c.synced)
	case a.Err != nil && (a.Compared > 0 || a.Swapped || len(a.Differences) > 0):
		return errors.New("an Audit with an error and a result")
	case errors.Is(a.Err, orderbook.ErrRefreshFailed) != (a.Err != nil && !lost && c.failures >= 8):
		return fmt.Errorf("after %d failures", c.failures)
	case len(a.Differences) != min(a.Different, maxDifferences) || a.Different > a.Compared:
		return errors.New("the differences do not add up")
	case a.Different > 0 && !a.Swapped:
		return errors.New("the wrong book was kept")
	}
	if a.Err != nil {
		c.stats.Abandoned++
		return nil
	}
	c.stats.Audits++
	c.stats.Differences += uint64(a.Different)
	return nil
}
