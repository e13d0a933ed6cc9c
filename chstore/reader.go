package chstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/marketprism/marketprism"
)

// clockSkew bounds how far the clocks of an exchange's own servers, and of two collectors, are taken
// to be apart: updates are put in order by id within that span.
const clockSkew = 5 * time.Second

// lookBack is how long before a snapshot's time the updates that follow it are searched at first. It
// covers the time in which a snapshot arrives, and a collector with a wrong clock. Where it is not enough, as
// with a recording that was played back years later, all earlier updates are searched.
const lookBack = 10 * time.Minute

// A reader reads the book of one instrument at a given time.
type reader struct {
	*db
	instrument marketprism.Instrument
}

// bookAt applies the stored updates up to t to a stored snapshot. The result has the book at t, unless its
// missing is set.
func (r *reader) bookAt(ctx context.Context, t time.Time) (*bookBuilder, error) {
	all, err := readEpochs(ctx, r.db, r.instrument)
	if err != nil {
		return nil, err
	}
	at := moment{t, all, all.at(t)}
	b, err := r.bookOf(ctx, at)
	if !errors.Is(err, ErrNoSnapshot) || at.epoch == 0 {
		return b, err
	}
	// Ids went back, and no snapshot came since. The book is the last one before, and not synced.
	before, err := r.bookAt(ctx, all[at.epoch].from.Add(-1))
	if err == nil {
		before.regress()
	}
	return before, err
}

// A moment is a time at which a book is read, with its epoch. Only records of that epoch count.
type moment struct {
	time.Time
	epochs epochs
	epoch  int
}

// upTo selects the records up to the moment.
func (m moment) upTo(i marketprism.Instrument, from time.Time) scope {
	sc := newScope(i, from, m.Add(1))
	m.epochs.addTo(&sc, m.epoch)
	return sc
}

// after selects the records after the moment.
func (m moment) after(i marketprism.Instrument) scope {
	sc := newScope(i, m.Add(1), time.Time{})
	m.epochs.addTo(&sc, m.epoch)
	return sc
}

// bookOf is bookAt for an epoch that has a snapshot; it returns ErrNoSnapshot for another one.
func (r *reader) bookOf(ctx context.Context, at moment) (*bookBuilder, error) {
	start, err := r.startSnapshot(ctx, at)
	if err != nil {
		return nil, err
	}
	b, err := r.buildBook(ctx, start, at)
	if err == nil && b.missing != nil && b.missing.after == start.snapshot.Snapshot.LastID {
		start.from = time.Time{} // the updates after the snapshot may lie before
		b, err = r.buildBook(ctx, start, at)
	}
	if err != nil || b.missing != nil {
		return b, err
	}
	missing, err := r.findMissing(ctx, b, at)
	if missing != nil {
		b.lose(missing)
	}
	return b, err
}

// A bookStart is what a book is built from.
type bookStart struct {
	snapshot marketprism.Record
	from     time.Time          // from which the updates after the snapshot are searched
	last     marketprism.Record // the last update before the moment; the zero Record if there is none
}

// startSnapshot returns the newest snapshot that the book at a moment can be built from. It is the last one before by
// time, or the last one before the last update before by id: the ids of a moving book order events better than two
// different clocks do.
func (r *reader) startSnapshot(ctx context.Context, at moment) (start bookStart, err error) {
	// Both run at the same time.
	newest := r.stream(ctx, snapshotTable, r.instrument, at.upTo(r.instrument, time.Time{}), newestFirst)
	latest := r.streamOf(ctx, depthTable, r.instrument, headColumns, at.upTo(r.instrument, time.Time{}), "ORDER BY ts DESC, last_id DESC LIMIT 1")
	snapshot, found, snapshotErr := newest.one()
	last, moved, err := latest.one()
	if err = errors.Join(snapshotErr, err); err != nil {
		return start, err
	}
	if moved {
		byID, ok, err := r.snapshotBefore(ctx, &last, at)
		if err != nil {
			return start, err
		}
		if ok && (!found || byID.ReceivedAt.After(snapshot.ReceivedAt)) {
			snapshot, found = byID, true
		}
	}
	if !found {
		return start, fmt.Errorf("%w: %s at %s", ErrNoSnapshot, r.instrument, at.Format(time.RFC3339Nano))
	}
	if snapshot, err = r.supersedingSnapshot(ctx, snapshot, &last, at); err != nil {
		return start, err
	}
	from := snapshot.Time()
	if moved && last.Time().Before(from) {
		from = last.Time()
	}
	return bookStart{snapshot, from.Add(-lookBack), last}, nil
}

// buildBook applies the updates after a snapshot, up to a moment. Where updates are missing it reads on for as long as
// clocks can be apart.
func (r *reader) buildBook(ctx context.Context, start bookStart, at moment) (*bookBuilder, error) {
	builder, err := newBookBuilder(r.instrument.Market)
	if err != nil {
		return nil, err
	}
	builder.apply(&start.snapshot, start.snapshot.Time())
	sc := at.upTo(r.instrument, start.from)
	sc.add("last_id >= {id:Int64}", "id", start.snapshot.Snapshot.LastID) // futures: an update that ends at the snapshot is the first to apply
	if u := start.last.Update; u != nil {
		// Ids went back, and no collector noticed, after an update with ids above those of a later one: see regressed.
		sc.add("ts > (SELECT max(ts) FROM "+r.tableName(depthTable.name())+" WHERE "+newScope(r.instrument, start.from, time.Time{}).where+
			" AND last_id >= {last:Int64} AND ts < fromUnixTimestamp64Nano({sent:Int64}, 'UTC'))", "last", u.LastID)
		sc.args = append(sc.args, named("sent", clamp(start.last.Time().Add(-clockSkew))))
	}
	var since time.Time // of the first update that others before it are missing of
	err = r.updates(ctx, sc, func(rec *marketprism.Record, at time.Time) bool {
		builder.apply(rec, at)
		switch {
		case builder.missing == nil:
			since = time.Time{}
		case since.IsZero():
			since = at
		}
		return since.IsZero() || at.Sub(since) <= clockSkew
	})
	if builder.missing == nil {
		builder.read = at.Time
	}
	return builder, err
}

// updates calls f with the selected updates in the order of their time, until it returns false. The record is
// valid until f returns; duplicates come, too.
func (r *reader) updates(ctx context.Context, sc scope, f func(rec *marketprism.Record, at time.Time) bool) error {
	rows := r.stream(ctx, depthTable, r.instrument, sc, "ORDER BY ts, last_id")
	defer rows.close()
	rows.reuse = true
	var rec marketprism.Record
	for rows.advance() {
		if _, err := rows.record(&rec); err != nil {
			return err
		}
		if !f(&rec, rec.Time()) {
			return nil
		}
	}
	return rows.err
}

// findMissing looks for a Gap record between the last update of a book and a moment. It returns nil if there is none, or
// if the ids of a later record prove that no update was missed.
func (r *reader) findMissing(ctx context.Context, b *bookBuilder, at moment) (*missingRange, error) {
	id := b.id()
	sc := at.upTo(r.instrument, b.base.Time().Add(-clockSkew))
	sc.add("(received_at > fromUnixTimestamp64Nano({snapshot:Int64}, 'UTC') OR received_at = fromUnixTimestamp64Nano({snapshot:Int64}, 'UTC') AND after_id > {snapshot_id:Int64})",
		"snapshot", nanos(b.base.ReceivedAt))
	sc.args = append(sc.args, named("snapshot_id", b.baseID))
	sc.add("after_id >= {id:Int64}", "id", id)
	sc.where += " AND reason != 'regressed'"
	_, gap, err := r.queryOne(ctx, gapTable, r.instrument, sc, "ORDER BY ts LIMIT 1")
	if err != nil || !gap {
		return nil, err
	}
	next, ok, err := r.queryHead(ctx, snapshotTable, r.instrument, at.after(r.instrument), "ORDER BY ts, last_id LIMIT 1")
	if err != nil || ok && next.Snapshot.LastID == id {
		return nil, err
	}
	sc = at.after(r.instrument)
	sc.add("last_id > {id:Int64}", "id", id)
	update, ok, err := r.queryHead(ctx, depthTable, r.instrument, sc, "ORDER BY ts, last_id LIMIT 1")
	if err != nil || ok && r.instrument.Market.Continuity().Follows(id, update.Update) {
		return nil, err
	}
	return &missingRange{after: id, from: b.last}, nil
}

// missingError returns the *MissingError for a time t within a missing range. b has the book at t; its reading goes on
// until it is synced again, as that of Books does.
func (r *reader) missingError(ctx context.Context, t time.Time, b *bookBuilder) error {
	e := &MissingError{Instrument: r.instrument, At: t, After: b.missing.after}
	var err error
	if e.From, err = r.lastSynced(ctx, t, b.missing); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	f, err := openFeed(ctx, r.db, Query{Instrument: r.instrument, Kinds: bookKinds(), From: b.read.Add(1)}, lookBack)
	defer f.close()
	defer cancel() // before close, which would otherwise read all remaining rows
	f.continueAfter(b.id(), b.last)
	for missing := b.missing; err == nil && e.To.IsZero(); e.Next = missing.next {
		var rec timedRecord
		var ok bool
		if rec, ok, err = f.next(ctx); err != nil || !ok {
			break
		}
		b.apply(&rec.rec, rec.at)
		if b.synced() {
			e.To = rec.at
			missing.end(&rec.rec)
		}
	}
	if err != nil {
		return err
	}
	return e
}

// lastSynced returns when a book was last synced before a missing range that begins before t.
func (r *reader) lastSynced(ctx context.Context, t time.Time, missing *missingRange) (time.Time, error) {
	switch {
	case !missing.from.After(t):
		return missing.from, nil
	case missing.at.IsZero():
		return time.Time{}, nil
	}
	before, err := r.bookAt(ctx, missing.at.Add(-1)) // built from another snapshot
	switch {
	case errors.Is(err, ErrNoSnapshot):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	}
	from := before.last
	if before.missing != nil {
		from = before.missing.from
	}
	if from.After(t) {
		from = time.Time{}
	}
	return from, nil
}

// newestFirst puts the newest snapshot first, and of several with its time and id the deepest.
const newestFirst = "ORDER BY ts DESC, last_id DESC, length(bid_price_e8) DESC LIMIT 1"

// snapshotBefore returns the newest snapshot that an update can be applied after, by its id. After a market is
// wiped its ids start again from low ones, so a snapshot that was received much later is left out.
func (r *reader) snapshotBefore(ctx context.Context, update *marketprism.Record, at moment) (marketprism.Record, bool, error) {
	sc := newScope(r.instrument, time.Time{}, time.Time{})
	at.epochs.addTo(&sc, at.epoch)
	sc.add("last_id <= {id:Int64}", "id", update.Update.LastID)
	sc.add("received_at <= fromUnixTimestamp64Nano({received:Int64}, 'UTC')", "received", clamp(update.ReceivedAt.Add(lookBack)))
	return r.queryOne(ctx, snapshotTable, r.instrument, sc, newestFirst)
}

// supersedingSnapshot returns the snapshot with the highest id that supersedes the given one: it has a higher
// id but arrived earlier, from another collector or from a server that was less behind. Where none does, it
// returns the given one. The superseding one arrived by the moment, or its id is at most that of the last update. It is
// of an earlier epoch if it arrived long before the last update, whose id is lower.
func (r *reader) supersedingSnapshot(ctx context.Context, snapshot marketprism.Record, last *marketprism.Record, at moment) (marketprism.Record, error) {
	sc := newScope(r.instrument, snapshot.Time().Add(-lookBack), snapshot.Time().Add(1))
	at.epochs.addTo(&sc, at.epoch)
	sc.add("last_id > {superseded:Int64}", "superseded", snapshot.Snapshot.LastID)
	upTo, since := int64(math.MinInt64), int64(0)
	if last.Update != nil {
		upTo, since = last.Update.LastID, clamp(last.ReceivedAt.Add(-clockSkew))
	}
	sc.add("(last_id <= {up_to:Int64} OR ts <= fromUnixTimestamp64Nano({by:Int64}, 'UTC') AND received_at >= fromUnixTimestamp64Nano({since:Int64}, 'UTC'))",
		"by", clamp(at.Time))
	sc.args = append(sc.args, named("up_to", upTo), named("since", since))
	const highestFirst = "ORDER BY last_id DESC, ts DESC, length(bid_price_e8) DESC LIMIT 1"
	if _, ok, err := r.queryHead(ctx, snapshotTable, r.instrument, sc, highestFirst); err != nil || !ok {
		return snapshot, err
	}
	higher, ok, err := r.queryOne(ctx, snapshotTable, r.instrument, sc, highestFirst)
	if err != nil || !ok {
		return snapshot, err
	}
	return higher, nil
}
