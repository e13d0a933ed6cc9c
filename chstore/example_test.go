package chstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// These examples need a ClickHouse at their address.

func ExampleStore_Write() {
	ctx := context.Background()
	store, err := chstore.Open(ctx, "127.0.0.1:9000", chstore.Config{
		TTL: chstore.TTL{Depth: 30 * 24 * time.Hour}, // the rest is kept without limit
	})
	if err != nil {
		log.Fatal(err) // contains the address and a remedy
	}
	defer store.Close()
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
	store, err := chstore.Open(ctx, "127.0.0.1:9000", chstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	btc := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	book, err := store.BookAt(ctx, btc, time.Date(2026, 11, 23, 14, 30, 0, 0, time.UTC))
	var missing *chstore.MissingError
	switch {
	case errors.As(err, &missing):
		log.Fatalf("updates are missing; the book is known up to %s and from %s on", missing.From, missing.To)
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
	store, err := chstore.Open(ctx, "127.0.0.1:9000", chstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
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

// A strategy that takes records from a live feed can take them from the archive, a hundred
// times as fast, starting with the books at the beginning of the span.
func ExampleStore_Replay() {
	ctx := context.Background()
	store, err := chstore.Open(ctx, "127.0.0.1:9000", chstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	strategy := sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		for _, r := range recs {
			fmt.Println(r.Time(), r.Instrument, r.Kind())
		}
		return nil
	})
	from := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	err = store.Replay(ctx, chstore.ReplayQuery{
		Instruments: []marketprism.Instrument{
			{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"},
			{Exchange: marketprism.Binance, Market: marketprism.USDM, Symbol: "BTCUSDT"},
		},
		From: from,
		To:   from.Add(time.Hour),
	}, chstore.ReplayConfig{Speed: 100, Books: true}, strategy)
	if err != nil {
		log.Fatal(err)
	}
}

// The spread at every full minute of an hour.
func ExampleStore_Books() {
	ctx := context.Background()
	store, err := chstore.Open(ctx, "127.0.0.1:9000", chstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	from := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	for state, err := range store.Books(ctx, chstore.BookQuery{
		Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"},
		From:       from,
		To:         from.Add(time.Hour),
		Every:      time.Minute,
	}) {
		switch {
		case err != nil:
			log.Fatal(err)
		case state.Missing != nil:
			fmt.Println(state.Missing)
		default:
			spread, _ := state.Book.Spread()
			fmt.Println(state.At, spread)
		}
	}
}

// A job that checks the last day every night, and fails if there are findings.
func ExampleStore_Check() {
	ctx := context.Background()
	store, err := chstore.Open(ctx, "127.0.0.1:9000", chstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	midnight := time.Now().UTC().Truncate(24 * time.Hour)
	report, err := store.Check(ctx, chstore.CheckQuery{From: midnight.AddDate(0, 0, -1), To: midnight})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(report.String())
	if !report.OK() {
		os.Exit(1)
	}
}
