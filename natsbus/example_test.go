package natsbus_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// A collector publishes a snapshot and an update, twice; a reader gets each once.
func Example() {
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

	bus, err := natsbus.Open(ctx, server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	inst := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	recs := []marketprism.Record{
		{Instrument: inst, ReceivedAt: time.Now(), Snapshot: &orderbook.Snapshot{LastID: 160}},
		{Instrument: inst, ReceivedAt: time.Now(), Update: &orderbook.Update{FirstID: 161, LastID: 163}},
	}
	for range 2 {
		if err := bus.Write(ctx, recs); err != nil {
			log.Fatal(err)
		}
	}

	consumer, err := natsbus.NewConsumer(bus.JS, natsbus.ConsumerConfig{Stream: natsbus.BooksStream(""), Durable: "printer"})
	if err != nil {
		log.Fatal(err)
	}
	seen := 0
	err = consumer.Run(ctx, sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		for i := range recs {
			fmt.Println(recs[i].Origin.Sequence, recs[i].Key())
		}
		if seen += len(recs); seen == 2 {
			cancel()
		}
		return nil
	}))
	fmt.Println(err)
	fmt.Println(bus.Stats().Duplicates, "duplicates")

	// Output:
	// 1 binance:spot:snap:BTCUSDT:160:0x0
	// 2 binance:spot:depth:BTCUSDT:161-163
	// <nil>
	// 2 duplicates
}

func ExampleSubject() {
	inst := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	fmt.Println(natsbus.Subject("", inst, marketprism.KindUpdate))
	inst.Symbol = "BTC/USDT"
	fmt.Println(natsbus.Subject("", inst, marketprism.KindTrade))
	// Output:
	// md.binance.spot.depth.BTCUSDT
	// md.binance.spot.trade.BTC=2FUSDT
}

func ExampleAppendRecord() {
	price, _ := orderbook.ParseFixed("65000.10")
	r := marketprism.Record{
		Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"},
		EventTime:  time.UnixMilli(1_700_000_000_124),
		Trade: &marketprism.Trade{
			ID: 7, Price: price, Quantity: 2 * orderbook.One, BuyerMaker: true, TradeTime: time.UnixMilli(1_700_000_000_123),
		},
	}
	body, err := natsbus.AppendRecord(nil, &r)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(body))
	// Output:
	// {"v":1,"kind":"trade","exchange":"binance","market":"spot","symbol":"BTCUSDT","event_time":"1700000000124000000","id":7,"price":"65000.1","quantity":"2","buyer_maker":true,"best_match":false,"trade_time":"1700000000123000000"}
}
