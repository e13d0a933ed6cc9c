package orderbook

import "time"

// A Syncer keeps one instrument's book in sync with the exchange: it joins a stream of updates with
// a snapshot and proves by their ids that none is missing. It does no IO, reads no clock and
// starts no goroutine: the caller reports each event with its time, and carries out the Output.
//
// Between a Snapshot event and the next Gap event, applying every Update event to a Book seeded by
// that Snapshot gives exactly Book(); outside such a span no Update is emitted. With MaxDepth, Book()
// is that book pruned, and the same within its known depth. A Snapshot event that follows another
// without a Gap has the id of the Update before it: it is the result of a refresh.
//
// A Syncer is not safe for concurrent use. Its time must not go backwards.
type Syncer struct {
	cfg   SyncerConfig
	state State
	book  *Book
	fresh bool // no update was applied since the snapshot
	stale int  // updates in a row that the book had already
	begun bool // the instrument has had an update that is not pending, so that a snapshot -1 is too old

	pending buffer // updates that wait for a snapshot
	fetches fetchTimer
	tooOld  int // snapshots in a row that were older than the first pending update

	refresh refresh

	events  []Event
	gap     Gap
	audit   Audit
	audited bool // audit belongs to the Output
	stats   SyncerStats
}

// NewSyncer returns a Syncer in state Offline. It fails if cfg is contradictory.
func NewSyncer(cfg SyncerConfig) (*Syncer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Syncer{cfg: cfg, book: new(Book), fetches: fetchTimer{cfg: cfg}}, nil
}

// State returns how far Book can be trusted.
func (s *Syncer) State() State { return s.state }

// Book returns the book, which may be read until the next call. It is the exchange's only while State
// is Synced; otherwise it is the last one that was synced.
func (s *Syncer) Book() *Book { return s.book }

// Detach replaces Book() by a copy of it. The book that Book() returned before does not change any more, so its
// readers need not be waited for.
func (s *Syncer) Detach() { s.book = s.book.Clone() }

// Stats returns the counters.
func (s *Syncer) Stats() SyncerStats {
	stats := s.stats
	stats.Buffered = s.pending.len()
	stats.Kept = s.refresh.kept.len()
	return stats
}

// Deadline returns when to call Tick; zero if nothing is timed. Any call may change it.
func (s *Syncer) Deadline() time.Time {
	return earliest(s.fetches.deadline(), s.refreshDeadline())
}

// Connected says that updates come from now on. The Output requests a snapshot. In a state
// other than Offline it does nothing.
func (s *Syncer) Connected(now time.Time) Output {
	s.begin()
	if s.state == Offline {
		s.state = Buffering
		s.fetches.want(now)
	}
	return s.output(now)
}

// Disconnected says that no more updates come. A synced book ends with a Gap.
func (s *Syncer) Disconnected(now time.Time, cause error) Output {
	s.begin()
	if s.state == Synced {
		s.emitGap(GapDisconnect, cause)
	}
	s.abandonRefresh(now, ErrRefreshLost)
	s.discardPending()
	s.state, s.begun = Offline, false
	s.fetches.stop()
	return s.output(now)
}

// Update takes the next update of the feed, received now. It is not kept; the Output may point to it.
func (s *Syncer) Update(now time.Time, u *Update) Output { return s.UpdateReceived(now, now, u) }

// UpdateReceived is Update for a driver that queues updates. The Event with u has receivedAt, which may be
// of another clock than now.
func (s *Syncer) UpdateReceived(now, receivedAt time.Time, u *Update) Output {
	s.begin()
	s.stats.Received++
	invalid := u.Validate()
	switch {
	case s.state == Offline:
		s.stats.Discarded++
	case invalid != nil:
		s.stats.Discarded++
		s.restartInDoubt(now, GapInvalid, invalid)
	case s.state == Synced:
		s.updateSynced(now, receivedAt, u)
	default:
		s.addPending(now, receivedAt, u)
	}
	return s.output(now)
}

// Snapshot answers the Fetch with that id; an answer to any other is ignored. One that is not valid counts as
// failed. snap is not kept; the Output may point to it.
func (s *Syncer) Snapshot(now time.Time, id FetchID, snap *Snapshot) Output {
	s.begin()
	invalid := snap.Validate()
	switch {
	case !s.fetches.answered(id):
	case invalid != nil:
		s.fetchFailed(now, invalid)
	case s.state == Synced:
		s.joinFresh(now, snap)
	default:
		s.install(now, snap)
	}
	return s.output(now)
}

// SnapshotFailed says that the Fetch with that id gave no snapshot. The Syncer repeats it after a delay.
func (s *Syncer) SnapshotFailed(now time.Time, id FetchID, cause error) Output {
	s.begin()
	if s.fetches.answered(id) {
		s.fetchFailed(now, cause)
	}
	return s.output(now)
}

// Resync says that the driver lost data of this instrument: a full queue, an update that could not be
// decoded. The book starts again from a new snapshot. g.After is ignored.
func (s *Syncer) Resync(now time.Time, g Gap) Output {
	s.begin()
	if s.state != Offline {
		s.restartInDoubt(now, g.Reason, g.Err)
	}
	return s.output(now)
}

// Tick lets time pass: requests time out or become due, and refreshes begin. Call it at Deadline;
// calling it more often does no harm.
func (s *Syncer) Tick(now time.Time) Output {
	s.begin()
	if s.fetches.expired(now) {
		s.fetchFailed(now, errNoAnswer)
	}
	s.refreshTimeout(now)
	return s.output(now)
}

// begin clears the last Output, pointers included, since they would keep a whole buffer alive.
func (s *Syncer) begin() {
	clear(s.events)
	s.events = s.events[:0]
	s.audited = false
}

func (s *Syncer) output(now time.Time) Output {
	if s.cfg.refreshes() {
		s.refreshIfDue(now)
	}
	out := Output{Events: s.events, Fetch: s.fetches.start(now)}
	if s.audited {
		out.Audit = &s.audit
	}
	if out.Fetch != 0 {
		s.stats.Fetches++
	}
	return out
}
