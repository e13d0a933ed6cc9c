package orderbook_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A refreshModel is what a contract knows of refreshes, from outside.
type refreshModel struct {
	active bool
	from   int64     // the book's id when it began to keep updates
	ahead  time.Time // when the snapshot is given up that the book has not reached; zero if there is none
	goal   int64     // its id
	due    time.Time // of the next by RefreshEvery; zero if never
	hold   time.Time // of the next by RefreshDepth, at the earliest
}

// asking tells whether a refresh needs a request, or has one out.
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

// deadline returns what has to be timed where no request is needed.
func (r *refreshModel) deadline(shallow bool) time.Time {
	switch {
	case r.active:
		return r.ahead
	case shallow && (r.due.IsZero() || r.hold.Before(r.due)):
		return r.hold
	}
	return r.due
}

// shallow tells whether a synced book knows less of a side than RefreshDepth.
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

// joined judges the answer to a refresh's request.
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
	return fmt.Errorf("a snapshot at %d was to be %s, from %d on all is kept, the book is at %d: %+v", s.LastID, want, c.refresh.from, c.book.lastID, out.Audit)
}

// firstOfAll follows a refresh through the first update of a new instrument. Only from here on nothing
// is missed, so that a snapshot has to meet this update.
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
	return c.judge()
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

// checkRefresh follows refreshes through an Output whose events are folded.
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
		return errors.New("an Audit that was none")
	case errors.Is(a.Err, orderbook.ErrRefreshFailed) != (a.Err != nil && !lost && c.failures >= 8):
		return fmt.Errorf("after %d failures", c.failures)
	case len(a.Differences) != min(a.Different, orderbook.MaxDifferences) || a.Different > a.Compared:
		return errors.New("the differences do not add up")
	case a.Different > 0 && !a.Swapped:
		return errors.New("the wrong book runs on")
	}
	if a.Err != nil {
		c.stats.Abandoned++
		return nil
	}
	c.stats.Audits++
	c.stats.Differences += uint64(a.Different)
	return nil
}
