package bookfeed_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/orderbook"
)

// A bot builds a book from what a collector has published. It asks the exchange for nothing.
func ExampleFeed() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	dir, err := os.MkdirTemp("", "natsbus")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	server, err := natsserver.Start(natsserver.Config{StoreDir: dir}) // elsewhere: nats-server -js
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	nc, err := natsbus.Connect(ctx, server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	if err := natsbus.EnsureStreams(ctx, js, natsbus.StreamsConfig{}); err != nil {
		log.Fatal(err)
	}
	inst := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	collect(ctx, js, inst)

	feed, err := bookfeed.New(js, bookfeed.Config{Instruments: []marketprism.Instrument{inst}})
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- feed.Run(ctx) }()
	if err := feed.Ready(ctx, inst); err != nil {
		log.Fatal(err)
	}
	err = feed.View(inst, func(b *orderbook.Book, s bookfeed.Status) {
		bid, _ := b.BestBid()
		ask, _ := b.BestAsk()
		fmt.Println(s.State, s.LastID, "bid", bid.Quantity, "at", bid.Price, "ask", ask.Quantity, "at", ask.Price)
	})
	if err != nil {
		log.Fatal(err)
	}
	cancel()
	fmt.Println(<-done)

	// Output:
	// synced 161 bid 3 at 65001 ask 1 at 65002
	// <nil>
}

// collect publishes as a collector does, through Snapshots.
func collect(ctx context.Context, js jetstream.JetStream, inst marketprism.Instrument) {
	publisher, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer publisher.Close()
	dst, err := bookfeed.NewSnapshots(publisher, bookfeed.SnapshotsConfig{})
	if err != nil {
		log.Fatal(err)
	}
	level := func(price, quantity orderbook.Fixed) orderbook.Level {
		return orderbook.Level{Price: price * orderbook.One, Quantity: quantity * orderbook.One}
	}
	err = dst.Write(ctx, []marketprism.Record{
		{Instrument: inst, ReceivedAt: time.Now(), Snapshot: &orderbook.Snapshot{
			LastID: 160, Bids: []orderbook.Level{level(65000, 2)}, Asks: []orderbook.Level{level(65002, 1)},
		}},
		{Instrument: inst, ReceivedAt: time.Now(), Update: &orderbook.Update{FirstID: 161, LastID: 161, Bids: []orderbook.Level{level(65001, 3)}}},
	})
	if err != nil {
		log.Fatal(err)
	}
}
