// Collect publishes the books and trades of two symbols of Binance to NATS, until Ctrl-C. It needs a server:
//
//	nats-server -js
//	go run ./examples/collect
package main

import (
	"context"
	"log"
	"os"
	"os/signal"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := collect(ctx, nil, "nats://127.0.0.1:4222", "BTCUSDT", "ETHUSDT"); err != nil {
		log.Fatal(err)
	}
}

// collect publishes the records of symbols until ctx ends, and then those that end their books. client is that of Binance if it
// is nil. With a chstore.Open in place of natsbus.Open it stores them without a bus.
func collect(ctx context.Context, client *binance.Client, address string, symbols ...string) error {
	bus, err := natsbus.Open(ctx, address)
	if err != nil {
		return err
	}
	defer bus.Close()
	buffer, err := sink.NewBuffer(bus, sink.BufferConfig{})
	if err != nil {
		return err
	}
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: symbols, Trades: true, Handler: sink.Handler(buffer)})
	if err != nil {
		return err
	}
	return sink.RunStages(ctx, sink.Stage{Name: "books", Run: books.Run}, sink.Stage{Name: "buffer", Run: buffer.Run})
}
