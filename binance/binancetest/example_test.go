package binancetest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// A bot follows one symbol's book by update ids, as a program under test does.
type bot struct {
	server *binancetest.Server
	id     int64 // of the book
}

// resync fetches a snapshot.
func (b *bot) resync() {
	resp, err := b.server.HTTPClient().Get(b.server.RESTURL() + "/api/v3/depth?symbol=BTCUSDT&limit=5000")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var snap struct {
		LastUpdateID int64 `json:"lastUpdateId"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&snap); err != nil {
		log.Fatal(err)
	}
	b.id = snap.LastUpdateID
	fmt.Println("snapshot at", b.id)
}

// handle applies one event of the depth stream.
func (b *bot) handle(frame []byte) {
	var e struct {
		First int64 `json:"U"`
		Last  int64 `json:"u"`
	}
	if err := json.Unmarshal(frame, &e); err != nil {
		log.Fatal(err)
	}
	if e.First > b.id+1 {
		fmt.Printf("gap: book is at %d, event begins at %d\n", b.id, e.First)
		b.resync()
		return
	}
	b.id = e.Last
	fmt.Println("event to", b.id)
}

// Random faults from a seed. The log explains a failed run, and the same seed repeats it. Leave the program
// under test time between the faults; in a testing/synctest bubble that costs nothing.
func ExampleServer_RunChaos() {
	srv, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT", "ETHUSDT")})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = srv.Close() }()

	ctx, cancel := context.WithCancel(context.Background())
	faults := 0
	err = srv.RunChaos(ctx, binancetest.ChaosConfig{
		Seed:   7,
		Every:  time.Millisecond,
		Faults: []string{"F1", "F3", "F5"},
		Log: func(e binancetest.ChaosEvent) {
			fmt.Println(e.Fault, e.Action)
			if faults++; faults == 4 {
				cancel()
			}
		},
	})
	fmt.Println("calm again:", err == nil)

	// Output:
	// F1 DropDepth(BTCUSDT, 2)
	// F5 StaleSnapshots(BTCUSDT, 1)
	// F3 DuplicateDepth(ETHUSDT, 2)
	// F3 DuplicateDepth(ETHUSDT, 1)
	// calm again: true
}

// A test of a bot: it must detect a lost depth event and recover, and then a lost connection.
func Example() {
	srv, err := binancetest.New(binancetest.Config{
		Symbols: binancetest.Symbols("BTCUSDT"),
		Tick:    -1, // the test ends each interval of the stream
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = srv.Close() }()

	ws, _, err := websocket.DefaultDialer.Dial(srv.StreamURL()+"/ws/btcusdt@depth@100ms", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	b := &bot{server: srv}
	b.resync()

	price := 100 * orderbook.One
	for interval := range 4 {
		if interval == 1 {
			if err := srv.DropDepth("BTCUSDT", 1); err != nil {
				log.Fatal(err)
			}
		}
		for range 10 { // changes
			bid := orderbook.Level{Price: price - orderbook.One, Quantity: orderbook.One}
			if _, err := srv.Apply("BTCUSDT", []orderbook.Level{bid}, nil); err != nil {
				log.Fatal(err)
			}
		}
		srv.Tick()
		if interval == 1 {
			continue // loses its event
		}
		_, frame, err := ws.ReadMessage()
		if err != nil {
			log.Fatal(err)
		}
		b.handle(frame)
	}

	truth, err := srv.Book("BTCUSDT")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("bot is at the true id:", b.id == truth.LastID)

	srv.Disconnect(binancetest.CloseGoingAway, "")
	_, _, err = ws.ReadMessage()
	fmt.Println("going away:", websocket.IsCloseError(err, binancetest.CloseGoingAway))

	// Output:
	// snapshot at 1000000
	// event to 1000010
	// gap: book is at 1000010, event begins at 1000021
	// snapshot at 1000030
	// event to 1000040
	// bot is at the true id: true
	// going away: true
}
