// Bookwatch shows one live order book in the terminal.
//
//	go run ./examples/bookwatch -symbol BTCUSDT          # from Binance
//	go run ./examples/bookwatch -symbol BTCUSDT -sim     # from a simulated exchange, offline
//
// On a terminal it redraws in place; piped, it prints one block a refresh. It ends at Ctrl-C, or
// after -n blocks.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() {
	var opt options
	flag.StringVar(&opt.symbol, "symbol", "BTCUSDT", "spot symbol")
	flag.IntVar(&opt.levels, "levels", 10, "levels to show on each side")
	flag.DurationVar(&opt.refresh, "refresh", 500*time.Millisecond, "time between two pictures")
	flag.IntVar(&opt.blocks, "n", 0, "pictures to show; 0 means until Ctrl-C")
	flag.BoolVar(&opt.sim, "sim", false, "use a simulated exchange instead of Binance")
	flag.Parse()
	opt.inPlace = term.IsTerminal(int(os.Stdout.Fd()))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := watch(ctx, opt, os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bookwatch:", err)
		os.Exit(1)
	}
}
