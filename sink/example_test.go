package sink_test

import (
	"context"
	"fmt"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// A feed that must not wait writes to a Buffer, which hands on to two sinks at once.
func Example() {
	store := sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		for i := range recs {
			fmt.Println("store:", recs[i].Key())
		}
		return nil
	})
	count := sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		fmt.Println("count:", len(recs))
		return nil
	})
	buffer, err := sink.NewBuffer(sink.Tee(store, count), sink.BufferConfig{Overflow: sink.DropOldest})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- buffer.Run(ctx) }()

	btc := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	err = buffer.Write(ctx, []marketprism.Record{
		{Instrument: btc, Snapshot: &orderbook.Snapshot{LastID: 7}},
		{Instrument: btc, Update: &orderbook.Update{FirstID: 8, LastID: 9}},
	})
	fmt.Println("accepted:", err == nil)

	cancel() // Run delivers what is queued
	fmt.Println("delivered:", <-done == nil)
	// Output:
	// accepted: true
	// store: binance:spot:snap:BTCUSDT:7:0x0
	// store: binance:spot:depth:BTCUSDT:8-9
	// count: 2
	// delivered: true
}
