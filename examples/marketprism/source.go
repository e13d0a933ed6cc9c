package main

import (
	"context"
	"fmt"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
)

// A source is an exchange to collect from.
type source struct {
	config  binance.Config
	symbols []string        // nil means all that the exchange lists
	done    <-chan struct{} // closed when there is no more to come; nil if that never happens
	err     func() error    // why, once done is closed
	close   func() error
}

// openSource makes the source that opt names. A simulated exchange moves until ctx ends.
func openSource(ctx context.Context, opt options) (*source, error) {
	switch opt.source {
	case "live":
		return &source{symbols: opt.symbols, close: func() error { return nil }}, nil
	case "sim":
		exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols(opt.symbols...), Seed: 1})
		if err != nil {
			return nil, err
		}
		go exchange.Run(ctx) // ends with ctx or when the exchange is closed
		return fakeSource(exchange, opt.symbols), nil
	case "recording":
		exchange, err := binancetest.New(binancetest.Config{Playback: &binancetest.Playback{
			Path: opt.recording, Speed: opt.speed, WaitFor: []string{"depth", "trade", "aggTrade", "bookTicker"},
		}})
		if err != nil {
			return nil, err
		}
		s := fakeSource(exchange, nil)
		s.done, s.err = exchange.Played(), exchange.PlaybackErr
		return s, nil
	}
	return nil, fmt.Errorf("unknown source %q", opt.source)
}

func fakeSource(exchange *binancetest.Server, symbols []string) *source {
	return &source{
		config: binance.Config{
			Endpoints:   binance.Endpoints{REST: exchange.RESTURL(), Stream: exchange.StreamURL()},
			DialContext: exchange.DialContext,
		},
		symbols: symbols,
		close:   exchange.Close,
	}
}

// listed returns the symbols to follow.
func (s *source) listed(ctx context.Context, client *binance.Client) ([]string, error) {
	if s.symbols != nil {
		return s.symbols, nil
	}
	info, err := client.ExchangeInfo(ctx)
	if err != nil {
		return nil, err
	}
	var symbols []string
	for _, y := range info.Symbols {
		symbols = append(symbols, y.Symbol)
	}
	return symbols, nil
}
