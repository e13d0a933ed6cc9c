package orderbook

import (
	"errors"
	"fmt"
	"time"
)

// The reasons why a refresh ends without an audit. The book is none the worse for it.
var (
	// ErrRefreshLost: the book itself ended with a Gap meanwhile.
	ErrRefreshLost = errors.New("orderbook: the book was lost during its refresh")
	// ErrRefreshOverflow: more updates came than MaxBuffered and MaxBufferedBytes allow to be kept.
	ErrRefreshOverflow = errors.New("orderbook: too many updates during a refresh")
	// ErrRefreshFailed: no snapshot came that could be joined; the error wraps what befell the last one.
	ErrRefreshFailed = errors.New("orderbook: no usable snapshot for a refresh")
	// ErrRefreshAhead: the snapshots were newer than the book, and its updates did not reach their ids in time. It comes
	// wrapped in ErrRefreshFailed. Where the ids are the instrument's own, the book's stream has lost something.
	ErrRefreshAhead = errors.New("the updates did not reach its id in time")
)

var (
	errNoAnswer = errors.New("no answer in time")
	errTooOld   = errors.New("it is older than the request")
)

// maxRefreshTries is how many snapshots in a row may be of no use until a refresh is given up.
const maxRefreshTries = 8

// A refresh makes a second book beside the one that runs. From the moment it begins, every update
// that the book takes is kept; a snapshot at or after the id at which the keeping began can so be
// brought to the book's id, where the two are compared and one takes the place of the other.
type refresh struct {
	phase refreshPhase
	from  int64  // the book's id when keeping began
	kept  buffer // the updates applied since
	fresh Book   // in phase catchingUp: the snapshot, with the updates that followed it

	until     time.Time // in phase catchingUp: when fresh is given up
	due       time.Time // in phase idle: when RefreshEvery begins the next; zero if never
	notBefore time.Time // in phase idle: when RefreshDepth may begin the next
}

type refreshPhase uint8

const (
	idle       refreshPhase = iota
	asking                  // for a snapshot
	catchingUp              // the snapshot is newer than the book, which has to reach its id
)

// Refresh asks for a snapshot beside the running book, to audit the book and to learn more of its
// depth. It does nothing in a state other than Synced or while a refresh is under way.
//
// The Output that ends the refresh has an Audit. No Gap comes of a refresh, and no Update is missed
// or repeated by it.
func (s *Syncer) Refresh(now time.Time) Output {
	s.begin()
	if s.state == Synced && s.refresh.phase == idle {
		s.startRefresh(now)
	}
	return s.output(now)
}

func (s *Syncer) startRefresh(now time.Time) {
	s.stats.Refreshes++
	s.ask()
	s.fetches.want(now)
}

// ask begins to keep updates.
func (s *Syncer) ask() {
	r := &s.refresh
	r.phase, r.from = asking, s.book.lastID
	r.kept.clear()
}

// keep lets a refresh have its part of an update that the book took.
func (s *Syncer) keep(now time.Time, u *Update) {
	r := &s.refresh
	switch {
	case r.phase == catchingUp:
		s.followFresh(u)
		s.meet(now)
	case s.full(&r.kept, u):
		s.abandonRefresh(now, ErrRefreshOverflow)
	default:
		r.kept.add(now, u)
	}
}

// keepFirst lets a refresh have the first update of an instrument that had none. Nothing tells whether
// others came before it, so the chain of those kept begins with it, and a snapshot has to meet it.
func (s *Syncer) keepFirst(now time.Time, u *Update) {
	r := &s.refresh
	switch {
	case r.phase == asking:
		s.ask()
	case s.cfg.Continuity.judge(r.fresh.lastID, true, u) == gap:
		s.ask()
		s.stats.TooOld++
		s.refreshFailed(now, errTooOld)
	default:
		s.followFresh(u)
		s.meet(now)
	}
}

// join takes the snapshot of a refresh.
func (s *Syncer) join(now time.Time, snap *Snapshot) {
	r := &s.refresh
	if snap.LastID < r.from { // updates between it and the first one kept may be missing
		s.stats.TooOld++
		s.refreshFailed(now, errTooOld)
		return
	}
	r.fresh.Reset(snap)
	r.fresh.pruneGrown(s.cfg.MaxDepth)
	for ; r.kept.len() > 0; r.kept.next() {
		s.followFresh(&r.kept.first().Update)
	}
	r.kept.clear()
	r.phase = catchingUp
	r.until = now.Add(s.cfg.SnapshotTimeout)
	if s.cfg.SnapshotTimeout < 0 {
		r.until = now.Add(s.cfg.RetryMax)
	}
	s.meet(now)
}

// followFresh applies an update to the fresh book. It is one of an unbroken chain that begins at or
// before the snapshot's id, so it need not be judged: what the snapshot holds is left out, and what
// overlaps it is applied whole.
func (s *Syncer) followFresh(u *Update) {
	fresh := &s.refresh.fresh
	if u.LastID > fresh.lastID {
		fresh.Apply(u)
		fresh.pruneGrown(s.cfg.MaxDepth)
	}
}

// meet ends the refresh if both books stand at one id.
func (s *Syncer) meet(now time.Time) {
	r := &s.refresh
	if r.fresh.lastID != s.book.lastID {
		return
	}
	a := s.newAudit()
	a.settle(&s.book, &r.fresh)
	s.stats.noteAudit(a)
	if a.Swapped {
		snap := s.book.Snapshot()
		s.stats.Snapshots++
		s.events = append(s.events, Event{Snapshot: &snap})
	}
	s.fetches.succeeded()
	s.endRefresh(now)
}

// refreshFailed asks again after a while for a snapshot that is of use, or gives up. What is kept
// stays: where the venue's snapshots lag behind its updates, a later one reaches the first update kept.
func (s *Syncer) refreshFailed(now time.Time, cause error) {
	s.fetches.retry(now)
	if s.fetches.failures < maxRefreshTries {
		return
	}
	err := ErrRefreshFailed
	if cause != nil {
		err = fmt.Errorf("%w: %w", ErrRefreshFailed, cause)
	}
	s.abandonRefresh(now, err)
}

// abandonRefresh ends the refresh, if there is one, without an audit.
func (s *Syncer) abandonRefresh(now time.Time, cause error) {
	if s.refresh.phase == idle {
		return
	}
	s.newAudit().Err = cause
	s.stats.Abandoned++
	s.fetches.stop()
	s.endRefresh(now)
}

func (s *Syncer) endRefresh(now time.Time) {
	r := &s.refresh
	r.phase, r.fresh = idle, Book{}
	r.kept.clear()
	s.schedule(now)
	r.notBefore = now.Add(s.cfg.RetryMax)
}

// schedule sets when the next refresh begins by itself, after a sync or a refresh.
func (s *Syncer) schedule(now time.Time) {
	s.refresh.due, s.refresh.notBefore = time.Time{}, now
	if s.cfg.RefreshEvery > 0 {
		s.refresh.due = now.Add(s.cfg.RefreshEvery)
	}
}

// refreshIfDue begins a refresh that nobody asked for.
func (s *Syncer) refreshIfDue(now time.Time) {
	if at := s.nextRefresh(); !at.IsZero() && !now.Before(at) {
		s.startRefresh(now)
	}
}

// nextRefresh returns when a refresh is to begin by itself; zero if never, or if one is under way.
func (s *Syncer) nextRefresh() time.Time {
	r := &s.refresh
	if s.state != Synced || r.phase != idle || !s.cfg.refreshes() {
		return time.Time{}
	}
	if s.shallow() {
		return earliest(r.due, r.notBefore)
	}
	return r.due
}

// shallow tells whether less is known of a side than RefreshDepth demands.
func (s *Syncer) shallow() bool {
	n := s.cfg.RefreshDepth
	return n > 0 && !(s.book.KnowsTop(Bid, n) && s.book.KnowsTop(Ask, n))
}

// refreshTimeout gives up a snapshot that the updates do not reach. A symbol's next update may be
// long in coming where ids are shared by all symbols.
func (s *Syncer) refreshTimeout(now time.Time) {
	if s.refresh.phase == catchingUp && !now.Before(s.refresh.until) {
		s.ask()
		s.refreshFailed(now, ErrRefreshAhead)
	}
}

// refreshDeadline returns when the refresh has something to do besides its request.
func (s *Syncer) refreshDeadline() time.Time {
	if s.refresh.phase == catchingUp {
		return s.refresh.until
	}
	return s.nextRefresh()
}

// newAudit returns the Audit of this Output.
func (s *Syncer) newAudit() *Audit {
	s.audited = true
	s.audit.begin(s.book.lastID)
	return &s.audit
}
