package chstore

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/marketprism/marketprism"
)

// A bookStart is what the book at a moment is built from.
type bookStart struct {
	at       moment
	last     marketprism.Record // the last update before the moment, without its levels; the zero Record if there is none
	snapshot marketprism.Record // without its levels
	found    bool               // there is a snapshot
	from     time.Time          // from which the updates after it are searched
	after    time.Time          // of the last update of an epoch that no collector saw end; zero if none is known
}

// The snapshots of which findStart asks for the times and ids at first: the newest ones up to some time after the
// moment. That is enough for a collector that stores up to six a minute and whose clock is right.
const (
	firstSnapshots = 128
	firstAhead     = lookBack + time.Minute
)

// findStart returns where the book at a time begins.
func (r *reader) findStart(ctx context.Context, t time.Time) (*bookStart, error) {
	askedEpochs := askEpochs(ctx, r.db, r.instrument)
	askedLast := r.lastUpdate(ctx, newScope(r.instrument, time.Time{}, t.Add(1)))
	ahead := t.Add(firstAhead)
	first := r.snapshotHeads(ctx, ahead, firstSnapshots).collect()
	all, epochErr := epochsOf(askedEpochs)
	last, moved, lastErr := askedLast.one()
	heads, err := first.wait()
	if err = errors.Join(epochErr, lastErr, err); err != nil {
		return nil, err
	}
	at := moment{t, all, all.at(t)}
	if moved && all.of(&last) != at.epoch {
		last = marketprism.Record{}
		if last, moved, err = r.lastUpdate(ctx, at.upTo(r.instrument, time.Time{})).one(); err != nil {
			return nil, err
		}
	}
	c := startChoice{at: at, last: &last}
	decided := len(heads) < firstSnapshots
	for i := range heads {
		decided = c.add(&heads[i]) || decided
	}
	if until := last.ReceivedAt.Add(lookBack); !decided || moved && until.After(ahead) {
		if c, err = r.chooseAmongAll(ctx, startChoice{at: at, last: &last}, later(ahead, until)); err != nil {
			return nil, err
		}
	}
	start := &bookStart{at: at, last: last}
	if start.snapshot, start.found = c.snapshot(); !start.found {
		return start, nil
	}
	start.from = start.snapshot.Time()
	if moved && last.Time().Before(start.from) {
		start.from = last.Time()
	}
	start.from = start.from.Add(-lookBack)
	return start, nil
}

// lastUpdate asks for the last of the selected updates.
func (r *reader) lastUpdate(ctx context.Context, sc scope) *answer {
	return r.heads(ctx, depthTable, r.instrument, sc, "ORDER BY ts DESC, last_id DESC LIMIT 1")
}

// snapshotHeads asks for the times and ids of snapshots before a time, the newest first.
func (r *reader) snapshotHeads(ctx context.Context, before time.Time, limit int) *rowStream {
	return r.streamOf(ctx, nil, snapshotTable, r.instrument, headColumns, newScope(r.instrument, time.Time{}, before),
		"ORDER BY ts DESC, last_id DESC LIMIT "+strconv.Itoa(limit))
}

// chooseAmongAll chooses among as many snapshots as it needs.
func (r *reader) chooseAmongAll(ctx context.Context, c startChoice, before time.Time) (startChoice, error) {
	rows := r.snapshotHeads(ctx, before, math.MaxInt)
	defer rows.close()
	err := rows.each(func(rec *marketprism.Record, _ time.Time) bool {
		head := *rec
		return !c.add(&head)
	})
	return c, err
}

// lastOfEpoch returns the last update of an epoch that no collector saw end, among those after a time.
func (r *reader) lastOfEpoch(ctx context.Context, start *bookStart, after time.Time) (rec marketprism.Record, ok bool, err error) {
	until := start.last.Time().Add(-clockSkew)
	if start.last.Update == nil || !after.Before(until) {
		return rec, false, nil
	}
	sc := newScope(r.instrument, after.Add(1), until)
	start.at.epochs.addTo(&sc, start.at.epoch)
	sc.add("last_id >= {id:Int64}", "id", max(start.last.Update.LastID, start.snapshot.Snapshot.LastID))
	return r.lastUpdate(ctx, sc).one()
}

// ended reports whether an update is of an epoch that no collector saw end: see regressed.
func (s *bookStart) ended(rec *marketprism.Record) bool {
	return s.last.Update != nil && rec.Update.LastID >= s.last.Update.LastID && rec.Time().Before(s.last.Time().Add(-clockSkew))
}

// scope selects the rows of the snapshot.
func (s *bookStart) scope(i marketprism.Instrument) scope {
	t := s.snapshot.Time()
	sc := newScope(i, t, t.Add(1))
	s.at.epochs.addTo(&sc, s.at.epoch)
	sc.add("last_id = {id:Int64}", "id", s.snapshot.Snapshot.LastID)
	return sc
}

// A startChoice chooses the newest snapshot that the book at a moment can be built from. It is the last one before by
// time, or the last one before the last update before by id: the ids of a moving book order events better than two
// different clocks do. One that supersedes it is better still: it has a higher id but arrived earlier, from another
// collector or from a server that was less behind.
type startChoice struct {
	at   moment
	last *marketprism.Record // the last update before the moment; the zero Record if there is none

	byTime, byID *marketprism.Record
	since        []*marketprism.Record // from the first of both on
}

// add takes the next snapshot, the newest first, and reports whether no older one counts.
func (c *startChoice) add(s *marketprism.Record) (decided bool) {
	if c.byTime != nil && s.Time().Before(c.base().Time().Add(-lookBack)) && s.Time().Before(c.byTime.Time().Add(-lookBack)) {
		return true
	}
	if c.at.epochs.of(s) != c.at.epoch {
		return false
	}
	if c.byTime == nil && !s.Time().After(c.at.Time) {
		c.byTime = s
	}
	if c.precedes(s) && (c.byID == nil || c.byID.ReceivedAt.After(c.last.ReceivedAt.Add(clockSkew)) && s.Snapshot.LastID > c.byID.Snapshot.LastID) {
		c.byID = s
	}
	if c.byTime != nil || c.byID != nil {
		c.since = append(c.since, s)
	}
	return false
}

// precedes reports whether the last update can be applied after a snapshot, by its id. After a market is wiped its ids
// start again from low ones, so a snapshot that was received much later is left out, and one that was received later is
// left out for an earlier one with a higher id.
func (c *startChoice) precedes(s *marketprism.Record) bool {
	return c.last.Update != nil && s.Snapshot.LastID <= c.last.Update.LastID && !s.ReceivedAt.After(c.last.ReceivedAt.Add(lookBack))
}

// base returns the later one of both. One clock decides: that of the exchange if both have its time.
func (c *startChoice) base() *marketprism.Record {
	t, i := c.byTime, c.byID
	switch {
	case t == nil:
		return i
	case i == nil:
		return t
	case !t.EventTime.IsZero() && !i.EventTime.IsZero():
		if i.EventTime.After(t.EventTime) {
			return i
		}
		return t
	case i.ReceivedAt.After(t.ReceivedAt):
		return i
	}
	return t
}

// snapshot returns the chosen snapshot, and whether there is one. A superseding one arrived by the moment, or its id is at
// most that of the last update. It is of an earlier epoch if it arrived long before the last update, whose id is lower.
func (c *startChoice) snapshot() (rec marketprism.Record, ok bool) {
	base := c.base()
	if base == nil {
		return rec, false
	}
	upTo, since := int64(math.MinInt64), time.Time{}
	if c.last.Update != nil {
		upTo, since = c.last.Update.LastID, c.last.ReceivedAt.Add(-clockSkew)
	}
	best := base
	for _, s := range c.since {
		t := s.Time()
		if t.After(base.Time()) || t.Before(base.Time().Add(-lookBack)) || s.Snapshot.LastID <= best.Snapshot.LastID {
			continue
		}
		if s.Snapshot.LastID <= upTo || !t.After(c.at.Time) && !s.ReceivedAt.Before(since) {
			best = s
		}
	}
	return *best, true
}

func later(t, u time.Time) time.Time {
	if u.After(t) {
		return u
	}
	return t
}
