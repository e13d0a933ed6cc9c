package binance_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strconv"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// Each Example_from shows a program in the shape it has with another library, "there", and the same program "here". The types of the
// other libraries are interfaces written for these examples.

// follow runs a DepthSyncer on a fake exchange with one book, bids 99 x 1 and 98 x 2, asks 101 x 3, until the func it returns is called.
func follow(cfg binance.DepthConfig) (*binancetest.Server, *binance.DepthSyncer, func()) {
	exchange, err := binancetest.New(binancetest.Config{Tick: -1, Symbols: []binancetest.Symbol{{
		Name: "BTCUSDT", Bids: []orderbook.Level{level(99, 1), level(98, 2)}, Asks: []orderbook.Level{level(101, 3)},
	}}})
	if err != nil {
		log.Fatal(err)
	}
	client, err := binance.NewClient(binance.Config{Endpoints: exchange.Endpoints()})
	if err != nil {
		log.Fatal(err)
	}
	cfg.Symbols = []string{"BTCUSDT"}
	books, err := binance.NewDepthSyncer(client, cfg)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- books.Run(ctx) }()
	if err := books.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	return exchange, books, func() {
		cancel()
		if err := <-ended; err != nil {
			log.Fatal(err)
		}
		_ = exchange.Close() // always nil
	}
}

// goBinance is the shape of go-binance: diffs by a callback, the snapshot by a request, prices as strings.
type goBinance interface {
	WsDepthServe(symbol string, handler func(*diff), onError func(error)) (done, stop chan struct{}, err error)
	Depth(symbol string, limit int) (*diff, error)
}

type diff struct {
	FirstUpdateID, LastUpdateID int64
	Bids, Asks                  [][2]string
}

// With go-binance a program joins diffs and snapshot, looks for lost ones, parses the numbers, and connects again itself; its users'
// books go wrong where one of these is missing. Here a Handler gets changes of books that are synced, and a Gap when one is not.
func Example_fromGoBinance() {
	there := func(api goBinance) error {
		diffs := make(chan *diff, 1000)
		done, stop, err := api.WsDepthServe("BTCUSDT", func(d *diff) { diffs <- d }, func(err error) { log.Print(err) })
		if err != nil {
			return err
		}
		defer close(stop)
		snapshot, err := api.Depth("BTCUSDT", 1000)
		if err != nil {
			return err
		}
		bids, id := make(map[float64]float64), snapshot.LastUpdateID
		for {
			select {
			case <-done:
				return errors.New("the connection ended: begin again")
			case d := <-diffs:
				if d.LastUpdateID <= id {
					continue
				}
				if d.FirstUpdateID > id+1 {
					return errors.New("a diff is lost: begin again")
				}
				id = d.LastUpdateID
				for _, l := range d.Bids {
					price, _ := strconv.ParseFloat(l[0], 64)
					bids[price], _ = strconv.ParseFloat(l[1], 64)
				}
			}
		}
	}
	_ = there

	changes := make(chan string, 10)
	here := marketprism.On{
		Update: func(_ context.Context, rec *marketprism.Record) error {
			changes <- fmt.Sprint("changed: ", rec.Update.Bids)
			return nil
		},
		Gap: func(_ context.Context, rec *marketprism.Record) error {
			changes <- fmt.Sprint("not synced: ", rec.Gap.Reason)
			return nil
		},
	}
	exchange, _, stop := follow(binance.DepthConfig{Handler: here.Handler()})
	exchange.Apply("BTCUSDT", []orderbook.Level{level(100, 5)}, nil)
	exchange.Tick()
	fmt.Println(<-changes)
	stop()
	fmt.Println(<-changes)
	// Output:
	// changed: [{100 5}]
	// not synced: disconnect
}

// bbgoStream and bbgoBook are the shape of bbgo: a book that is bound to a stream, and callbacks on both.
type bbgoStream interface {
	OnDisconnect(func())
	Connect(ctx context.Context) error
}

type bbgoBook interface {
	BindStream(bbgoStream)
	OnUpdate(func())
	BestBidAndAsk() (bid, ask float64, ok bool)
}

// With bbgo a strategy binds a book to a session's stream and sets callbacks. Here the funcs of an On are set for each symbol, and Best
// refuses to give prices of a book that is not synced.
func Example_fromBBGo() {
	there := func(ctx context.Context, stream bbgoStream, book bbgoBook) error {
		book.BindStream(stream)
		book.OnUpdate(func() {
			if bid, ask, ok := book.BestBidAndAsk(); ok {
				fmt.Println("quote around", (bid+ask)/2)
			}
		})
		stream.OnDisconnect(func() { fmt.Println("cancel orders") })
		return stream.Connect(ctx)
	}
	_ = there

	quotes := make(chan string, 10)
	var books *binance.DepthSyncer
	started := make(chan struct{})
	quote := func(context.Context, *marketprism.Record) error {
		<-started
		bid, ask, err := books.Best("BTCUSDT")
		quotes <- fmt.Sprintln("quote between", bid.Price, "and", ask.Price, err)
		return nil
	}
	cancelOrders := func(context.Context, *marketprism.Record) error { quotes <- "cancel orders\n"; return nil }
	exchange, syncer, stop := follow(binance.DepthConfig{Handler: binance.RouteSymbols(map[string]binance.Handler{
		"BTCUSDT": marketprism.On{Update: quote, Gap: cancelOrders}.Handler(),
	}, nil)})
	books = syncer
	close(started)
	exchange.Apply("BTCUSDT", []orderbook.Level{level(100, 5)}, nil)
	exchange.Tick()
	fmt.Print(<-quotes)
	stop()
	fmt.Print(<-quotes)
	// Output:
	// quote between 100 and 101 <nil>
	// cancel orders
}

// ccxt is the shape of ccxt: a call that blocks until the book has changed.
type ccxt interface {
	WatchOrderBook(symbol string) (ccxtBook, error)
}

type ccxtBook struct{ Bids, Asks [][2]float64 }

// With ccxt a loop waits for the next book. Here it reads a channel, which holds the latest best levels, and is closed with its context. A
// slow loop skips values, and never works on old ones.
func Example_fromCCXT() {
	there := func(exchange ccxt) {
		for {
			book, err := exchange.WatchOrderBook("BTC/USDT")
			if err != nil {
				log.Print(err)
				continue
			}
			fmt.Println(book.Bids[0], book.Asks[0])
		}
	}
	_ = there

	exchange, books, stop := follow(binance.DepthConfig{TopLevels: 5})
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tops, err := books.Watch(ctx, "BTCUSDT")
	if err != nil {
		log.Fatal(err)
	}
	for top := range tops {
		if top.State != orderbook.Synced {
			continue // Status says why
		}
		fmt.Println(top.Bids[0], top.Asks[0])
		if top.LastID == 1_000_001 {
			cancel()
			continue
		}
		exchange.Apply("BTCUSDT", []orderbook.Level{level(100, 5)}, nil)
		exchange.Tick()
	}
	// Output:
	// {99 1} {101 3}
	// {100 5} {101 3}
}

// goCryptoTrader is the shape of gocryptotrader: books of all exchanges in one place, asked for by name.
type goCryptoTrader interface {
	Get(exchange, pair, asset string) (*gctBook, error)
}

type gctBook struct {
	Bids, Asks  []struct{ Price, Amount float64 }
	LastUpdated time.Time
}

// With gocryptotrader a program asks a store of books for a copy, judges its age and sums its levels. Here View shows the book without a
// copy, and only while it is synced; the sums are exact and say whether the book was known so far.
func Example_fromGoCryptoTrader() {
	there := func(books goCryptoTrader) error {
		book, err := books.Get("binance", "BTC-USDT", "spot")
		if err != nil {
			return err
		}
		if time.Since(book.LastUpdated) > 5*time.Second {
			return errors.New("the book may be old, or the market quiet")
		}
		rest, cost := 2.0, 0.0
		for _, l := range book.Bids {
			take := min(rest, l.Amount)
			rest, cost = rest-take, cost+take*l.Price
		}
		fmt.Println("2 BTC sell for", cost)
		return nil
	}
	_ = there

	_, books, stop := follow(binance.DepthConfig{})
	defer stop()
	err := books.View("BTCUSDT", func(b *orderbook.Book, _ binance.Status) {
		fill := b.FillQuantity(orderbook.Bid, orderbook.MustParse("2"))
		fmt.Println("2 BTC sell for", fill.Notional, "complete:", fill.Complete, "known:", fill.Known)
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// 2 BTC sell for 197 complete: true known: true
}
