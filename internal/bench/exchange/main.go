// Exchange measures the cost of maintaining the books of a whole exchange: a DepthSyncer on websockets over
// loopback, with the exchange in a separate process.
//
//	go run ./internal/bench/exchange
//	go run ./internal/bench/exchange -symbols 500 -rate 1 -duration 1m -spread 0
//
// The exchange sends each symbol's -rate depth events a second of 20 to 60 levels (about 1.4 kB), one
// websocket frame and one write each. As on the real one, all symbols share one grid; a flag sets over how much
// of each interval the events are spread, since the exchange and the driver compete for the same cores.
//
// Latency is measured from the time that the exchange stamps, in microseconds, right before it writes a frame,
// to the call of the handler, when the book has changed and can be read. Both processes read the same clock. CPU
// is the driver's user and system time as a share of one core, from when every book is synced to the end. In
// the middle, every connection is rotated.
//
// It fails if a book had a gap, or needed a snapshot, during the measurement.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

type options struct {
	symbols  int
	rate     float64
	levels   int
	duration time.Duration
	spread   float64
	top      int
	cpu, mem string
}

func main() {
	var opt options
	flag.IntVar(&opt.symbols, "symbols", 1300, "symbols to follow")
	flag.Float64Var(&opt.rate, "rate", 10, "depth events a second of each symbol")
	flag.IntVar(&opt.levels, "levels", 1000, "levels of each side of a book")
	flag.DurationVar(&opt.duration, "duration", 20*time.Second, "time to measure")
	flag.Float64Var(&opt.spread, "spread", 0.8, "part of an interval over which its events are spread; 0 is all at once")
	flag.IntVar(&opt.top, "top", 0, "best levels to publish for lock-free reads; 0 means none")
	flag.StringVar(&opt.cpu, "cpuprofile", "", "file for a CPU profile of the driver")
	flag.StringVar(&opt.mem, "memprofile", "", "file for a heap profile of the driver")
	flag.Parse()
	if err := opt.check(); err != nil {
		fmt.Fprintln(os.Stderr, "exchange:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := measure
	if os.Getenv(childMark) != "" {
		run = serve
	}
	if err := run(ctx, opt); err != nil {
		fmt.Fprintln(os.Stderr, "exchange:", err)
		os.Exit(1)
	}
}

func (o *options) check() error {
	switch {
	case o.symbols < 1 || o.levels < 20 || o.rate <= 0 || o.duration < time.Second:
		return errors.New("want -symbols of 1, -levels of 20, a -rate above 0 and a -duration of 1s at least")
	case o.spread < 0 || o.spread > 1:
		return errors.New("want a -spread of 0 to 1")
	}
	return nil
}
