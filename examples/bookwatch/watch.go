package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

type options struct {
	symbol  string
	levels  int
	refresh time.Duration
	blocks  int
	sim     bool
	inPlace bool
}

// watch maintains the book of one symbol and draws it until ctx ends or all blocks are drawn.
func watch(ctx context.Context, opt options, out io.Writer) error {
	if opt.levels < 1 || opt.refresh <= 0 {
		return fmt.Errorf("-levels %d, -refresh %v: both must be positive", opt.levels, opt.refresh)
	}
	cfg, closeExchange, err := exchange(ctx, opt)
	if err != nil {
		return err
	}
	defer closeExchange()

	client, err := binance.NewClient(cfg)
	if err != nil {
		return err
	}
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: []string{opt.symbol}})
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(books.Run(ctx))
	}()
	defer func() { cancel(nil); <-done }()

	if err := books.Ready(ctx); err != nil {
		return context.Cause(ctx)
	}
	return draw(ctx, opt, books, out)
}

func draw(ctx context.Context, opt options, books *binance.DepthSyncer, out io.Writer) error {
	tick := time.NewTicker(opt.refresh)
	defer tick.Stop()
	for n := 1; ; n++ {
		if err := drawOnce(opt, books, out); err != nil {
			return err
		}
		if n == opt.blocks {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

const clearScreen = "\x1b[H\x1b[2J"

func drawOnce(opt options, books *binance.DepthSyncer, out io.Writer) error {
	status, _ := books.Status(opt.symbol)
	page := make([]byte, 0, 4096)
	if opt.inPlace {
		page = append(page, clearScreen...)
	}
	page = fmt.Appendf(page, "%s  %v  update id %d\n", opt.symbol, status.State, status.LastID)
	err := books.View(opt.symbol, func(b *orderbook.Book, _ binance.Status) {
		page = appendBook(page, b, opt.levels)
	})
	if err != nil {
		page = fmt.Appendf(page, "%v\n", err)
	}
	_, err = out.Write(page)
	return err
}

// appendBook draws the asks above the bids, the touch in the middle.
func appendBook(page []byte, b *orderbook.Book, levels int) []byte {
	asks := b.AppendAsks(nil, levels)
	for i := len(asks) - 1; i >= 0; i-- {
		page = fmt.Appendf(page, "ask %20v %20v\n", asks[i].Price, asks[i].Quantity)
	}
	for _, bid := range b.AppendBids(nil, levels) {
		page = fmt.Appendf(page, "bid %20v %20v\n", bid.Price, bid.Quantity)
	}
	return append(page, '\n')
}

// exchange returns the configuration of Binance, or of a simulated exchange that runs until ctx ends.
func exchange(ctx context.Context, opt options) (cfg binance.Config, stop func(), err error) {
	if !opt.sim {
		return binance.Config{}, func() {}, nil
	}
	sim, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols(opt.symbol), Seed: 1})
	if err != nil {
		return binance.Config{}, nil, err
	}
	go sim.Run(ctx) // ends with ctx, or when the exchange is closed
	return binance.Config{
		Endpoints: binance.Endpoints{REST: sim.RESTURL(), Stream: sim.StreamURL()},
	}, func() { sim.Close() }, nil
}
