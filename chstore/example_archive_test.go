package chstore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/sink"
)

// A strategy that takes records from a live feed takes them from the archive just as well, a hundred
// times as fast, with the books as they stood when the span begins.
func ExampleStore_Replay() {
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
	conn, err := chstore.Dial(ctx, "127.0.0.1:9000")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	store, err := chstore.New(conn, chstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
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

// A job that looks at the last day every night, and fails where something is wrong.
func ExampleStore_Check() {
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
