package orderbook

import "time"

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

// refreshes tells whether refreshes begin by themselves.
func (cfg *SyncerConfig) refreshes() bool { return cfg.RefreshEvery > 0 || cfg.RefreshDepth > 0 }

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

// earliest returns the earlier of two times, of which a zero one is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
