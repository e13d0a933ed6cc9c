package orderbook

import (
	"cmp"
	"slices"
	"time"
	"unsafe"
)

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
