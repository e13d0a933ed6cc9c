package orderbook

import "time"

// updateSynced applies an update to a synced book, or ends the book if the update does not follow.
func (s *Syncer) updateSynced(now, receivedAt time.Time, u *Update) {
	switch s.cfg.Continuity.decide(s.book.lastID, s.fresh, u) {
	case apply:
		first := s.fresh && s.book.lastID == noID
		s.apply(receivedAt, u)
		switch {
		case s.refresh.phase == idle:
		case first:
			s.refreshFirst(now, u)
		default:
			s.refreshUpdate(now, u)
		}
	case drop:
		s.stale++
		if s.cfg.MaxStale > 0 && s.stale >= s.cfg.MaxStale {
			s.restart(now, GapRegressed, &SequenceError{Want: s.book.lastID + 1, Got: u.FirstID})
			s.pending.add(receivedAt, u)
			return
		}
		s.stats.Dropped++
	case gap:
		// The connection is sound, only this symbol lost an update: buffering begins with the
		// update that showed it, and a new snapshot of this symbol alone is enough.
		s.restart(now, GapSequence, s.cfg.Continuity.sequenceError(s.book.lastID, u))
		s.pending.add(receivedAt, u)
	}
}

func (s *Syncer) apply(receivedAt time.Time, u *Update) {
	s.book.Apply(u)
	s.book.pruneGrown(s.cfg.MaxDepth)
	s.fresh, s.begun = false, true
	s.stale = 0
	s.stats.Applied++
	s.events = append(s.events, Event{Update: u, ReceivedAt: receivedAt})
}

// addPending keeps an update until the snapshot comes.
func (s *Syncer) addPending(now, receivedAt time.Time, u *Update) {
	if s.full(&s.pending, u) {
		s.restart(now, GapOverflow, nil)
	}
	s.pending.add(receivedAt, u)
}

// full reports whether a buffer has no room for u.
func (s *Syncer) full(b *buffer, u *Update) bool {
	return b.len() >= s.cfg.MaxBuffered || b.bytes(u) > s.cfg.MaxBufferedBytes
}

// install makes the snapshot the book and applies the pending updates to it.
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

	for s.pending.len() > 0 {
		u := s.pending.first()
		switch s.cfg.Continuity.decide(s.book.lastID, s.fresh, &u.Update) {
		case apply:
			s.apply(u.receivedAt, &u.Update)
		case drop:
			s.stats.Dropped++
		case gap:
			s.emitGap(GapSequence, s.cfg.Continuity.sequenceError(s.book.lastID, &u.Update))
			s.state = Buffering
			s.fetches.retry(now)
			return // u and the updates after it wait for the next snapshot
		}
		s.pending.next()
	}
	s.pending.clear() // the memory that events point to stays until the next call
	s.fetches.succeeded()
	s.scheduleRefresh(now)
}

// mayBeTooOld reports whether updates may be missing between the snapshot and the first pending one.
//
// Binance spot: "If the lastUpdateId from the snapshot is strictly less than the U from step 2, go
// back to step 3." With lastUpdateId == U-1 nothing is missing, so the snapshot is good.
func (s *Syncer) mayBeTooOld(snap *Snapshot) bool {
	if s.fetches.doubtful || s.begun && snap.LastID == noID {
		return true
	}
	return s.pending.len() > 0 && s.cfg.Continuity.decide(snap.LastID, true, &s.pending.first().Update) == gap
}

// fetchFailed schedules another request after one without a snapshot.
func (s *Syncer) fetchFailed(now time.Time, cause error) {
	if s.state == Synced {
		s.refreshFailed(now, cause)
		return
	}
	s.fetches.retry(now)
}

// refuse requests a newer snapshot and keeps the pending updates. If no snapshot reaches the first of
// them, that update is from before the venue's ids went back, and waiting for it would never end.
func (s *Syncer) refuse(now time.Time) {
	s.stats.TooOld++
	s.tooOld++
	if s.tooOld >= maxTooOld {
		s.restart(now, GapRegressed, nil)
		return
	}
	s.fetches.retry(now)
}

// restart ends the book, discards pending updates, since some after them are missing, and requests a
// snapshot.
func (s *Syncer) restart(now time.Time, reason GapReason, cause error) {
	s.emitGap(reason, cause)
	s.abandonRefresh(now, ErrRefreshLost)
	s.discardPending()
	s.state, s.tooOld = Buffering, 0
	s.begun = s.begun && reason != GapRegressed
	s.fetches.want(now)
}

// restartInDoubt is restart after the loss of updates with unknown ids: a snapshot that was requested
// before may be older than they are.
func (s *Syncer) restartInDoubt(now time.Time, reason GapReason, cause error) {
	s.fetches.doubt()
	s.restart(now, reason, cause)
}

func (s *Syncer) emitGap(reason GapReason, cause error) {
	s.stats.Gaps++
	s.gap = Gap{After: s.book.lastID, Reason: reason, Err: cause}
	s.events = append(s.events, Event{Gap: &s.gap})
}

func (s *Syncer) discardPending() {
	s.begun = s.begun || s.pending.len() > 0
	s.stats.Discarded += uint64(s.pending.len())
	s.pending.clear()
}
