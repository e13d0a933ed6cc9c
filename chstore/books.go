package chstore

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// ErrStep is the error of Books for steps that are negative, or have no beginning.
var ErrStep = errors.New("chstore: Every is negative, or has no From to count from")

// A BookQuery selects states of the book of one instrument.
type BookQuery struct {
	Instrument marketprism.Instrument
	From, To   time.Time // on Record.Time(), From included and To not; zero means no bound
	// Every is the time from one state to the next, counted from From. 0 means a state after every
	// update.
	Every time.Duration
}

// A BookState is the book of an instrument at one moment, or the news that it is not known from then
// on. Exactly one of Book and Missing is set.
type BookState struct {
	At time.Time
	// Book is valid until the next state; Clone keeps it.
	Book *orderbook.Book
	// Missing tells that updates are missing. Its To is the time of the next snapshot, which ends the hole.
	Missing *MissingError
}

// Books returns the states of a book over a span of time, each the one that BookAt returns for its At,
// from one pass over what is stored. Of several updates with one time, BookAt tells the book after the
// last. States begin once the book is known. Where it is lost there is one state with Missing; steps
// within a hole are left out.
//
// One pass tells a spot snapshot's place from the collector's clock, to within ten minutes: where that clock was
// further off, which Check reports, ask BookAt, which goes by ids alone.
//
// The iteration ends with an error, if any. It streams: memory does not grow with the range.
func (s *Store) Books(ctx context.Context, q BookQuery) iter.Seq2[BookState, error] {
	return func(yield func(BookState, error) bool) {
		if q.Every < 0 || q.Every > 0 && q.From.IsZero() {
			yield(BookState{}, ErrStep)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		end := s.observe(opBooks)
		f, err := s.openFeed(ctx, Query{Instrument: q.Instrument, Kinds: bookKinds(), From: q.From, To: q.To}, lookBack)
		end(&err)
		defer f.close()
		defer cancel() // before close, which would otherwise read all that is left
		p := &bookPass{s: s, q: q, step: q.From, yield: yield}
		if err == nil {
			err = p.run(ctx, f)
		}
		if err != nil && !p.stopped {
			yield(BookState{}, err)
		}
	}
}

func bookKinds() []marketprism.Kind {
	return []marketprism.Kind{marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindGap}
}

// A bookPass makes the states of Books.
type bookPass struct {
	s       *Store
	q       BookQuery
	step    time.Time // of the next state, where q.Every is set
	yield   func(BookState, error) bool
	stopped bool // the caller wants no more

	fold     *bookBuilder       // nil before the first snapshot and after ids went back
	base     marketprism.Record // the snapshot under fold, without its levels
	baseBids int                // how many bids it had
	lost     bool               // updates after fold's are missing
	early    []earlyUpdate      // by id
	floor    time.Time          // ids went back: what was received before is of the old ones
	doubt    time.Time          // of a gap that may have missed something; zero if there is none
}

// run goes through the feed. Its error is nil where the caller stopped.
func (p *bookPass) run(ctx context.Context, f *feed) error {
	if err := p.begin(ctx); err != nil {
		return err
	}
	last := p.q.From
	for !p.stopped {
		rec, at, ok, err := f.next(ctx)
		if err != nil {
			return err
		}
		if !ok || !p.q.To.IsZero() && !at.Before(p.q.To) {
			break
		}
		last = at
		if err := p.take(ctx, &rec, at); err != nil {
			return err
		}
	}
	if p.stopped {
		return nil
	}
	return p.end(ctx, last)
}

// begin finds out the book before From.
func (p *bookPass) begin(ctx context.Context) error {
	if p.q.From.IsZero() {
		return nil
	}
	f, err := p.s.reader(p.q.Instrument).bookAt(ctx, p.q.From.Add(-1))
	if errors.Is(err, ErrNoSnapshot) {
		return nil
	}
	if err != nil {
		return err
	}
	p.fold, p.base = f, marketprism.Record{Instrument: p.q.Instrument, ReceivedAt: f.began}
	if f.missing != nil {
		return p.beginLost(ctx, f.missing)
	}
	return nil
}

// beginLost begins where updates are missing. If those come only now, of a connection whose clock is
// behind, the book goes on with what came before From already.
func (p *bookPass) beginLost(ctx context.Context, lost *missingRange) error {
	if err := p.startAnew(lost); err != nil {
		return err
	}
	q := Query{Instrument: p.q.Instrument, Kinds: []marketprism.Kind{marketprism.KindUpdate}, From: p.q.From.Add(-clockSkew), To: p.q.From}
	for rec, err := range p.s.Records(ctx, q) {
		if err != nil {
			return err
		}
		if rec.Update.LastID > p.id() {
			p.keep(rec.Update, rec.Time())
		}
	}
	return p.lose(ctx, p.q.From)
}

// take moves the book on by one record.
func (p *bookPass) take(ctx context.Context, rec *marketprism.Record, at time.Time) error {
	if rec.Update != nil && rec.ReceivedAt.Before(p.floor) {
		return nil
	}
	if err := p.resolve(ctx, rec, at); err != nil {
		return err
	}
	p.stepTo(at)
	switch {
	case rec.Snapshot != nil:
		return p.reset(ctx, rec, at)
	case rec.Update != nil:
		return p.update(ctx, rec.Update, at)
	}
	return p.gap(ctx, rec, at)
}

// resolve ends a doubt: a record that follows the book by id proves that nothing was missed.
func (p *bookPass) resolve(ctx context.Context, rec *marketprism.Record, at time.Time) error {
	if p.doubt.IsZero() || rec.Gap != nil || rec.Update != nil && rec.Update.LastID <= p.id() {
		return nil
	}
	proven := rec.Snapshot != nil && rec.Snapshot.LastID == p.id()
	if rec.Update != nil {
		probe, err := newBookBuilder(p.q.Instrument.Market, &orderbook.Snapshot{LastID: p.id()}, at)
		if err != nil {
			return err
		}
		proven = probe.apply(rec.Update, at)
	}
	since := p.doubt
	p.doubt = time.Time{}
	if proven {
		return nil
	}
	p.stepTo(since)
	p.fold.missing = &missingRange{after: p.id(), from: p.fold.last}
	if rec.Update != nil {
		p.fold.missing.next = rec.Update.FirstID
	}
	return p.lose(ctx, since)
}

// gap notes that the collector lost its feed.
func (p *bookPass) gap(ctx context.Context, rec *marketprism.Record, at time.Time) error {
	if p.fold == nil || p.lost {
		return nil
	}
	switch {
	case rec.Gap.Reason == orderbook.GapRegressed:
		p.floor = rec.ReceivedAt
		p.fold.missing = &missingRange{after: p.id(), from: p.fold.last}
		err := p.lose(ctx, at)
		p.fold, p.early = nil, nil
		return err
	case rec.Gap.After >= p.id() && p.doubt.IsZero():
		p.doubt = at
	}
	return nil
}

// end gives the states that are left.
func (p *bookPass) end(ctx context.Context, last time.Time) error {
	until := p.q.To
	if until.IsZero() {
		until = last.Add(1)
	}
	if !p.doubt.IsZero() {
		if err := p.s.reader(p.q.Instrument).findMissing(ctx, p.fold, &p.base, until.Add(-1)); err != nil {
			return err
		}
		if p.fold.missing != nil {
			p.stepTo(p.doubt)
			return p.lose(ctx, p.doubt)
		}
		p.doubt = time.Time{}
	}
	p.stepTo(until)
	return nil
}

func (p *bookPass) id() int64 { return p.fold.sync.Book().LastID() }

// known reports whether the book stands for the time up to the next record.
func (p *bookPass) known() bool { return p.fold != nil && !p.lost && p.doubt.IsZero() }

// stepTo gives the steps before t.
func (p *bookPass) stepTo(t time.Time) {
	if p.q.Every <= 0 || !p.doubt.IsZero() {
		return
	}
	if !p.known() {
		if behind := t.Sub(p.step); behind > 0 {
			p.step = p.step.Add((behind + p.q.Every - 1) / p.q.Every * p.q.Every)
		}
		return
	}
	for ; p.step.Before(t) && !p.stopped; p.step = p.step.Add(p.q.Every) {
		p.give(BookState{At: p.step, Book: p.fold.sync.Book()})
	}
}

func (p *bookPass) give(state BookState) {
	if !p.stopped {
		p.stopped = !p.yield(state, nil)
	}
}

// changed gives the state after an update, where states are wanted after every one.
func (p *bookPass) changed(at time.Time) {
	if p.q.Every == 0 && p.known() {
		p.give(BookState{At: at, Book: p.fold.sync.Book()})
	}
}

// lose tells of the hole in fold.lost.
func (p *bookPass) lose(ctx context.Context, at time.Time) error {
	p.lost = true
	var hole *MissingError
	err := p.s.reader(p.q.Instrument).missingError(ctx, at, p.fold.missing)
	if !errors.As(err, &hole) {
		return err
	}
	p.give(BookState{At: at, Missing: hole})
	return nil
}
