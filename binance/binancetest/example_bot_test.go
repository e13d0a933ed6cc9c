package binancetest_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// A test of a bot that uses binance.DepthSyncer: an event is lost, then the connection, and each time the bot
// must stop trusting its book until it is synced again. The test makes every change and ends every interval
// itself, so that each run prints the same.
func Example_bot() {
	srv, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT"), Tick: -1})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = srv.Close() }()
	client, err := binance.NewClient(binance.Config{
		Endpoints: srv.Endpoints(),
	})
	if err != nil {
		log.Fatal(err)
	}
	heard := make(chan string, 16)
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{
		Symbols: []string{"BTCUSDT"}, ReconnectMin: time.Millisecond, ReconnectMax: time.Millisecond,
		Handler: func(_ context.Context, rec *marketprism.Record) error {
			switch {
			case rec.Snapshot != nil:
				heard <- fmt.Sprintf("synced at %d", rec.Snapshot.LastID)
			case rec.Update != nil:
				heard <- fmt.Sprintf("moved to %d", rec.Update.LastID)
			case rec.Gap != nil:
				heard <- fmt.Sprintf("lost after %d: %v", rec.Gap.After, rec.Gap.Reason)
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- books.Run(ctx) }()
	fmt.Println(<-heard)

	bid := func(quantity orderbook.Fixed) { // one change in one event
		level := orderbook.Level{Price: 99_999 * orderbook.One, Quantity: quantity * orderbook.One}
		if _, err := srv.Apply("BTCUSDT", []orderbook.Level{level}, nil); err != nil {
			log.Fatal(err)
		}
		srv.Tick()
	}
	bid(5)
	fmt.Println(<-heard)

	if err := srv.DropDepth("BTCUSDT", 1); err != nil {
		log.Fatal(err)
	}
	bid(6) // is lost
	bid(7) // shows the gap
	fmt.Println(<-heard)
	fmt.Println(<-heard)

	srv.Disconnect(binancetest.CloseGoingAway, "")
	fmt.Println(<-heard)
	fmt.Println(<-heard)
	bid(8)
	fmt.Println(<-heard)

	truth, err := srv.Book("BTCUSDT")
	if err != nil {
		log.Fatal(err)
	}
	err = books.View("BTCUSDT", func(b *orderbook.Book, s binance.Status) {
		best, _ := b.BestBid()
		fmt.Println(s.State, "at the true id and price:", b.LastID() == truth.LastID, best == truth.Bids[0])
	})
	if err != nil {
		log.Fatal(err)
	}
	stop()
	fmt.Println(<-heard)
	fmt.Println("stopped:", <-ended == nil, "limits broken:", srv.Stats().Violations())

	// Output:
	// synced at 1000000
	// moved to 1000001
	// lost after 1000001: sequence
	// synced at 1000003
	// lost after 1000003: disconnect
	// synced at 1000003
	// moved to 1000004
	// synced at the true id and price: true true
	// lost after 1000004: disconnect
	// stopped: true limits broken: 0
}
