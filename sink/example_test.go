package sink_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// A source that must not wait writes to a Buffer, which writes to two sinks. The source ends first, and then the Buffer
// delivers what it has.
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
	btc := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	source := func(ctx context.Context) error { // a driver, such as a binance.DepthSyncer with sink.Handler(buffer)
		return buffer.Write(ctx, []marketprism.Record{
			{Instrument: btc, ReceivedAt: time.Now(), Snapshot: &orderbook.Snapshot{LastID: 7}},
			{Instrument: btc, ReceivedAt: time.Now(), Update: &orderbook.Update{FirstID: 8, LastID: 9}},
		})
	}
	err = sink.RunStages(context.Background(),
		sink.Stage{Name: "source", Run: source}, sink.Stage{Name: "buffer", Run: buffer.Run})
	fmt.Println("delivered:", err == nil)
	// Output:
	// store: binance:spot:snap:BTCUSDT:7:0x0
	// store: binance:spot:depth:BTCUSDT:8-9
	// count: 2
	// delivered: true
}

// An unavailable bus does not block the feed, and gets every record when it is back.
func ExampleSpill() {
	dir, err := os.MkdirTemp("", "spill")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	away := true
	bus := sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		if away {
			away = false
			return errors.New("no servers available")
		}
		for i := range recs {
			fmt.Println("bus:", recs[i].Key())
		}
		return nil
	})
	spill, err := sink.NewSpill(bus, sink.SpillConfig{
		Dir:    dir,
		Encode: encodeRecord, // natsbus.AppendRecord
		Decode: decodeRecord, // natsbus.DecodeRecord
	})
	if err != nil {
		panic(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	btc := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	err = spill.Write(ctx, []marketprism.Record{
		{Instrument: btc, ReceivedAt: time.Now(), Snapshot: &orderbook.Snapshot{LastID: 7}},
		{Instrument: btc, ReceivedAt: time.Now(), Update: &orderbook.Update{FirstID: 8, LastID: 9}},
	})
	fmt.Println("accepted:", err == nil, "on disk:", spill.Stats().Queued)

	cancel() // what is left is flushed all the same
	err = sink.RunStages(ctx, sink.Stage{Name: "spill", Run: spill.Run, Flush: spill.Flush})
	fmt.Println("ended:", err, spill.Close())
	// Output:
	// accepted: true on disk: 2
	// bus: binance:spot:snap:BTCUSDT:7:0x0
	// bus: binance:spot:depth:BTCUSDT:8-9
	// ended: <nil> <nil>
}
