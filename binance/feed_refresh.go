package binance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A refreshSchedule says when a book that is known is to be refreshed. The owner's alone.
type refreshSchedule struct {
	deep      bool      // a snapshot of the full limit has been joined since the book became known
	asked     time.Time // when a refresh that has not ended was asked for; zero if there is none
	due       time.Time // when the next one is asked for in any case; zero if never
	notBefore time.Time // of the next one for depth or for a mismatch
}

// Refresh asks for an audit of the symbol's book: a snapshot of SnapshotLimit levels is joined beside
// the running book and compared with it, and takes its place if they differ. The Audited hook tells
// what came of it. The request waits in the Budget with PriorityRefresh; one that waits already is not
// doubled. The error is ErrUnknownSymbol, or a *NotSyncedError while the book is not known.
func (d *DepthSyncer) Refresh(symbol string) error {
	y, err := d.books.Find(symbol)
	if err != nil {
		return err
	}
	y.RLock()
	state := y.syncer.State()
	y.RUnlock()
	if state != orderbook.Synced {
		return &NotSyncedError{Symbol: symbol, State: state}
	}
	d.snapshots.askRefresh(y, y.home, d.cfg.SnapshotLimit, PriorityRefresh)
	return nil
}

// plan decides about the refresh of a book after anything that happened to it. It costs next to
// nothing where nothing is to be done.
func (f *shard) plan(y *symbolBook, out *orderbook.Output) {
	if out.Audit != nil {
		f.audited(y, out.Audit)
	}
	if y.syncer.State() != orderbook.Synced {
		return
	}
	if !f.now.Before(y.refresh.notBefore) && f.shallow(y) {
		f.refresh(y)
	}
}

// shallow tells whether less is known of the book than RefreshDepth demands.
func (f *shard) shallow(y *symbolBook) bool {
	n, book := f.syncer.cfg.Sync.RefreshDepth, y.syncer.Book()
	return n > 0 && !(book.KnowsTop(orderbook.Bid, n) && book.KnowsTop(orderbook.Ask, n))
}

func (f *shard) refresh(y *symbolBook) {
	// The Audit of this refresh sets when the next one may come; the bound here is for one that is void.
	y.refresh.notBefore = f.now.Add(f.syncer.cfg.refreshPause())
	f.syncer.snapshots.askRefresh(y, f, f.syncer.cfg.SnapshotLimit, y.refresh.priority())
}

// startPlan begins the plan of a book that has become known. Its Syncer lets the next request out
// RetryMin after the last one, and would keep updates until then.
func (f *shard) startPlan(y *symbolBook) {
	y.refresh = refreshSchedule{deep: y.answered >= f.syncer.cfg.SnapshotLimit, notBefore: f.now.Add(f.syncer.cfg.Sync.RetryMin)}
	f.schedule(y)
	if f.shallow(y) {
		y.refresh.due = y.refresh.notBefore
		f.arm(y.refresh.due)
	}
}

// terms are the size and the priority of the snapshot that a Syncer asks for.
func (f *shard) terms(y *symbolBook) (limit int, p Priority) {
	switch {
	case y.syncer.State() != orderbook.Synced && y.wasKnown:
		return f.syncer.firstLimit(), PriorityGap
	case y.syncer.State() != orderbook.Synced:
		return f.syncer.firstLimit(), PriorityFirst
	}
	return f.syncer.cfg.SnapshotLimit, y.refresh.priority()
}

// priority is more urgent for a book that was never more than shallow.
func (p *refreshSchedule) priority() Priority {
	if p.deep {
		return PriorityRefresh
	}
	return PriorityDeepen
}

func (f *shard) schedule(y *symbolBook) {
	y.refresh.due = time.Time{}
	if every := f.syncer.cfg.Sync.RefreshEvery; every > 0 {
		y.refresh.due = f.now.Add(every)
		f.arm(y.refresh.due)
	}
}

// refreshIfDue is called when time has passed.
func (f *shard) refreshIfDue(y *symbolBook) {
	switch due := y.refresh.due; {
	case due.IsZero() || y.syncer.State() != orderbook.Synced:
	case f.now.Before(due):
		f.arm(due)
	default:
		f.schedule(y)
		f.refresh(y)
	}
}

// granted begins a refresh whose request may be sent. Only from here on the Syncer keeps updates for
// it: in the queue a refresh costs nothing, however long it stands there.
func (f *shard) granted(ctx context.Context, r *fetch) error {
	y := r.symbol
	if !f.syncer.snapshots.claim(r) {
		return nil
	}
	// The owner may have been busy since the request was granted, and the exchange may want silence meanwhile.
	if f.syncer.client.budget.isBlocked() {
		f.syncer.snapshots.requeue(r)
		return nil
	}
	y.refresh.asked = f.now
	out := y.change(f.now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Refresh(f.now) })
	f.arm(y.syncer.Deadline())
	f.syncer.snapshots.resume(r, out.Fetch)
	out.Fetch = 0
	return f.obey(ctx, y, out, f.now.UTC())
}

// audited reports how a refresh ended.
func (f *shard) audited(y *symbolBook, a *orderbook.Audit) {
	elapsed := f.now.Sub(y.refresh.asked)
	y.refresh.asked = time.Time{}
	y.refresh.notBefore = f.now.Add(f.syncer.cfg.refreshPause())
	f.count.audits.Add(1)
	f.count.differences.Add(uint64(a.Different))
	if a.Err != nil {
		f.count.unaudited.Add(1)
		f.arm(y.refresh.retry(f.now, f.syncer.cfg.refreshPause()))
	} else {
		y.refresh.deep = true
	}
	hook.Call(f.syncer.client.hooks.Audited, AuditInfo{
		Instrument: y.instrument, LastID: a.LastID, Compared: a.Compared, Different: a.Different,
		Differences: slices.Clone(a.Differences), Swapped: a.Swapped, Elapsed: elapsed, Err: a.Err,
	})
}

// retry sees to it that a refresh which came to nothing is not the last one of a quiet book.
func (p *refreshSchedule) retry(now time.Time, pause time.Duration) time.Time {
	if at := now.Add(pause); p.due.IsZero() || at.Before(p.due) {
		p.due = at
	}
	return p.due
}

// refreshPause is the least time between two refreshes of a book that nobody asked for.
func (cfg *DepthConfig) refreshPause() time.Duration { return cfg.Sync.RetryMax }

// firstLimit is how many levels the snapshot has that makes a book known: few where many books are
// waiting for theirs, so that all are known soon, and deepened afterwards.
func (d *DepthSyncer) firstLimit() int {
	if d.cfg.FirstLimit > 0 {
		return d.cfg.FirstLimit
	}
	perMinute := d.client.budget.Usage().Limit
	if all := len(d.books.Keys()) * d.client.market.depthWeight(d.cfg.SnapshotLimit); perMinute == 0 || all <= perMinute/2 {
		return d.cfg.SnapshotLimit
	}
	return min(shallowLimit, d.cfg.SnapshotLimit)
}

// shallowLimit is the most levels for the least weight but one, 5, on every market.
const shallowLimit = 100

// checkDepths fills in and validates how deep books are.
func (cfg *DepthConfig) checkDepths(m *market) error {
	defaults.Set(&cfg.SnapshotLimit, defaultSnapshotLimit)
	defaults.Set(&cfg.Sync.RetryMin, defaultRetryMin)
	defaults.Set(&cfg.Sync.RetryMax, max(defaultRetryMax, cfg.Sync.RetryMin))
	defaults.Set(&cfg.Sync.MaxDepth, 10*cfg.SnapshotLimit)
	if cfg.Sync.RefreshDepth == 0 {
		cfg.Sync.RefreshDepth = max(1, cfg.SnapshotLimit/2)
		if first := cmp.Or(cfg.FirstLimit, shallowLimit); first < cfg.SnapshotLimit {
			cfg.Sync.RefreshDepth = max(cfg.Sync.RefreshDepth, first+1)
		}
	}
	if err := m.checkDepth(cfg.SnapshotLimit); err != nil {
		return err
	}
	if cfg.FirstLimit != 0 {
		if err := m.checkDepth(cfg.FirstLimit); err != nil {
			return err
		}
	}
	if cfg.FirstLimit > cfg.SnapshotLimit || cfg.Sync.RefreshDepth > cfg.SnapshotLimit {
		return fmt.Errorf("binance: FirstLimit %d, RefreshDepth %d: want at most the SnapshotLimit, %d", cfg.FirstLimit, cfg.Sync.RefreshDepth, cfg.SnapshotLimit)
	}
	return nil
}

// The delays between requests for one symbol, as orderbook.SyncerConfig has them.
const (
	defaultRetryMin = 250 * time.Millisecond
	defaultRetryMax = 30 * time.Second
)
