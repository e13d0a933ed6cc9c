// Marketprism is the reference pipeline: it keeps order books in step with an exchange, moves every
// record over NATS JetStream, stores it in ClickHouse, and shows at the end that the archive gives the
// same books back.
//
//	go run ./examples/marketprism                              # a simulated exchange, all embedded
//	go run ./examples/marketprism -source live -for 0          # Binance spot, until Ctrl-C
//	go run ./examples/marketprism -source recording FILE       # recorded traffic
//
// It exits 0 if everything received was stored and every book from the archive equals the live one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/marketprism/marketprism/internal/chserver"
)

func main() {
	chserver.Main() // the embedded ClickHouse is this program, started a second time

	opt, err := parseOptions(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "marketprism:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opt, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "marketprism:", err)
		os.Exit(1)
	}
}

// run owns the folder of the embedded engines.
func run(ctx context.Context, opt options, out *os.File) error {
	if opt.dataDir == "" {
		dir, err := os.MkdirTemp("", "marketprism-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		opt.dataDir = dir
	}
	return newPipeline(opt, out).run(ctx)
}
