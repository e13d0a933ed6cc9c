// Marketprism is the reference pipeline: it maintains order books from an exchange, sends every record over NATS
// JetStream, stores it in ClickHouse, and reads it back.
//
//	go run ./examples/marketprism run                           # a simulated exchange, all embedded
//	go run ./examples/marketprism run --source live --for 0     # Binance spot, until Ctrl-C
//	go run ./examples/marketprism help                          # the other commands
//
// README.md beside this file is the operator's guide.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/marketprism/marketprism/examples/marketprism/command"
	"github.com/marketprism/marketprism/internal/chserver"
)

func main() {
	chserver.Main() // the embedded ClickHouse is this program, started a second time

	signal.Ignore(syscall.SIGPIPE) // so that a closed output is an error of a write, after which everything ends in order
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup does
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	code := command.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
