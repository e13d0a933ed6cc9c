// Package bot is a program of another module, as a newcomer writes it from the documentation: it quotes while its book is synced,
// and writes all that it sees to a sink.
package bot

import (
	"context"
	"sync/atomic"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// A Bot quotes one symbol.
type Bot struct {
	quoting atomic.Bool
	records sink.Sink
}

// New returns a Bot that writes what it sees to records.
func New(records sink.Sink) *Bot { return &Bot{records: records} }

// Quoting reports whether the bot has orders in the market.
func (b *Bot) Quoting() bool { return b.quoting.Load() }

// Handler returns the bot's Handler for a DepthSyncer.
func (b *Bot) Handler() binance.Handler {
	quote := marketprism.On{
		Synced: func(context.Context, *marketprism.Record) error { b.quoting.Store(true); return nil },
		Gap:    func(context.Context, *marketprism.Record) error { b.quoting.Store(false); return nil },
	}.Handler()
	write := sink.Handler(b.records)
	return func(ctx context.Context, rec *marketprism.Record) error {
		if err := quote(ctx, rec); err != nil {
			return err
		}
		return write(ctx, rec)
	}
}

// Fair returns the price around which the bot quotes, exactly.
func Fair(books *binance.DepthSyncer, symbol string) (fair orderbook.Fixed, exact bool, err error) {
	err = books.View(symbol, func(b *orderbook.Book, _ binance.Status) {
		if b.KnowsTops(1) {
			fair, exact, _ = b.FixedMid()
		}
	})
	return fair, exact, err
}
