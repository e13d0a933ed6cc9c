package orderbook

import (
	"errors"
	"fmt"
	"time"
)

// The reasons why a refresh ends without an audit. The running book is unaffected.
var (
	// ErrRefreshLost: the book ended with a Gap meanwhile.
	ErrRefreshLost = errors.New("orderbook: the book was lost during its refresh")
	// ErrRefreshOverflow: more updates came than MaxBuffered and MaxBufferedBytes allow.
	ErrRefreshOverflow = errors.New("orderbook: too many updates during a refresh")
	// ErrRefreshFailed: no usable snapshot came; the error wraps the cause of the last failure.
	ErrRefreshFailed = errors.New("orderbook: no usable snapshot for a refresh")
	// ErrRefreshAhead: the snapshots were newer than the book, and its updates did not reach their ids in time. It is
	// wrapped in ErrRefreshFailed. Where the ids are the instrument's own, the book's stream lost updates.
	ErrRefreshAhead = errors.New("the updates did not reach its id in time")
)

var (
	errNoAnswer = errors.New("no answer in time")
	errTooOld   = errors.New("it is older than the request")
)

// maxRefreshTries is how many unusable snapshots in a row end a refresh.
const maxRefreshTries = 8

// A refresh builds a second book beside the running one. From its beginning it keeps every update
// that the book applies. With them, a snapshot of an id since then can be brought to the book's id, where
// the two books are compared and the better sides kept.
type refresh struct {
	phase refreshPhase
	from  int64  // the book's id when keeping began
	kept  buffer // the updates applied since
	fresh Book   // in phase catchingUp: the snapshot with the updates that followed it

	until     time.Time // in phase catchingUp: when to give fresh up
	due       time.Time // in phase idle: when RefreshEvery begins the next; zero if never
	notBefore time.Time // in phase idle: when RefreshDepth may begin the next
}

type refreshPhase uint8

const (
	idle       refreshPhase = iota
	asking                  // for a snapshot
	catchingUp              // the snapshot is newer than the book, which has to reach its id
)

// Refresh requests a snapshot beside the running book, to audit the book and to extend its known
// depth. It does nothing in a state other than Synced or during a refresh.
//
// The Output that ends the refresh has an Audit. A refresh makes no Gap, and no Update is missed or
// repeated because of it.
func (s *Syncer) Refresh(now time.Time) Output {
	s.begin()
	if s.state == Synced && s.refresh.phase == idle {
		s.startRefresh(now)
	}
	return s.output(now)
}

func (s *Syncer) startRefresh(now time.Time) {
	s.stats.Refreshes++
	s.keepFromHere()
	s.fetches.want(now)
}

// keepFromHere drops the kept updates and keeps those from the book's present id on.
func (s *Syncer) keepFromHere() {
	r := &s.refresh
	r.phase, r.from = asking, s.book.lastID
	r.kept.clear()
}

// refreshUpdate passes an update that the book applied on to the refresh.
func (s *Syncer) refreshUpdate(now time.Time, u *Update) {
	r := &s.refresh
	switch {
	case r.phase == catchingUp:
		s.applyFresh(u)
		s.compareAtSameID(now)
	case s.full(&r.kept, u):
		s.abandonRefresh(now, ErrRefreshOverflow)
	default:
		r.kept.add(now, u)
	}
}

// refreshFirst passes the first update of an instrument that had none on to the refresh. No id shows
// whether others came before it, so the chain of kept updates begins with it, and a snapshot must reach it.
func (s *Syncer) refreshFirst(now time.Time, u *Update) {
	r := &s.refresh
	switch {
	case r.phase == asking:
		s.keepFromHere()
	case s.cfg.Continuity.decide(r.fresh.lastID, true, u) == gap:
		s.keepFromHere()
		s.stats.TooOld++
		s.refreshFailed(now, errTooOld)
	default:
		s.applyFresh(u)
		s.compareAtSameID(now)
	}
}

// joinFresh makes the snapshot of a refresh the fresh book and applies the kept updates to it.
func (s *Syncer) joinFresh(now time.Time, snap *Snapshot) {
	r := &s.refresh
	if snap.LastID < r.from { // updates between it and the first one kept may be missing
		s.stats.TooOld++
		s.refreshFailed(now, errTooOld)
		return
	}
	r.fresh.Reset(snap)
	r.fresh.pruneGrown(s.cfg.MaxDepth)
	for ; r.kept.len() > 0; r.kept.next() {
		s.applyFresh(&r.kept.first().Update)
	}
	r.kept.clear()
	r.phase = catchingUp
	r.until = now.Add(s.cfg.SnapshotTimeout)
	if s.cfg.SnapshotTimeout < 0 {
		r.until = now.Add(s.cfg.RetryMax)
	}
	s.compareAtSameID(now)
}

// applyFresh applies an update to the fresh book, unless that has it already. The update is one of an
// unbroken chain that begins at or before the snapshot's id, so no other decision is possible.
func (s *Syncer) applyFresh(u *Update) {
	fresh := &s.refresh.fresh
	if u.LastID > fresh.lastID {
		fresh.Apply(u)
		fresh.pruneGrown(s.cfg.MaxDepth)
	}
}

// compareAtSameID compares the two books and ends the refresh if they are at one update id.
func (s *Syncer) compareAtSameID(now time.Time) {
	r := &s.refresh
	if r.fresh.lastID != s.book.lastID {
		return
	}
	a := s.newAudit()
	a.run(s.book, &r.fresh)
	s.stats.countAudit(a)
	if a.Swapped {
		snap := s.book.Snapshot()
		s.stats.Snapshots++
		s.events = append(s.events, Event{Snapshot: &snap})
	}
	s.fetches.succeeded()
	s.endRefresh(now)
}

// refreshFailed requests another snapshot after a while, or gives up. The kept updates stay: where the
// venue's snapshots lag behind its updates, a later one reaches the first of them.
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
	s.scheduleRefresh(now)
	r.notBefore = now.Add(s.cfg.RetryMax)
}

// scheduleRefresh sets when the next refresh begins by itself, after a sync or a refresh.
func (s *Syncer) scheduleRefresh(now time.Time) {
	s.refresh.due, s.refresh.notBefore = time.Time{}, now
	if s.cfg.RefreshEvery > 0 {
		s.refresh.due = now.Add(s.cfg.RefreshEvery)
	}
}

// refreshIfDue begins a refresh by RefreshEvery or RefreshDepth.
func (s *Syncer) refreshIfDue(now time.Time) {
	if at := s.nextRefresh(); !at.IsZero() && !now.Before(at) {
		s.startRefresh(now)
	}
}

// nextRefresh returns when a refresh begins by itself; zero if never, or during one.
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

// shallow reports whether the known depth of a side is less than RefreshDepth.
func (s *Syncer) shallow() bool {
	n := s.cfg.RefreshDepth
	return n > 0 && !s.book.KnowsTops(n)
}

// refreshTimeout gives up a snapshot that the updates do not reach. Where all symbols share the ids, the
// next update of this one may take long.
func (s *Syncer) refreshTimeout(now time.Time) {
	if s.refresh.phase == catchingUp && !now.Before(s.refresh.until) {
		s.keepFromHere()
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

// An Audit is the result of a refresh: the comparison of the running book with a fresh one, made
// from a snapshot and the updates since, at one update id.
type Audit struct {
	LastID int64 // the update id of the book, and of the comparison
	Err    error // not nil if nothing was compared: one of ErrRefreshLost, ErrRefreshOverflow, ErrRefreshFailed

	// Compared counts the levels, of both sides, that either book has within the depth known to both;
	// Different counts those of them that are not equal.
	Compared, Different int
	// Differences are the first 32 of them: bids, then asks, each best first.
	Differences []Difference

	// Swapped reports that fresh sides replaced running ones, because the books differed or the fresh
	// ones are known further. The new book is the Snapshot event of the same Output.
	Swapped bool
}

// maxDifferences bounds the list in an Audit.
const maxDifferences = 32

// A Difference is one level on which two books of one update id do not agree.
type Difference struct {
	Side       Side
	Price      Fixed
	Had, Fresh Fixed // quantities in the running and in the fresh book; 0 for no level
}

// begin clears a for a book at an update id. It keeps the memory of the list.
func (a *Audit) begin(id int64) { *a = Audit{LastID: id, Differences: a.Differences[:0]} }

// run compares a book with a fresh one of the same id and replaces sides of it by fresh ones: both if the
// book is wrong, since its other levels may be wrong as well; otherwise those that are known further.
func (a *Audit) run(book, fresh *Book) {
	a.compare(Bid, &book.bids, &fresh.bids)
	a.compare(Ask, &book.asks, &fresh.asks)
	for _, side := range [...]Side{Bid, Ask} {
		if a.Different > 0 || fresh.side(side).deeper(book.side(side)) {
			*book.side(side) = *fresh.side(side)
			a.Swapped = true
		}
	}
}

// compare compares one side of two books, best first, down to the depth known to both.
func (a *Audit) compare(side Side, running, fresh *ladder) {
	had, now := running.knownToBoth(fresh), fresh.knownToBoth(running)
	for len(had) > 0 || len(now) > 0 {
		d := Difference{Side: side}
		d.Price = betterPrice(had, now, running.order)
		had, d.Had = popPrice(had, d.Price)
		now, d.Fresh = popPrice(now, d.Price)
		a.add(d)
	}
}

// betterPrice returns the better of the best prices of two lists, each best last, that are not both empty.
func betterPrice(a, b []Level, order Fixed) Fixed {
	switch {
	case len(a) == 0:
		return b[len(b)-1].Price
	case len(b) == 0:
		return a[len(a)-1].Price
	}
	return max(a[len(a)-1].Price^order, b[len(b)-1].Price^order) ^ order
}

// popPrice removes the best level of a list if it has that price, and returns its quantity.
func popPrice(levels []Level, price Fixed) (rest []Level, quantity Fixed) {
	last := len(levels) - 1
	if last < 0 || levels[last].Price != price {
		return levels, 0
	}
	return levels[:last], levels[last].Quantity
}

// add counts a pair of levels, and lists it if they differ.
func (a *Audit) add(d Difference) {
	a.Compared++
	if d.Had == d.Fresh {
		return
	}
	a.Different++
	if len(a.Differences) < maxDifferences {
		a.Differences = append(a.Differences, d)
	}
}
