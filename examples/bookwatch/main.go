// Bookwatch shows live order books in the terminal.
//
//	go run ./examples/bookwatch -symbol BTCUSDT,ETHUSDT  # from Binance
//	go run ./examples/bookwatch -symbol BTCUSDT -sim     # from a simulated exchange, offline
//
// On a terminal it draws one symbol in place, at most ten times a second: keys change the symbol and the number of levels, q or
// Ctrl-C ends it, and the environment variable NO_COLOR turns colours off. Piped, it prints one block a symbol and refresh. It
// ends after -n refreshes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/marketprism/marketprism/examples/plain"
)

func main() {
	opt := options{waiting: os.Stderr}
	symbols := flag.String("symbol", "BTCUSDT", "spot symbols, separated by commas")
	flag.IntVar(&opt.levels, "levels", 10, "levels to show on each side")
	flag.DurationVar(&opt.refresh, "refresh", 500*time.Millisecond, "time between two pictures; at least 100 ms on a terminal")
	flag.IntVar(&opt.blocks, "n", 0, "pictures to show; 0 means until Ctrl-C")
	flag.BoolVar(&opt.sim, "sim", false, "use a simulated exchange instead of Binance")
	flag.Parse()
	opt.symbols = strings.Split(strings.ToUpper(*symbols), ",")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opt); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bookwatch:", plain.Text(err.Error()))
		os.Exit(1)
	}
}

// run watches on the terminal, if there is one, and leaves it as it was.
func run(ctx context.Context, opt options) (err error) {
	if term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("TERM") != "dumb" {
		opt.terminal, err = openTerminal(os.Stdin, os.Stdout, os.Getenv("NO_COLOR") == "") // https://no-color.org
		if err != nil {
			return err
		}
		defer opt.terminal.close()
	}
	return watch(ctx, opt, os.Stdout)
}
