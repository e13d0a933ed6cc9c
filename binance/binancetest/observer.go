package binancetest

import (
	"context"
	"fmt"
	"sync"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// An Observer sees the records that a program under test gets, so that the test can wait for what a fault does to a book, without
// sleeping. The zero Observer is ready to use, by any number of goroutines.
//
//	var seen binancetest.Observer
//	binance.DepthConfig{Handler: seen.Handler(bot.Handle), …}
//	…
//	srv.Disconnect(binancetest.CloseGoingAway, "")
//	gap, err := seen.Gap(ctx, "BTCUSDT")   // the book is lost, and the bot knows
//	id, err := seen.Synced(ctx, "BTCUSDT") // and synced again
type Observer struct {
	mu      sync.Mutex
	books   map[string]*observed
	changed chan struct{} // closed and replaced with each gap and sync; nil until a call waits
}

// observed are the latest events of a book, with their numbers in the order in which they came.
type observed struct {
	events, gapAt, syncedAt int
	gap                     orderbook.Gap
	id                      int64 // of the book when it was synced

	returned int // the latest event that a call returned
}

// Handler returns a Handler that gives each record to next, unless that is nil, and then notes it.
func (o *Observer) Handler(next func(context.Context, *marketprism.Record) error) func(context.Context, *marketprism.Record) error {
	on := marketprism.On{Synced: o.note, Gap: o.note}
	note := on.Handler()
	return func(ctx context.Context, rec *marketprism.Record) error {
		if next != nil {
			if err := next(ctx, rec); err != nil {
				note = on.Handler() // the Run ends, and the Gaps of its books do not come
				return err
			}
		}
		return note(ctx, rec)
	}
}

func (o *Observer) note(_ context.Context, rec *marketprism.Record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.book(rec.Instrument.Symbol)
	b.events++
	if rec.Gap != nil {
		b.gap, b.gapAt = *rec.Gap, b.events
	} else {
		b.id, b.syncedAt = rec.Snapshot.LastID, b.events
	}
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return nil
}

// book returns what is noted of a symbol.
func (o *Observer) book(symbol string) *observed {
	if o.books == nil {
		o.books = make(map[string]*observed)
	}
	b := o.books[symbol]
	if b == nil {
		b = new(observed)
		o.books[symbol] = b
	}
	return b
}

// Gap blocks until the symbol's book has ended, and returns the latest Gap. It counts what came after the event that the last
// Gap or Synced of the symbol returned, so a gap that is already there is found, and none is found twice. The error is that of
// ctx.
func (o *Observer) Gap(ctx context.Context, symbol string) (gap orderbook.Gap, err error) {
	err = o.wait(ctx, symbol, "gap", func(b *observed) int { gap = b.gap; return b.gapAt })
	return gap, err
}

// Synced blocks until the symbol's book is synced, and returns the update id at which it was, the latest time. It counts as Gap
// does: after a Gap it waits for the next sync. The error is that of ctx.
func (o *Observer) Synced(ctx context.Context, symbol string) (id int64, err error) {
	err = o.wait(ctx, symbol, "sync", func(b *observed) int { id = b.id; return b.syncedAt })
	return id, err
}

// wait blocks until the number of an event is beyond those that were returned.
func (o *Observer) wait(ctx context.Context, symbol, what string, latest func(*observed) int) error {
	for {
		o.mu.Lock()
		b := o.book(symbol)
		if at := latest(b); at > b.returned {
			b.returned = at
			o.mu.Unlock()
			return nil
		}
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("binancetest: no %s of %s: %w", what, symbol, context.Cause(ctx))
		}
	}
}
