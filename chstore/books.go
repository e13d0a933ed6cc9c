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
	missing bool      // the last state says that the book is not synced
	gap     time.Time // of a Gap record that no later record has decided on; zero if there is none
}

// run goes through the feed. Its error is nil where the caller stopped.
func (p *bookStates) run(ctx context.Context, f *feed) error {
	if err := p.begin(ctx); err != nil {
		return err
	}
	last := p.q.From
	for !p.stopped {
		r, ok, err := f.next(ctx)
		if err != nil {
			return err
		}
		if !ok || !p.q.To.IsZero() && !r.at.Before(p.q.To) {
			break
		}
		last = r.at
		if err := p.apply(ctx, &r.rec, r.at); err != nil {
			return err
		}
	}
	if p.stopped {
		return nil
	}
	return p.end(ctx, last)
}

// begin builds the book just before From.
func (p *bookStates) begin(ctx context.Context) (err error) {
	if p.builder, err = newBookBuilder(p.q.Instrument.Market); err != nil || p.q.From.IsZero() {
		return err
	}
	b, err := p.reader.bookAt(ctx, p.q.From.Add(-1))
	switch {
	case errors.Is(err, ErrNoSnapshot):
		return nil
	case err != nil:
		return err
	}
	p.builder = b
	if b.missing != nil {
		return p.beginMissing(ctx)
	}
	return nil
}

// beginMissing begins where updates are missing. They may be read only now, from a connection whose clock was
// behind: then the updates just before From follow them.
func (p *bookStates) beginMissing(ctx context.Context) error {
	sc := newScope(p.q.Instrument, p.q.From.Add(-clockSkew), p.q.From)
	sc.add("last_id > {id:Int64}", "id", p.builder.id())
	err := p.reader.updates(ctx, sc, func(rec *marketprism.Record, at time.Time) bool {
		p.builder.apply(rec, at)
		return true
	})
	if err != nil || p.builder.synced() {
		return err
	}
	return p.giveMissing(ctx, p.q.From)
}

// apply applies a record, and gives the states before it and at it.
func (p *bookStates) apply(ctx context.Context, rec *marketprism.Record, at time.Time) error {
	if err := p.decideGap(ctx, rec); err != nil {
		return err
	}
	p.stepTo(at)
	if p.shallower(rec) {
		return nil
	}
	valid, synced, id := p.valid(), p.builder.synced(), p.builder.id()
	p.builder.apply(rec, at)
	switch {
	case p.builder.synced():
		p.missing, p.gap = false, time.Time{}
		if p.q.Every == 0 && (!valid || id != p.builder.id()) {
			p.give(BookState{At: at, Book: p.builder.book()})
		}
	case !synced:
	case rec.Gap != nil && rec.Gap.Reason != orderbook.GapRegressed:
		p.gap = at
	default:
		return p.giveMissing(ctx, at)
	}
	return nil
}

// shallower reports whether a snapshot is of the id and time of the one under the book, and less deep.
func (p *bookStates) shallower(rec *marketprism.Record) bool {
	b := p.builder
	return rec.Snapshot != nil && b.synced() && rec.Snapshot.LastID == b.id() && rec.Time().Equal(b.base.Time()) && len(rec.Snapshot.Bids) < b.bids
}

// decideGap decides whether a Gap record meant missing updates: it did not if the next record follows the
// book by id.
func (p *bookStates) decideGap(ctx context.Context, rec *marketprism.Record) error {
	if p.gap.IsZero() || rec.Gap != nil && rec.Gap.Reason != orderbook.GapRegressed || rec.Update != nil && rec.Update.LastID <= p.builder.id() {
		return nil
	}
	since := p.gap
	p.gap = time.Time{}
	if rec.Snapshot != nil && rec.Snapshot.LastID == p.builder.id() ||
		rec.Update != nil && p.q.Instrument.Market.Continuity().Follows(p.builder.id(), rec.Update) {
		return nil
	}
	p.stepTo(since)
	p.builder.missing.before(rec.Update)
	return p.giveMissing(ctx, since)
}

// end gives the remaining states.
func (p *bookStates) end(ctx context.Context, last time.Time) error {
	until := p.q.To
	if until.IsZero() {
		until = last.Add(1)
	}
	if since := p.gap; !since.IsZero() {
		missing, err := p.reader.findMissing(ctx, p.builder, until.Add(-1))
		if err != nil {
			return err
		}
		p.gap = time.Time{}
		if missing != nil {
			p.stepTo(since)
			p.builder.missing = missing
			return p.giveMissing(ctx, since)
		}
	}
	p.stepTo(until)
	return nil
}

// valid reports whether the book is right until the next record.
func (p *bookStates) valid() bool { return !p.builder.last.IsZero() && !p.missing && p.gap.IsZero() }

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

// giveMissing gives the state of a book that is not synced from a time on.
func (p *bookStates) giveMissing(ctx context.Context, at time.Time) error {
	p.missing = true
	var missing *MissingError
	err := p.reader.missingError(ctx, at, p.builder.missing)
	if !errors.As(err, &missing) {
		return err
	}
	p.give(BookState{At: at, Missing: missing})
	return nil
}
