package chstore

import (
	"context"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// An earlyUpdate waits for one before it.
type earlyUpdate struct {
	update *orderbook.Update
	at     time.Time
}

// reset begins the book anew from a snapshot, unless the book is known further already: beyond its id, or
// deeper from a snapshot of the same id and time.
func (p *bookPass) reset(ctx context.Context, rec *marketprism.Record, at time.Time) error {
	if p.fold != nil && rec.Snapshot.LastID < p.id() {
		return nil
	}
	if p.fold != nil && !p.lost && rec.Snapshot.LastID == p.id() && rec.Time().Equal(p.base.Time()) && len(rec.Snapshot.Bids) < p.baseBids {
		return nil
	}
	began := p.fold == nil || p.lost || p.id() != rec.Snapshot.LastID
	f, err := newBookBuilder(p.q.Instrument.Market, rec.Snapshot, at)
	if err != nil {
		return err
	}
	p.fold, p.base, p.baseBids, p.lost = f, *rec, len(rec.Snapshot.Bids), false
	p.base.Snapshot = nil
	if err := p.applyEarly(); err != nil {
		return err
	}
	if p.lost {
		return p.lose(ctx, at)
	}
	if began {
		p.changed(at)
	}
	return nil
}

// update applies an update, or keeps it where one before it is missing: that may still come, of another
// connection whose clock is behind.
func (p *bookPass) update(ctx context.Context, u *orderbook.Update, at time.Time) error {
	if p.fold == nil || p.lost && !p.mayFollow(u) {
		p.keep(u, at)
		return nil
	}
	wasLost := p.lost
	changed, err := p.apply(u, at)
	if err != nil {
		return err
	}
	if p.lost && !wasLost {
		return p.lose(ctx, at)
	}
	if wasLost && changed {
		if err := p.applyEarly(); err != nil {
			return err
		}
	}
	if changed {
		p.changed(at)
	}
	return nil
}

// apply gives an update to the fold. If something before it is missing, it is kept and the fold begins
// anew from the book as it is.
func (p *bookPass) apply(u *orderbook.Update, at time.Time) (changed bool, err error) {
	before := p.id()
	if p.fold.apply(u, at) {
		return p.id() != before, nil
	}
	if err := p.startAnew(p.fold.missing); err != nil {
		return false, err
	}
	p.keep(u, at)
	return false, nil
}

// startAnew begins a fold from the book as it was before a hole.
func (p *bookPass) startAnew(lost *missingRange) error {
	book := p.fold.sync.Book().Snapshot()
	f, err := newBookBuilder(p.q.Instrument.Market, &book, lost.from)
	if err != nil {
		return err
	}
	f.missing = lost
	p.fold, p.lost = f, true
	return nil
}

// mayFollow reports whether an update can be the one that is missing.
func (p *bookPass) mayFollow(u *orderbook.Update) bool {
	return p.q.Instrument.Market.Continuity().Predecessor(u) <= p.id()
}

// applyEarly applies the updates that were kept for the one that has come. The book is known again if
// they all follow.
func (p *bookPass) applyEarly() error {
	early := p.early
	p.early, p.lost = nil, false
	for _, e := range early {
		if _, err := p.apply(e.update, e.at); err != nil {
			return err
		}
	}
	if !p.lost {
		p.fold.missing = nil
	}
	return nil
}

// keep puts an update among the early ones, by id, and forgets those that wait for longer than clocks
// can be apart.
func (p *bookPass) keep(u *orderbook.Update, at time.Time) {
	i := len(p.early)
	for i > 0 && p.early[i-1].update.LastID > u.LastID {
		i--
	}
	p.early = slices.Insert(p.early, i, earlyUpdate{u, at})
	for len(p.early) > 0 && (at.Sub(p.early[0].at) > p.patience() || len(p.early) > maxHeld) {
		p.early = p.early[1:]
	}
}

// patience is how long an update is kept. Before the first snapshot it is as long as one may be under
// way.
func (p *bookPass) patience() time.Duration {
	if p.fold == nil {
		return lookBack
	}
	return clockSkew
}
