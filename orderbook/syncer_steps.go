package orderbook

import "time"

// follow applies an update to a synced book, or finds that it does not follow.
func (s *Syncer) follow(now, receivedAt time.Time, u *Update) {
	switch s.cfg.Continuity.judge(s.book.lastID, s.fresh, u) {
	case apply:
		newborn := s.fresh && s.book.lastID == noID
		s.apply(receivedAt, u)
		switch {
		case s.refresh.phase == idle:
		case newborn:
			s.keepFirst(now, u)
		default:
			s.keep(now, u)
		}
	case drop:
		s.stale++
		if s.cfg.MaxStale > 0 && s.stale >= s.cfg.MaxStale {
			s.restart(now, GapRegressed, &SequenceError{Want: s.book.lastID + 1, Got: u.FirstID})
			s.waiting.add(receivedAt, u)
			return
		}
		s.stats.Dropped++
	case gap:
		// The connection is sound, only this symbol lost something: buffering goes on from the
		// update that showed it, and a snapshot of this symbol alone mends it.
		s.restart(now, GapSequence, s.cfg.Continuity.sequenceError(s.book.lastID, u))
		s.waiting.add(receivedAt, u)
	}
}

func (s *Syncer) apply(receivedAt time.Time, u *Update) {
	s.book.Apply(u)
	s.book.pruneGrown(s.cfg.MaxDepth)
	s.fresh = false
	s.stale = 0
	s.stats.Applied++
	s.events = append(s.events, Event{Update: u, ReceivedAt: receivedAt})
}

// wait keeps an update until the snapshot is there.
func (s *Syncer) wait(now, receivedAt time.Time, u *Update) {
	if s.full(&s.waiting, u) {
		s.restart(now, GapOverflow, nil)
	}
	s.waiting.add(receivedAt, u)
}

// full tells whether u is more than a buffer may hold.
func (s *Syncer) full(b *buffer, u *Update) bool {
	return b.len() >= s.cfg.MaxBuffered || b.bytes(u) > s.cfg.MaxBufferedBytes
}

// install makes the snapshot the book and applies what has waited for it.
func (s *Syncer) install(now time.Time, snap *Snapshot) {
	if s.mayBeTooOld(snap) {
		s.refuse(now)
		return
	}
	s.book.Reset(snap)
	s.book.pruneGrown(s.cfg.MaxDepth)
	s.state, s.fresh, s.stale, s.tooOld = Synced, true, 0, 0
	s.stats.Snapshots++
	s.events = append(s.events, Event{Snapshot: snap})

	for s.waiting.len() > 0 {
		first := s.waiting.first()
		u := &first.Update
		switch s.cfg.Continuity.judge(s.book.lastID, s.fresh, u) {
		case apply:
			s.apply(first.receivedAt, u)
		case drop:
			s.stats.Dropped++
		case gap:
			s.lose(GapSequence, s.cfg.Continuity.sequenceError(s.book.lastID, u))
			s.state = Buffering
			s.fetches.retry(now)
			return // the updates from u on wait for the next snapshot
		}
		s.waiting.next()
	}
	s.waiting.clear() // what the events point to stays until the next call
	s.fetches.succeeded()
	s.schedule(now)
}

// mayBeTooOld tells whether updates are, or may be, missing between the snapshot and the first one
// that waits.
//
// Binance spot: "If the lastUpdateId from the snapshot is strictly less than the U from step 2, go
// back to step 3." With lastUpdateId == U-1 nothing is missing, so it need not be asked for again.
func (s *Syncer) mayBeTooOld(snap *Snapshot) bool {
	if s.fetches.doubtful {
		return true
	}
	return s.waiting.len() > 0 && s.cfg.Continuity.judge(snap.LastID, true, &s.waiting.first().Update) == gap
}

// fetchFailed asks again after a while for a snapshot that did not come.
func (s *Syncer) fetchFailed(now time.Time, cause error) {
	if s.state == Synced {
		s.refreshFailed(now, cause)
		return
	}
	s.fetches.retry(now)
}

// refuse asks for a newer snapshot and keeps what waits. If none ever reaches the first waiting
// update, that update is from before the venue's ids went back, and waiting for it would never end.
func (s *Syncer) refuse(now time.Time) {
	s.stats.TooOld++
	s.tooOld++
	if s.tooOld >= maxTooOld {
		s.restart(now, GapRegressed, nil)
		return
	}
	s.fetches.retry(now)
}

// restart begins the search for a snapshot anew, without what waited so far: something after it is
// missing.
func (s *Syncer) restart(now time.Time, reason GapReason, cause error) {
	s.lose(reason, cause)
	s.abandonRefresh(now, ErrRefreshLost)
	s.discardWaiting()
	s.state, s.tooOld = Buffering, 0
	s.fetches.want(now)
}

// missed is restart after the loss of updates whose ids are not known.
func (s *Syncer) missed(now time.Time, reason GapReason, cause error) {
	s.fetches.doubt()
	s.restart(now, reason, cause)
}

// lose emits a Gap.
func (s *Syncer) lose(reason GapReason, cause error) {
	s.stats.Gaps++
	s.gap = Gap{After: s.book.lastID, Reason: reason, Err: cause}
	s.events = append(s.events, Event{Gap: &s.gap})
}

func (s *Syncer) discardWaiting() {
	s.stats.Discarded += uint64(s.waiting.len())
	s.waiting.clear()
}
