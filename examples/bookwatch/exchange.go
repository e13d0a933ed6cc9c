package main

import (
	"context"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
)

// exchange returns how to reach Binance, or a simulated exchange that moves until ctx ends.
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
