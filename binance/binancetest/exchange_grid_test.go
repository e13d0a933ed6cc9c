package binancetest_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// BenchmarkInterval measures one interval of a busy symbol: fifty changes, and their event to one subscriber.
func BenchmarkInterval(b *testing.B) {
	s, err := binancetest.New(binancetest.Config{Tick: -1, Symbols: []binancetest.Symbol{{Name: "BTCUSDT", Rate: 500, Levels: 1000}}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ws, _, err := tryDial(s, "/ws/btcusdt@depth@100ms")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Walk(); err != nil {
			b.Fatal(err)
		}
		s.Tick()
		if _, _, err := ws.ReadMessage(); err != nil {
			b.Fatal(err)
		}
	}
}

// interval makes one change without levels, and ends the interval.
func interval(t *testing.T, s *binancetest.Server) {
	t.Helper()
	apply(t, s, "BTCUSDT", nil, nil)
	s.Tick()
}

// firsts returns the first ids of the next n events.
func (c *client) firsts(n int) string {
	c.t.Helper()
	var ids []int64
	for range n {
		ids = append(ids, c.next().First)
	}
	return fmt.Sprint(ids)
}

// TestEventShapes is F10, F11, F12 and F28, and the part of F30 about the book.
func TestEventShapes(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	frame := func() string {
		s.Tick()
		text := withoutTimes(c.text())
		return text[strings.Index(text, `"U"`):]
	}
	apply(t, s, "BTCUSDT", nil, nil)
	equal(t, "both sides empty", frame(), `"U":101,"u":101,"b":[],"a":[]}`)
	apply(t, s, "BTCUSDT", nil, levels(t, "13 5"))
	equal(t, "one side", frame(), `"U":102,"u":102,"b":[],"a":[["13.00000000","5.00000000"]]}`)
	apply(t, s, "BTCUSDT", levels(t, "3 0"), nil)
	equal(t, "unknown level", frame(), `"U":103,"u":103,"b":[["3.00000000","0.00000000"]],"a":[]}`)
	apply(t, s, "BTCUSDT", []orderbook.Level{{Price: 3 * orderbook.One, Quantity: math.MaxInt64}}, nil)
	equal(t, "largest quantity", frame(), `"U":104,"u":104,"b":[["3.00000000","92233720368.54775807"]],"a":[]}`)
	if _, err := s.EmptyBook("BTCUSDT"); err != nil {
		t.Fatal(err)
	}
	equal(t, "emptied", strings.Count(frame(), `"0.00000000"`), 6)
	snap := getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT")
	equal(t, "empty book", fmt.Sprint(snap.ID, snap.Bids, snap.Asks), "105 [] []")
}

// TestMovePrice is F13: a level far outside the snapshot is sent, and then becomes the best.
func TestMovePrice(t *testing.T) {
	s := newServer(t, manual(t))
	apply(t, s, "BTCUSDT", levels(t, "2 7"), levels(t, "99 7"))
	equal(t, "outside the snapshot", len(getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT&limit=2").Asks), 2)
	best := func() string {
		snap, err := s.Book("BTCUSDT")
		must(t, err)
		side := func(levels []orderbook.Level) string {
			if len(levels) == 0 {
				return "-"
			}
			return levels[0].Price.String()
		}
		return fmt.Sprint(snap.LastID, " ", side(snap.Bids), " ", side(snap.Asks))
	}
	_, err := s.MovePrice("BTCUSDT", fixed(t, "10.5"))
	must(t, err)
	equal(t, "inside the spread", best(), "102 10.5 11")
	_, err = s.MovePrice("BTCUSDT", fixed(t, "50"))
	must(t, err)
	equal(t, "up", best(), "105 50 99") // removes two asks, adds a bid
	_, err = s.MovePrice("BTCUSDT", fixed(t, "3"))
	must(t, err)
	equal(t, "down", best(), "110 2 3") // removes 50, 10.5, 10 and 9.5, adds an ask
	_, err = s.MovePrice("BTCUSDT", fixed(t, "1"))
	must(t, err)
	equal(t, "through the book", best(), "112 - 1")
}

// TestShortSnapshot is F14.
func TestShortSnapshot(t *testing.T) {
	s := newServer(t, manual(t))
	snap := getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT&limit=5000")
	equal(t, "levels", fmt.Sprint(len(snap.Bids), len(snap.Asks)), "2 2")
}

// TestNewborn is F15: a listing without orders answers -1, and its first event begins at id 1.
func TestNewborn(t *testing.T) {
	for market, path := range map[marketprism.Market]string{marketprism.Spot: "/api/v3", marketprism.COINM: "/dapi/v1"} {
		s := newServer(t, binancetest.Config{Market: market, Tick: -1, Symbols: binancetest.Symbols("OTHERUSD")})
		must(t, s.List(binancetest.Symbol{Name: "NEWUSD", LastID: -1}))
		c := dial(t, s, "/ws/newusd@depth@100ms")
		snap := decodeLoosely[snapshot](t, get(t, s, path+"/depth?symbol=NEWUSD").body)
		equal(t, "snapshot", fmt.Sprint(snap.ID, snap.Bids, snap.Asks), "-1 [] []")
		id := apply(t, s, "NEWUSD", levels(t, "1 1"), nil)
		apply(t, s, "NEWUSD", levels(t, "2 1"), nil)
		s.Tick()
		e := decodeLoosely[event](t, c.text())
		equal(t, "event begins", e.First, id)
		if market == marketprism.Spot {
			equal(t, "ids", fmt.Sprint(e.First, e.Last), "1 2")
		} else {
			equal(t, "pu", *e.Prev, -1)
		}
		equal(t, "snapshot after it", decodeLoosely[snapshot](t, get(t, s, path+"/depth?symbol=NEWUSD").body).ID, e.Last)
	}
}

// TestHugeEvent is F27: one event of 30,000 levels.
func TestHugeEvent(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	var bids []orderbook.Level
	for i := range 30_000 {
		bids = append(bids, orderbook.Level{Price: orderbook.Fixed(1 + i), Quantity: orderbook.One})
	}
	apply(t, s, "BTCUSDT", bids, nil)
	s.Tick()
	text := c.text()
	equal(t, "levels", len(decode[event](t, text).Bids), 30_000)
	if len(text) <= 655_350 {
		t.Errorf("only %d bytes", len(text))
	}
}

// TestFuturesContinuation is F34: the first event after a snapshot has the snapshot's id as pu, and a U above it.
func TestFuturesContinuation(t *testing.T) {
	s := newServer(t, binancetest.Config{Market: marketprism.COINM, Tick: -1, Symbols: binancetest.Symbols("BTCUSD_PERP")})
	c := dial(t, s, "/ws/btcusd_perp@depth@100ms")
	apply(t, s, "BTCUSD_PERP", nil, nil)
	s.Tick()
	snap := decodeLoosely[snapshot](t, get(t, s, "/dapi/v1/depth?symbol=BTCUSD_PERP").body)
	for range 20 {
		apply(t, s, "BTCUSD_PERP", nil, nil)
		s.Tick()
	}
	c.next()
	e := c.next()
	if *e.Prev != snap.ID || e.First <= snap.ID {
		t.Errorf("snapshot %d, event U %d pu %d", snap.ID, e.First, *e.Prev)
	}
}

// TestAlternateBatches is F38: two connections carry the same changes in different events.
func TestAlternateBatches(t *testing.T) {
	cfg := manual(t)
	cfg.AlternateBatches = true
	s := newServer(t, cfg)
	a, b := dial(t, s, "/ws/btcusdt@depth@100ms"), dial(t, s, "/ws/btcusdt@depth@100ms")
	for range 5 {
		interval(t, s)
	}
	ids := func(c *client, n int) (list []string) {
		for range n {
			e := c.next()
			list = append(list, fmt.Sprint(e.First, "-", e.Last))
		}
		return list
	}
	equal(t, "odd", fmt.Sprint(ids(a, 5)), "[101-101 102-102 103-103 104-104 105-105]")
	equal(t, "even", fmt.Sprint(ids(b, 2)), "[101-102 103-104]")
}

// TestPartialDepth: the best levels, in the shapes of spot and of futures.
func TestPartialDepth(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth5@100ms")
	for i := range 6 {
		apply(t, s, "BTCUSDT", []orderbook.Level{{Price: orderbook.One * orderbook.Fixed(1+i), Quantity: orderbook.One}}, nil)
	}
	s.Tick()
	equal(t, "spot", c.text(), `{"lastUpdateId":106,"bids":[["10.00000000","1.00000000"],["9.50000000","2.00000000"],["6.00000000","1.00000000"],`+
		`["5.00000000","1.00000000"],["4.00000000","1.00000000"]],"asks":[["11.00000000","3.00000000"],["12.00000000","4.00000000"]]}`)

	f := newServer(t, binancetest.Config{Market: marketprism.USDM, Tick: -1, Symbols: []binancetest.Symbol{
		{Name: "BTCUSDT", TickSize: orderbook.One, StepSize: orderbook.One, LastID: 7, Bids: levels(t, "10 1, 9 1"), Asks: levels(t, "11 3, 12 1")},
	}})
	c = dial(t, f, "/public/ws/btcusdt@depth20@500ms")
	id := apply(t, f, "BTCUSDT", levels(t, "10 2"), nil)
	for range 5 {
		f.Tick()
	}
	equal(t, "futures", withoutTimes(c.text()), fmt.Sprintf(`{"e":"depthUpdate","E":#,"T":#,"s":"BTCUSDT","U":%d,"u":%d,"pu":7,`+
		`"b":[["10","2"],["9","1"]],"a":[["11","3"],["12","1"]],"ps":"BTCUSDT","st":1}`, id, id))
}

// TestFuturesSpeeds: the events of each speed of the depth stream form their own chain of ids.
func TestFuturesSpeeds(t *testing.T) {
	s := newServer(t, binancetest.Config{Market: marketprism.USDM, Tick: -1, Symbols: binancetest.Symbols("BTCUSDT")})
	counts := make(map[string]int)
	names := []string{"btcusdt@depth@100ms", "btcusdt@depth", "btcusdt@depth@250ms", "btcusdt@depth@500ms"}
	c := dial(t, s, "/public/stream?streams="+strings.Join(names, "/"))
	for range 10 {
		interval(t, s)
	}
	last := make(map[string]int64)
	for range 10 + 4 + 4 + 2 {
		f := decode[struct {
			Stream string `json:"stream"`
			Data   event  `json:"data"`
		}](t, c.text())
		if before, seen := last[f.Stream]; seen {
			equal(t, f.Stream+" pu", *f.Data.Prev, before)
		}
		last[f.Stream] = f.Data.Last
		counts[f.Stream]++
	}
	equal(t, "events", fmt.Sprint(counts), "map[btcusdt@depth:4 btcusdt@depth@100ms:10 btcusdt@depth@250ms:4 btcusdt@depth@500ms:2]")
}

// TestGrid: depth events are sent at the borders of a grid common to all symbols, with all changes of the
// interval, and only if there are any.
func TestGrid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT", "ETHUSDT"))
		c := dial(t, s, "/ws/btcusdt@depth@100ms/ethusdt@depth@100ms")
		slow := dial(t, s, "/ws/btcusdt@depth")
		time.Sleep(30 * time.Millisecond)
		start := time.Now()
		apply(t, s, "BTCUSDT", levels(t, "1 1, 2 2"), nil)
		time.Sleep(40 * time.Millisecond)
		apply(t, s, "BTCUSDT", levels(t, "1 0, 3 3"), nil) // level 1 appears and disappears between two borders
		apply(t, s, "ETHUSDT", levels(t, "1 1"), nil)

		e := c.next()
		equal(t, "at the border", time.Since(start), 70*time.Millisecond)
		equal(t, "E", e.Time, time.Now().UnixMilli())
		equal(t, "U", e.First, 1_000_001)
		equal(t, "u", e.Last, 1_000_002)
		equal(t, "bids", fmt.Sprint(e.Bids), "[[3.00000000 3.00000000] [2.00000000 2.00000000] [1.00000000 0.00000000]]")
		e = c.next()
		equal(t, "symbol at the same border", e.Symbol, "ETHUSDT")
		equal(t, "at the same border", time.Since(start), 70*time.Millisecond)

		time.Sleep(330 * time.Millisecond)
		apply(t, s, "BTCUSDT", nil, nil)
		e = c.next()
		equal(t, "silence is not broken", time.Since(start), 470*time.Millisecond)
		equal(t, "U follows", e.First, 1_000_003)
		equal(t, "empty event", len(e.Bids)+len(e.Asks), 0)

		e = slow.next()
		equal(t, "one second stream", time.Since(start), 970*time.Millisecond)
		equal(t, "U of one second", e.First, 1_000_001)
		equal(t, "u of one second", e.Last, 1_000_003)
		equal(t, "levels of one second", len(e.Bids), 3)
	})
}

// TestManualGrid: ten Ticks make one interval of the 1 s stream.
func TestManualGrid(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth")
	for range 20 {
		apply(t, s, "BTCUSDT", levels(t, "1 1"), nil)
		s.Tick()
	}
	for _, want := range [][2]int64{{101, 110}, {111, 120}} {
		e := c.next()
		equal(t, "ids", [2]int64{e.First, e.Last}, want)
	}
}

func TestSnapshotsAreTakenAtBorders(t *testing.T) {
	for midBatch, want := range map[bool]int64{false: 101, true: 103} {
		cfg := manual(t)
		cfg.MidBatchSnapshots = midBatch
		s := newServer(t, cfg)
		apply(t, s, "BTCUSDT", levels(t, "10 2"), nil)
		s.Tick()
		apply(t, s, "BTCUSDT", levels(t, "10 3, 9 9"), nil)
		apply(t, s, "BTCUSDT", levels(t, "10 4"), nil)
		snap := getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT")
		equal(t, "id", snap.ID, want)
		equal(t, "best bid", snap.Bids[0][1], map[bool]string{false: "2.00000000", true: "4.00000000"}[midBatch])
		equal(t, "bids", len(snap.Bids), map[bool]int{false: 2, true: 3}[midBatch])
	}
}

func TestEmptySide(t *testing.T) {
	s := newServer(t, binancetest.Config{Tick: -1, Symbols: []binancetest.Symbol{{Name: "NEWUSDT", Levels: -1}}})
	c := dial(t, s, "/ws/newusdt@bookTicker")
	equal(t, "empty book", get(t, s, "/api/v3/depth?symbol=NEWUSDT").body, `{"lastUpdateId":1000000,"bids":[],"asks":[]}`)
	apply(t, s, "NEWUSDT", levels(t, "5 1"), nil)
	e := decode[tickerEvent](t, c.text())
	equal(t, "no ask", e.Ask+" "+e.AskQty, "0.00000000 0.00000000")
}
