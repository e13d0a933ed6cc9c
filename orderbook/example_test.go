package orderbook_test

import (
	"fmt"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// level makes a Level of two plain decimals, as a venue sends them.
func level(price, quantity string) orderbook.Level {
	p, err := orderbook.ParseFixed(price)
	if err != nil {
		panic(err)
	}
	q, err := orderbook.ParseFixed(quantity)
	if err != nil {
		panic(err)
	}
	return orderbook.Level{Price: p, Quantity: q}
}

// A Syncer returns what to do and what happened; the caller owns the connection and the clock.
func ExampleSyncer() {
	syncer, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: orderbook.Contiguous})
	if err != nil {
		panic(err)
	}
	var fetch orderbook.FetchID
	apply := func(out orderbook.Output) {
		for _, e := range out.Events {
			switch {
			case e.Snapshot != nil:
				fmt.Println("synced at", e.Snapshot.LastID)
			case e.Update != nil:
				fmt.Println("updated to", e.Update.LastID)
			case e.Gap != nil:
				fmt.Printf("lost after %d: %v: %v\n", e.Gap.After, e.Gap.Reason, e.Gap.Err)
			}
		}
		if out.Fetch != 0 {
			fmt.Println("fetch a snapshot")
			fetch = out.Fetch
		}
	}

	now := time.Now()
	apply(syncer.Connected(now))
	// Updates are pending until the snapshot comes. This one overlaps it.
	apply(syncer.Update(now, &orderbook.Update{FirstID: 99, LastID: 101, Bids: []orderbook.Level{level("65000.10", "0.5")}}))
	apply(syncer.Snapshot(now, fetch, &orderbook.Snapshot{
		LastID: 100,
		Bids:   []orderbook.Level{level("65000.10", "0.7"), level("65000.00", "2")},
		Asks:   []orderbook.Level{level("65000.20", "1.25")},
	}))
	bid, _ := syncer.Book().BestBid()
	fmt.Println(syncer.State(), bid.Price, bid.Quantity)

	// Ids 102 and 103 never came.
	now = now.Add(time.Second)
	apply(syncer.Update(now, &orderbook.Update{FirstID: 104, LastID: 104}))
	fmt.Println(syncer.State())

	// Output:
	// fetch a snapshot
	// synced at 100
	// updated to 101
	// synced 65000.1 0.5
	// lost after 101: sequence: orderbook: update id 102 wanted, 104 came
	// fetch a snapshot
	// buffering
}

// Deadline says when to call Tick, so a caller needs one timer and no polling.
func ExampleSyncer_Deadline() {
	syncer, err := orderbook.NewSyncer(orderbook.SyncerConfig{RetryMin: 200 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	now := time.Now()
	out := syncer.Connected(now)
	for range 4 {
		syncer.SnapshotFailed(now, out.Fetch, nil)
		fmt.Println("again in", syncer.Deadline().Sub(now))
		now = syncer.Deadline()
		out = syncer.Tick(now)
	}

	// Output:
	// again in 200ms
	// again in 400ms
	// again in 800ms
	// again in 1.6s
}

// A Book can be used alone where the updates are known to be complete.
func ExampleBook() {
	var book orderbook.Book
	book.Reset(&orderbook.Snapshot{
		LastID: 100,
		Bids:   []orderbook.Level{level("99.5", "3"), level("99", "7")},
		Asks:   []orderbook.Level{level("100", "2"), level("100.5", "4")},
	})
	book.Apply(&orderbook.Update{
		FirstID: 101, LastID: 101,
		Bids: []orderbook.Level{level("99.5", "0"), level("98", "1")},
		Asks: []orderbook.Level{level("100", "2.5")},
	})
	for bid := range book.Bids() {
		fmt.Println("bid", bid.Price, bid.Quantity)
	}
	for _, ask := range book.AppendAsks(nil, 1) {
		fmt.Println("best ask", ask.Price, ask.Quantity)
	}

	// Output:
	// bid 99 7
	// bid 98 1
	// best ask 100 2.5
}

func ExampleParseFixed() {
	price, err := orderbook.ParseFixed("65000.12000000")
	fmt.Println(price, err)
	_, err = orderbook.ParseFixed("0.123456789")
	fmt.Println(err)

	// Output:
	// 65000.12 <nil>
	// orderbook: number "0.123456789": more than eight decimals
}
