package chstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/orderbook"
)

// These examples need a ClickHouse at their address.

func ExampleStore_Write() {
	ctx := context.Background()
	conn, err := chstore.Dial(ctx, "127.0.0.1:9000")
	if err != nil {
		log.Fatal(err) // names the address, and what to do
	}
	defer conn.Close()
	store, err := chstore.New(conn, chstore.Config{
		TTL: chstore.TTL{Depth: 30 * 24 * time.Hour}, // the rest is kept for ever
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	trade := marketprism.Record{
		Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"},
		EventTime:  time.Now(),
		ReceivedAt: time.Now(),
		Trade:      &marketprism.Trade{ID: 1, Price: 65_000 * orderbook.One, Quantity: orderbook.One / 2, TradeTime: time.Now()},
		Origin:     marketprism.Origin{Source: "MD@2026-11-01T00:00:00Z", Sequence: 1},
	}
	err = store.Write(ctx, []marketprism.Record{trade})
	var bad *chstore.RecordError
	switch {
	case errors.As(err, &bad):
		log.Fatalf("record %d cannot be stored, nothing was: %v", bad.Index, bad.Err)
	case chstore.Retryable(err):
		log.Fatal("the server is busy or away, write the same records again: ", err)
	case err != nil:
		log.Fatal(err)
	}
}

func ExampleStore_BookAt() {
	ctx := context.Background()
	conn, err := chstore.Dial(ctx, "127.0.0.1:9000")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	store, err := chstore.New(conn, chstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	btc := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	book, err := store.BookAt(ctx, btc, time.Date(2026, 11, 23, 14, 30, 0, 0, time.UTC))
	var hole *chstore.MissingError
	switch {
	case errors.As(err, &hole):
		log.Fatalf("updates are missing; the book is known up to %s and from %s on", hole.From, hole.To)
	case errors.Is(err, chstore.ErrNoSnapshot):
		log.Fatal("nothing was recorded yet")
	case err != nil:
		log.Fatal(err)
	}
	bid, _ := book.BestBid()
	ask, _ := book.BestAsk()
	fmt.Println(bid.Price, ask.Price)
}

func ExampleStore_Records() {
	ctx := context.Background()
	conn, err := chstore.Dial(ctx, "127.0.0.1:9000")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	store, err := chstore.New(conn, chstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	from := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for rec, err := range store.Records(ctx, chstore.Query{
		Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"},
		Kinds:      []marketprism.Kind{marketprism.KindTrade},
		From:       from,
		To:         from.Add(time.Hour),
	}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(rec.Trade.TradeTime, rec.Trade.Price, rec.Trade.Quantity)
	}
}
