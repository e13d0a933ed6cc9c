package binance_test

import (
	"context"
	"fmt"
	"log"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// level is a shorthand for whole numbers.
func level(price, quantity orderbook.Fixed) orderbook.Level {
	return orderbook.Level{Price: price * orderbook.One, Quantity: quantity * orderbook.One}
}

// A book is followed on a fake exchange. Against the real one, the Config is empty.
func ExampleDepthSyncer() {
	exchange, err := binancetest.New(binancetest.Config{Tick: -1, Symbols: []binancetest.Symbol{{
		Name: "BTCUSDT",
		Bids: []orderbook.Level{level(99, 1), level(98, 2)},
		Asks: []orderbook.Level{level(101, 3)},
	}}})
	if err != nil {
		log.Fatal(err)
	}
	defer exchange.Close()

	client, err := binance.NewClient(binance.Config{
		Endpoints: exchange.Endpoints(),
	})
	if err != nil {
		log.Fatal(err)
	}
	records := make(chan string)
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{
		Symbols: []string{"BTCUSDT"},
		Handler: func(_ context.Context, rec *marketprism.Record) error {
			records <- rec.Key()
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- books.Run(ctx) }()

	fmt.Println(<-records) // the snapshot
	exchange.Apply("BTCUSDT", []orderbook.Level{level(100, 5), level(98, 0)}, nil)
	exchange.Tick()
	fmt.Println(<-records) // the update

	err = books.View("BTCUSDT", func(b *orderbook.Book, s binance.Status) {
		bid, _ := b.BestBid()
		ask, _ := b.BestAsk()
		fmt.Println(s.State, "at", s.LastID, "bid", bid, "ask", ask, "of", b.BidCount(), "bids")
	})
	if err != nil {
		log.Fatal(err)
	}

	cancel()
	fmt.Println(<-records) // the book ends
	fmt.Println("Run =", <-ended)

	// Output:
	// binance:spot:snap:BTCUSDT:1000000:2x1
	// binance:spot:depth:BTCUSDT:1000001-1000001
	// synced at 1000001 bid {100 5} ask {101 3} of 2 bids
	// binance:spot:gap:BTCUSDT:1000001-disconnect
	// Run = <nil>
}

// The frames of a binary stream are read one by one. Against the real exchange, the Endpoints are left out.
func ExampleClient_Dial_sbe() {
	exchange, err := binancetest.New(binancetest.Config{Tick: -1, Symbols: binancetest.Symbols("BTCUSDT")})
	if err != nil {
		log.Fatal(err)
	}
	defer exchange.Close()
	client, err := binance.NewClient(binance.Config{
		SBE: true, APIKey: "an Ed25519 key",
		Endpoints: binance.Endpoints{REST: exchange.RESTURL(), SBE: exchange.StreamURL()},
	})
	if err != nil {
		log.Fatal(err)
	}
	stream, err := client.Dial(context.Background(), binance.StreamName("BTCUSDT", "@depth"))
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()

	exchange.Apply("BTCUSDT", []orderbook.Level{level(7, 5)}, nil)
	exchange.Tick()
	var m binance.Message
	if err := stream.Next(&m); err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Type, m.Symbol, m.Update.FirstID, m.Update.Bids)

	// Output:
	// depth BTCUSDT 1000001 [{7 5}]
}
