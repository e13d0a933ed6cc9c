package chstore

import (
	"context"
	"errors"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A BookQuery selects states of the book of one instrument.
type BookQuery struct {
	Instrument marketprism.Instrument
	From, To   time.Time // on Record.Time(), From included and To not; zero means no bound
	// Every is the time from one state to the next, counted from From. 0 means a state after every
	// update.
	Every time.Duration
}

// A BookState is the book of an instrument at one time, or says that it is not synced from then on. Exactly one
// of Book and Missing is set.
type BookState struct {
	At time.Time
	// Book is valid until the next state; Clone keeps it.
	Book *orderbook.Book
	// Missing says which updates are missing. Its To is the time of the next snapshot, which begins the book again.
	Missing *MissingError
}

// bookStates makes the states of Books.
type bookStates struct {
	reader  *reader
	q       BookQuery
	step    time.Time // of the next state, where q.Every is set
	yield   func(BookState, error) bool
	stopped bool // the caller wants no more

	builder *bookBuilder
	missing *MissingError // the state that is due once the book is synced again
	gap     time.Time     // of a Gap record that no later record has decided on; zero if there is none
}

// run goes through the feed. Its error is nil where the caller stopped.
func (p *bookStates) run(ctx context.Context, f *feed) error {
	if err := p.begin(ctx, f.epochs); err != nil {
		return err
	}
	f.continueAfter(p.builder)
	last := p.q.From
	for !p.stopped {
		r, err := f.next(ctx)
		if err != nil {
			return err
		}
		if r == nil || !p.q.To.IsZero() && !r.at.Before(p.q.To) {
			break
		}
		last = r.at
		p.apply(&r.rec, r.at)
		f.pool.put(r)
	}
	if p.stopped {
		return nil
	}
	return p.end(ctx, f.epochs, last)
}

// begin builds the book just before From.
func (p *bookStates) begin(ctx context.Context, all epochs) (err error) {
	p.builder, err = newBookBuilder(p.q.Instrument.Market)
	if err != nil || p.q.From.IsZero() {
		return err
	}
	b, err := p.reader.bookAt(ctx, p.q.From.Add(-1))
	switch {
	case err == nil:
		p.builder = b
	case !errors.Is(err, ErrNoSnapshot):
		return err
	}
	if p.builder.synced() {
		return nil
	}
	return p.beginMissing(ctx, all)
}

// beginMissing begins where the book is not synced. The updates just before From may belong to it: they follow one that
// is read only now, from a connection whose clock was behind, or a snapshot that arrives only now.
func (p *bookStates) beginMissing(ctx context.Context, all epochs) error {
	at := moment{p.q.From.Add(-1), all, all.at(p.q.From.Add(-1))}
	rows := p.reader.streamOf(ctx, nil, depthTable, p.q.Instrument, bookColumns, at.upTo(p.q.Instrument, p.q.From.Add(-clockSkew)), "ORDER BY ts, last_id")
	defer rows.close()
	err := rows.each(func(rec *marketprism.Record, at time.Time) bool {
		p.builder.apply(rec, at)
		return true
	})
	if err == nil && p.builder.missing != nil {
		p.lose(p.q.From)
	}
	return err
}

// apply applies a record, and gives the states before it and at it.
func (p *bookStates) apply(rec *marketprism.Record, at time.Time) {
	p.decideGap(rec)
	p.stepTo(at)
	if p.shallower(rec) {
		return
	}
	valid, synced, id, missing := p.valid(), p.builder.synced(), p.builder.id(), p.builder.missing
	p.builder.apply(rec, at)
	switch {
	case p.builder.synced():
		if p.missing != nil {
			missing.end(rec)
			p.giveMissing(missing.next, at)
		}
		p.gap = time.Time{}
		if p.q.Every == 0 && (!valid || id != p.builder.id()) {
			p.give(BookState{At: at, Book: p.builder.book()})
		}
	case !synced:
	case rec.Gap != nil && !regressedGap(rec):
		p.gap = at
	default:
		p.lose(at)
	}
}

// shallower reports whether a snapshot is of the id and time of the one under the book, and less deep.
func (p *bookStates) shallower(rec *marketprism.Record) bool {
	b := p.builder
	return rec.Snapshot != nil && b.synced() && rec.Snapshot.LastID == b.id() && rec.Time().Equal(b.base.Time()) && len(rec.Snapshot.Bids) < b.bids
}

// decideGap decides whether a Gap record meant missing updates: it did not if the next record follows the
// book by id.
func (p *bookStates) decideGap(rec *marketprism.Record) {
	if p.gap.IsZero() || rec.Gap != nil && !regressedGap(rec) || rec.Update != nil && rec.Update.LastID <= p.builder.id() {
		return
	}
	since := p.gap
	p.gap = time.Time{}
	if rec.Snapshot != nil && rec.Snapshot.LastID == p.builder.id() ||
		rec.Update != nil && p.q.Instrument.Market.Continuity().Follows(p.builder.id(), rec.Update) {
		return
	}
	p.stepTo(since)
	p.lose(since)
}

// end gives the remaining states.
func (p *bookStates) end(ctx context.Context, all epochs, last time.Time) error {
	until := p.q.To
	if until.IsZero() {
		until = last.Add(1)
	}
	if since := p.gap; !since.IsZero() {
		missing, err := p.reader.findMissing(ctx, p.builder, moment{until.Add(-1), all, all.at(until.Add(-1))})
		if err != nil {
			return err
		}
		p.gap = time.Time{}
		if missing != nil {
			p.stepTo(since)
			p.builder.missing = missing
			p.lose(since)
		}
	}
	p.stepTo(until)
	if p.missing == nil || p.stopped {
		return nil
	}
	var later *MissingError
	if err := p.reader.missingError(ctx, until.Add(-1), p.builder); !errors.As(err, &later) {
		return err
	}
	p.missing.To = later.To
	p.giveMissing(later.Next, later.To)
	return nil
}

// valid reports whether the book is right until the next record.
func (p *bookStates) valid() bool {
	return !p.builder.last.IsZero() && p.missing == nil && p.gap.IsZero()
}

// stepTo gives the steps before t. After a Gap record they wait for the next record.
func (p *bookStates) stepTo(t time.Time) {
	if p.q.Every <= 0 || !p.gap.IsZero() {
		return
	}
	if !p.valid() {
		if behind := t.Sub(p.step); behind > 0 {
			p.step = p.step.Add((behind + p.q.Every - 1) / p.q.Every * p.q.Every)
		}
		return
	}
	for ; p.step.Before(t) && !p.stopped; p.step = p.step.Add(p.q.Every) {
		p.give(BookState{At: p.step, Book: p.builder.book()})
	}
}

func (p *bookStates) give(state BookState) {
	if !p.stopped {
		p.stopped = !p.yield(state, nil)
	}
}

// lose notes that the book is not synced from a time on.
func (p *bookStates) lose(at time.Time) {
	m := p.builder.missing
	p.missing = &MissingError{Instrument: p.q.Instrument, At: at, After: m.after, From: m.from}
	if m.from.After(at) { // the snapshot before the range arrived later
		p.missing.From = time.Time{}
	}
}

// giveMissing gives the state of a book that is not synced up to a time, with the id after the missing range.
func (p *bookStates) giveMissing(next int64, until time.Time) {
	e := p.missing
	p.missing = nil
	e.Next, e.To = next, until
	p.give(BookState{At: e.At, Missing: e})
}
