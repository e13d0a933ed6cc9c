package orderbook

import (
	"cmp"
	"slices"
	"time"
	"unsafe"
)

// update applies an update to a synced book, or keeps it.
func (j *Joiner) update(u *Update, receivedAt time.Time) {
	j.stats.Received++
	invalid := u.Validate()
	switch {
	case invalid != nil:
		j.stats.Discarded++
		if j.state == Synced {
			j.lose(GapInvalid, invalid)
			j.takeAhead()
		}
	case j.state == Synced:
		j.follow(u, receivedAt)
	default:
		j.wait(u, receivedAt)
	}
}

// follow applies an update to a synced book, or ends the book if the update does not follow.
func (j *Joiner) follow(u *Update, receivedAt time.Time) {
	switch d := j.cfg.Continuity.decide(j.book.lastID, j.fresh, u); {
	case d == drop:
		j.stale++
		if j.cfg.MaxStale > 0 && j.stale >= j.cfg.MaxStale {
			j.lose(GapRegressed, &SequenceError{Want: j.book.lastID + 1, Got: u.FirstID})
			j.forget()
			j.keep(u, receivedAt)
			return
		}
		j.stats.Dropped++
	case d == gap, j.newborn() && j.ahead != nil: // a newborn book accepts any update, so it proves nothing
		j.lose(GapSequence, j.cfg.Continuity.sequenceError(j.book.lastID, u))
		j.keep(u, receivedAt)
		j.takeAhead()
	default:
		j.apply(u, receivedAt)
		if j.ahead != nil && u.LastID >= j.ahead.LastID {
			j.meet(u)
		}
	}
}

// newborn reports whether the book is that of an instrument that never had an update.
func (j *Joiner) newborn() bool { return j.fresh && j.book.lastID == noID }

func (j *Joiner) apply(u *Update, receivedAt time.Time) {
	j.book.Apply(u)
	j.book.pruneGrown(j.cfg.MaxDepth)
	j.fresh = false
	j.stale = 0
	j.stats.Applied++
	j.events = append(j.events, Event{Update: u, ReceivedAt: receivedAt})
}

// meet compares the book, which u has brought to the id of the snapshot ahead or beyond it, with that snapshot
// after u.
func (j *Joiner) meet(u *Update) {
	var other Book
	other.Reset(j.ahead)
	if u.LastID > j.ahead.LastID {
		other.Apply(u)
	}
	j.ahead = nil
	if j.compare(&other) {
		j.emitBook()
	}
}

// compare audits the book against another one of the same id and keeps the better sides of both. It
// reports whether the book changed.
func (j *Joiner) compare(other *Book) (changed bool) {
	other.pruneGrown(j.cfg.MaxDepth)
	j.audited = true
	j.audit.begin(j.book.lastID)
	j.audit.run(j.book, other)
	j.stats.countAudit(&j.audit)
	return j.audit.Swapped
}

// emitBook emits the book as it is.
func (j *Joiner) emitBook() {
	snap := j.book.Snapshot()
	j.stats.Snapshots++
	j.events = append(j.events, Event{Snapshot: &snap})
}

// wait keeps an update until a snapshot comes or, if the book is resumable, the updates before it.
func (j *Joiner) wait(u *Update, receivedAt time.Time) {
	j.keep(u, receivedAt)
	switch {
	case j.resumable && j.pending.complete(j.cfg.Continuity, j.book.lastID):
		j.synced()
		j.emitBook()
		j.drain()
	case j.ahead != nil && j.cfg.Continuity.decide(j.ahead.LastID, true, u) == apply:
		j.takeAhead()
	}
}

func (j *Joiner) keep(u *Update, receivedAt time.Time) {
	if !j.pending.add(u, receivedAt) {
		j.stats.Dropped++
		return
	}
	for j.pending.exceeds(j.cfg.MaxPending, j.cfg.MaxPendingBytes) {
		n := 1 + len(j.pending.byID)/8 // several at once, since all others move
		j.pending.remove(n)
		j.stats.Discarded += uint64(n)
		if !j.overflowed {
			j.overflowed = true
			j.lose(GapOverflow, nil)
		}
	}
}

// snapshot decides whether a snapshot becomes the book.
func (j *Joiner) snapshot(s *Snapshot) {
	last, invalid := j.book.lastID, s.Validate()
	switch {
	case invalid != nil:
		if j.state == Synced {
			j.lose(GapInvalid, invalid)
		}
	case j.state == Buffering && j.resumable && s.LastID < last && j.cfg.Replace:
		j.refuse(s)
	case j.state == Buffering && j.resumable && s.LastID < last && len(j.pending.byID) == 0:
		// It may be late: then an update that follows the book decides. Or ids have gone back.
		j.ahead = s.Clone()
	case j.state == Buffering:
		j.install(s)
	case s.LastID < last: // late: the book has its updates already
	case j.cfg.Replace:
		if s.LastID > last {
			j.lose(GapSequence, &SequenceError{Want: last + 1, Got: s.LastID})
		}
		j.install(s)
	case s.LastID > last:
		j.ahead = s.Clone()
	default:
		var other Book
		other.Reset(s)
		if j.compare(&other) {
			j.emitBook()
		}
	}
}

// takeAhead makes the snapshot ahead the book, if there is one.
func (j *Joiner) takeAhead() {
	if s := j.ahead; s != nil {
		j.ahead = nil
		j.install(s)
	}
}

// install makes a snapshot the book and applies pending updates, unless some between the two are missing.
func (j *Joiner) install(s *Snapshot) {
	if !j.pending.follows(j.cfg.Continuity, s.LastID) {
		j.refuse(s)
		return
	}
	if j.resumable && s.LastID == j.book.lastID && !j.cfg.Replace {
		var other Book
		other.Reset(s)
		j.compare(&other)
		j.synced()
		j.emitBook()
	} else {
		j.book.Reset(s)
		j.book.pruneGrown(j.cfg.MaxDepth)
		j.fresh = true
		j.synced()
		j.stats.Snapshots++
		j.events = append(j.events, Event{Snapshot: s})
	}
	j.drain()
}

// synced enters state Synced.
func (j *Joiner) synced() {
	j.state, j.stale, j.ahead, j.overflowed = Synced, 0, nil, false
}

// drain applies pending updates, up to the first that does not follow.
func (j *Joiner) drain() {
	n := 0
	for _, u := range j.pending.byID {
		d := j.cfg.Continuity.decide(j.book.lastID, j.fresh, &u.Update)
		if d == gap {
			j.pending.remove(n)
			j.loseAt(&u.Update)
			return
		}
		if n++; d == drop {
			j.stats.Dropped++
		} else {
			j.apply(&u.Update, u.receivedAt)
		}
	}
	j.pending.remove(n)
	j.tooOld = 0
}

// loseAt ends the book where u, the first pending update that is not applied, does not follow it. If that happens
// to one snapshot after the other, u is from before the venue's ids went back.
func (j *Joiner) loseAt(u *Update) {
	if j.tooOld++; j.tooOld < maxTooOld {
		j.lose(GapSequence, j.cfg.Continuity.sequenceError(j.book.lastID, u))
		return
	}
	j.tooOld = 0
	j.discard()
}

// refuse leaves out a snapshot that is too old. If several in a row are, the pending updates or the book that they
// are compared with are from before the venue's ids went back.
func (j *Joiner) refuse(s *Snapshot) {
	j.stats.TooOld++
	j.tooOld++
	if j.tooOld >= maxTooOld {
		j.lose(GapRegressed, nil)
		j.forget()
		j.install(s)
	}
}

// countOld counts a record from before ids went back, which is left out.
func (j *Joiner) countOld(e Event) {
	if e.Update == nil {
		j.stats.TooOld++
		return
	}
	j.stats.Received++
	j.stats.Discarded++
}

// missed applies the Gap record of a collector. Another collector may still have the book.
func (j *Joiner) missed(g *Gap, receivedAt time.Time) {
	switch {
	case g.Reason == GapRegressed && j.state == Synced && j.ended == g.After && j.book.lastID < g.After:
		// The collectors followed one exchange, so the ids of both ended where they went back.
	case g.Reason == GapRegressed:
		j.ended = g.After
		if j.state == Synced {
			j.lose(g.Reason, g.Err)
		}
		j.forget()
		j.floor = receivedAt
	case j.state == Synced && g.After >= j.book.lastID:
		if j.ahead != nil && j.ahead.LastID <= g.After {
			j.ahead = nil
		}
		j.lose(g.Reason, g.Err)
		j.takeAhead()
	case j.state == Buffering && g.Reason == GapRemoved:
		j.forget() // pending updates are from before the symbol comes back
	}
}

// lose emits a Gap. Pending updates may refute it.
func (j *Joiner) lose(reason GapReason, cause error) {
	j.state, j.resumable = Buffering, j.state == Synced || j.resumable
	j.stats.Gaps++
	j.events = append(j.events, Event{Gap: &Gap{After: j.book.lastID, Reason: reason, Err: cause}})
}

// forget discards pending updates and lets the next snapshot begin the book, whatever its id.
func (j *Joiner) forget() {
	j.discard()
	j.ahead, j.resumable, j.tooOld = nil, false, 0
}

func (j *Joiner) discard() {
	n := len(j.pending.byID)
	j.stats.Discarded += uint64(n)
	j.pending.remove(n)
}

// pendingUpdates keeps copies of updates by id until the updates before them come, or a snapshot.
type pendingUpdates struct {
	byID []*pendingUpdate // by FirstID, then LastID
	used []*pendingUpdate // removed, but valid until recycle
	free []*pendingUpdate
	size int // bytes of byID
}

// A pendingUpdate has the levels of both sides in memory of its own.
type pendingUpdate struct {
	Update
	receivedAt time.Time
	levels     []Level
}

func (u *pendingUpdate) bytes() int {
	return len(u.levels)*int(unsafe.Sizeof(Level{})) + int(unsafe.Sizeof(*u))
}

// add keeps a copy of u, unless it has one. It reports whether it had none.
func (p *pendingUpdates) add(u *Update, receivedAt time.Time) bool {
	at := len(p.byID) // nearly every update is the newest
	for at > 0 && compareIDs(&p.byID[at-1].Update, u) > 0 {
		at--
	}
	if at > 0 && compareIDs(&p.byID[at-1].Update, u) == 0 {
		return false
	}
	kept := new(pendingUpdate)
	if n := len(p.free); n > 0 {
		kept, p.free = p.free[n-1], p.free[:n-1]
	}
	kept.Update, kept.receivedAt = *u, receivedAt
	kept.levels = append(append(kept.levels[:0], u.Bids...), u.Asks...)
	asks := len(u.Bids)
	kept.Bids, kept.Asks = kept.levels[:asks:asks], kept.levels[asks:]
	p.byID = slices.Insert(p.byID, at, kept)
	p.size += kept.bytes()
	return true
}

func compareIDs(u, v *Update) int {
	return cmp.Or(cmp.Compare(u.FirstID, v.FirstID), cmp.Compare(u.LastID, v.LastID))
}

func (p *pendingUpdates) exceeds(updates, bytes int) bool {
	return len(p.byID) > updates || p.size > bytes
}

// remove removes the first n. They are valid until recycle.
func (p *pendingUpdates) remove(n int) {
	for _, u := range p.byID[:n] {
		p.size -= u.bytes()
	}
	p.used = append(p.used, p.byID[:n]...)
	p.byID = slices.Delete(p.byID, 0, n)
}

// maxFree bounds the removed updates whose memory is reused.
const maxFree = 8

// recycle makes the memory of removed updates available for reuse.
func (p *pendingUpdates) recycle() {
	if len(p.used) == 0 {
		return
	}
	p.free = append(p.free, p.used[:min(len(p.used), maxFree-len(p.free))]...)
	clear(p.used)
	p.used = p.used[:0]
	if len(p.byID) == 0 && cap(p.byID) > maxFree {
		p.byID, p.used = nil, nil
	}
}

// follows reports whether the pending updates beyond a snapshot of that id follow it; true if there are
// none.
func (p *pendingUpdates) follows(c Continuity, id int64) bool {
	for _, u := range p.byID {
		if d := c.decide(id, true, &u.Update); d != drop {
			return d == apply
		}
	}
	return true
}

// complete reports whether the pending updates lead on from an id with none missing.
func (p *pendingUpdates) complete(c Continuity, id int64) bool {
	from := id
	for _, u := range p.byID {
		if u.LastID <= id {
			continue
		}
		if !c.Follows(id, &u.Update) {
			return false
		}
		id = u.LastID
	}
	return id > from
}
