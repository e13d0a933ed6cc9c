package chstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
//
// A query costs the server milliseconds whatever it reads, and a reader the way there and back. So what does not depend
// on one another is asked for at once: first where the book begins, then all that it is made of.
func (r *reader) bookAt(ctx context.Context, t time.Time) (*bookBuilder, error) {
	start, err := r.findStart(ctx, t)
	if err != nil {
		return nil, err
	}
	at := start.at
	b, err := r.bookOf(ctx, start)
	if !errors.Is(err, ErrNoSnapshot) || at.epoch == 0 {
		return b, err
	}
	// Ids went back, and no snapshot came since. The book is the last one before, and not synced.
	before, err := r.bookAt(ctx, at.epochs[at.epoch].from.Add(-1))
	if err == nil {
		before.regress()
	}
	return before, err
}

// bookOf is bookAt for an epoch that has a snapshot; it returns ErrNoSnapshot for another one.
func (r *reader) bookOf(ctx context.Context, start *bookStart) (*bookBuilder, error) {
	if !start.found {
		return nil, fmt.Errorf("%w: %s at %s", ErrNoSnapshot, r.instrument, start.at.Format(time.RFC3339Nano))
	}
	snapshots := r.streamOf(ctx, nil, snapshotTable, r.instrument, bookColumns, start.scope(r.instrument), "")
	snapshot := snapshots.collect()
	gaps := r.gapsSince(ctx, &start.snapshot, start.at)
	b, err := r.buildBook(ctx, start, snapshots.begun, snapshot)
	if err == nil && b.missing != nil && b.missing.after == start.snapshot.Snapshot.LastID {
		start.from = time.Time{} // the updates after the snapshot may lie before
		b, err = r.buildBook(ctx, start, nil, snapshot)
	}
	gap, gapErr := gaps.wait()
	if err = errors.Join(err, gapErr); err != nil || b.missing != nil {
		return b, err
	}
	missing, err := r.decideGaps(ctx, b, start.at, gap)
	if missing != nil {
		b.lose(missing)
	}
	return b, err
}

// buildBook applies the updates after a snapshot, up to a moment. Where updates are missing it reads on for as long as
// clocks can be apart. It waits for begun, so that it does not keep a connection from the query for the snapshot.
func (r *reader) buildBook(ctx context.Context, start *bookStart, begun <-chan struct{}, snapshot *answer) (*bookBuilder, error) {
	sc := start.at.upTo(r.instrument, start.from)
	sc.add("last_id >= {id:Int64}", "id", start.snapshot.Snapshot.LastID) // futures: an update that ends at the snapshot is the first to apply
	if !start.after.IsZero() {
		sc.add("ts > fromUnixTimestamp64Nano({after:Int64}, 'UTC')", "after", clamp(start.after))
	}
	updates := r.streamOf(ctx, begun, depthTable, r.instrument, bookColumns, sc, "ORDER BY ts, last_id")
	defer updates.close()
	stored, err := snapshot.wait()
	switch {
	case err != nil:
		return nil, err
	case len(stored) == 0: // it was deleted meanwhile
		return nil, fmt.Errorf("%w: %s at %s", ErrNoSnapshot, r.instrument, start.at.Format(time.RFC3339Nano))
	}
	base := slices.MaxFunc(stored, func(a, b marketprism.Record) int { return len(a.Snapshot.Bids) - len(b.Snapshot.Bids) }) // the deepest
	builder, err := newBookBuilderOf(r.instrument.Market, &base)
	if err != nil {
		return nil, err
	}
	var since time.Time // of the first update that others before it are missing of
	fresh := true       // it has no update
	var failure error
	err = updates.each(func(rec *marketprism.Record, at time.Time) bool {
		if start.ended(rec) {
			if !fresh {
				builder, failure = newBookBuilderOf(r.instrument.Market, &base)
				since, fresh = time.Time{}, true
			}
			return failure == nil
		}
		fresh = false
		builder.apply(rec, at)
		switch {
		case builder.missing == nil:
			since = time.Time{}
		case since.IsZero():
			since = at
		}
		return since.IsZero() || at.Sub(since) <= clockSkew
	})
	if err = errors.Join(err, failure); err != nil {
		return nil, err
	}
	if builder.missing == nil {
		builder.read = start.at.Time
		return builder, nil
	}
	last, ok, err := r.lastOfEpoch(ctx, start, builder.read)
	if err != nil || !ok {
		return builder, err
	}
	start.after = last.Time()
	return r.buildBook(ctx, start, nil, snapshot)
}

// gapsSince asks for the Gap records between a snapshot and a moment.
func (r *reader) gapsSince(ctx context.Context, snapshot *marketprism.Record, at moment) *answer {
	sc := at.upTo(r.instrument, snapshot.Time().Add(-clockSkew))
	sc.where += " AND reason != 'regressed'"
	return r.streamOf(ctx, nil, gapTable, r.instrument, bookColumns, sc, "ORDER BY ts").collect()
}

// findMissing looks for a Gap record between the last update of a book and a moment. It returns nil if there is none, or
// if the ids of a later record prove that no update was missed.
func (r *reader) findMissing(ctx context.Context, b *bookBuilder, at moment) (*missingRange, error) {
	gaps, err := r.gapsSince(ctx, &b.base, at).wait()
	if err != nil {
		return nil, err
	}
	return r.decideGaps(ctx, b, at, gaps)
}

// decideGaps is findMissing among the Gap records since the snapshot under the book.
func (r *reader) decideGaps(ctx context.Context, b *bookBuilder, at moment, gaps []marketprism.Record) (*missingRange, error) {
	id := b.id()
	if !slices.ContainsFunc(gaps, func(g marketprism.Record) bool {
		order := g.ReceivedAt.Compare(b.base.ReceivedAt)
		return g.Gap.After >= id && (order > 0 || order == 0 && g.Gap.After > b.baseID)
	}) {
		return nil, nil
	}
	snapshots := r.heads(ctx, snapshotTable, r.instrument, at.after(r.instrument), "ORDER BY ts, last_id LIMIT 1")
	sc := at.after(r.instrument)
	sc.add("last_id > {id:Int64}", "id", id)
	updates := r.heads(ctx, depthTable, r.instrument, sc, "ORDER BY ts, last_id LIMIT 1")
	snapshot, arrived, err := snapshots.one()
	update, moved, updateErr := updates.one()
	if err = errors.Join(err, updateErr); err != nil ||
		arrived && snapshot.Snapshot.LastID == id || moved && r.instrument.Market.Continuity().Follows(id, update.Update) {
		return nil, err
	}
	return &missingRange{after: id, from: b.last}, nil
}

// missingError returns the *MissingError for a time t within a missing range. b has the book at t. Its reading goes on from
// its last record until it is synced again, as that of Books does: a snapshot that the book at t could not use may begin it again.
func (r *reader) missingError(ctx context.Context, t time.Time, b *bookBuilder) error {
	e := &MissingError{Instrument: r.instrument, At: t, After: b.missing.after}
	var err error
	if e.From, err = r.lastSynced(ctx, t, b.missing); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	f, err := openFeed(ctx, r.db, Query{Instrument: r.instrument, Kinds: bookKinds(), From: b.last.Add(1)}, lookBack)
	defer f.close()
	defer cancel() // before close, which would otherwise read all remaining rows
	f.continueAfter(b)
	for missing := b.missing; err == nil && e.To.IsZero(); e.Next = missing.next {
		var rec *timedRecord
		if rec, err = f.next(ctx); err != nil || rec == nil {
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
