package marketprism_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A bot that stops quoting while its book is not synced, without a switch over the kinds of records.
func ExampleOn() {
	handler := marketprism.On{
		Synced: func(_ context.Context, rec *marketprism.Record) error {
			fmt.Println("quoting", rec.Instrument.Symbol, "from update", rec.Snapshot.LastID)
			return nil
		},
		Gap: func(_ context.Context, rec *marketprism.Record) error {
			fmt.Println("no quotes for", rec.Instrument.Symbol, rec.Gap.Reason)
			return nil
		},
	}.Handler() // for binance.DepthConfig.Handler

	btc := marketprism.Instrument{Exchange: "binance", Market: marketprism.Spot, Symbol: "BTCUSDT"}
	for _, rec := range []marketprism.Record{
		{Instrument: btc, Snapshot: &orderbook.Snapshot{LastID: 100}},
		{Instrument: btc, Update: &orderbook.Update{FirstID: 101, LastID: 102}},
		{Instrument: btc, Gap: &orderbook.Gap{After: 102, Reason: orderbook.GapDisconnect}},
		{Instrument: btc, Snapshot: &orderbook.Snapshot{LastID: 110}},
	} {
		if err := handler(context.Background(), &rec); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// quoting BTCUSDT from update 100
	// no quotes for BTCUSDT disconnect
	// quoting BTCUSDT from update 110
}

// Each record reaches the one func of its kind, and each book is synced by itself.
func TestOn(t *testing.T) {
	var got []string
	note := func(name string) func(context.Context, *marketprism.Record) error {
		return func(_ context.Context, rec *marketprism.Record) error {
			got = append(got, name+" "+rec.Instrument.Symbol)
			return nil
		}
	}
	all := marketprism.On{
		Synced: note("synced"), Refreshed: note("refreshed"), Update: note("update"), Gap: note("gap"), Trade: note("trade"), Ticker: note("ticker"),
	}
	a, b := marketprism.Instrument{Symbol: "A"}, marketprism.Instrument{Symbol: "B"}
	snap, gap := &orderbook.Snapshot{}, &orderbook.Gap{}
	recs := []marketprism.Record{
		{Instrument: a, Trade: &marketprism.Trade{}},
		{Instrument: a, Snapshot: snap},
		{Instrument: b, Snapshot: snap},
		{Instrument: a, Snapshot: snap},
		{Instrument: a, Update: &orderbook.Update{}},
		{Instrument: a, Gap: gap},
		{Instrument: a, Gap: gap},
		{Instrument: b, Snapshot: snap},
		{Instrument: a, Snapshot: snap},
		{Instrument: b, Ticker: &marketprism.Ticker{}},
		{Instrument: b},
	}
	handler, silent := all.Handler(), marketprism.On{}.Handler()
	for i := range recs {
		if err := errors.Join(handler(t.Context(), &recs[i]), silent(t.Context(), &recs[i])); err != nil {
			t.Fatal(err)
		}
	}
	want := "trade A, synced A, synced B, refreshed A, update A, gap A, gap A, refreshed B, synced A, ticker B"
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}

	broken := errors.New("broken")
	fails := marketprism.On{Gap: func(context.Context, *marketprism.Record) error { return broken }}.Handler()
	if err := fails(t.Context(), &marketprism.Record{Gap: gap}); !errors.Is(err, broken) {
		t.Errorf("the error of a func is lost: %v", err)
	}
	// After an error the Run ends without the Gaps of its books. The next one begins with Snapshots.
	syncs := 0
	again := marketprism.On{
		Synced: func(context.Context, *marketprism.Record) error { syncs++; return nil },
		Update: func(context.Context, *marketprism.Record) error { return broken },
	}.Handler()
	for _, i := range []int{1, 4, 1} {
		_ = again(t.Context(), &recs[i])
	}
	if syncs != 2 {
		t.Errorf("%d syncs in two Runs", syncs)
	}
	if n := testing.AllocsPerRun(100, func() { _ = silent(t.Context(), &recs[4]) }); n != 0 {
		t.Errorf("an update allocates %v times", n)
	}
}
