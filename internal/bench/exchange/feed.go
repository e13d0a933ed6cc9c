package main

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/orderbook"
)

// A loop is an endless feed: the updates of a feed, then their reversals one by one, which lead back to the
// snapshot. Many symbols share one loop, each at its own position. Levels are encoded once.
type loop struct {
	start   orderbook.Snapshot
	updates []orderbook.Update
	tails   [][]byte // of the frames, from the bids on
}

const loopEvents = 64 // forward, and as many back

func newLoop(levels int, seed uint64) *loop {
	feed := eventgen.New(eventgen.Config{Levels: levels, Events: loopEvents, Seed: seed})
	l := &loop{start: feed.Snapshot, updates: feed.Updates}
	var book orderbook.Book
	book.Reset(&l.start)
	back := make([]orderbook.Update, loopEvents)
	for i := range feed.Updates {
		u := &feed.Updates[i]
		back[loopEvents-1-i] = undo(&book, u)
		book.Apply(u)
	}
	l.updates = append(l.updates, back...)
	for i := range l.updates {
		tail := eventgen.AppendLevels([]byte(`,"b":`), l.updates[i].Bids)
		tail = eventgen.AppendLevels(append(tail, `,"a":`...), l.updates[i].Asks)
		l.tails = append(l.tails, append(tail, "}}"...))
	}
	return l
}

// undo returns the update that reverts u.
func undo(book *orderbook.Book, u *orderbook.Update) orderbook.Update {
	before := func(changes, levels []orderbook.Level) []orderbook.Level {
		quantity := make(map[orderbook.Fixed]orderbook.Fixed, len(levels))
		for _, l := range levels {
			quantity[l.Price] = l.Quantity
		}
		var back []orderbook.Level
		for _, l := range changes {
			back = append(back, orderbook.Level{Price: l.Price, Quantity: quantity[l.Price]})
		}
		return back
	}
	return orderbook.Update{Bids: before(u.Bids, book.AppendBids(nil, -1)), Asks: before(u.Asks, book.AppendAsks(nil, -1))}
}

// A symbol is the position of one symbol in its loop. The exchange's mutex guards it.
type symbol struct {
	name, stream string
	loop         *loop
	sent         int64 // events so far
	head         []byte
	subscribers  []*conn
}

const (
	firstID     = 1_000_000
	idsPerEvent = 40
)

func newSymbol(i int, l *loop) *symbol {
	y := &symbol{name: fmt.Sprintf("T%04dUSDT", i), loop: l, sent: int64(i)}
	y.stream = fmt.Sprintf("t%04dusdt@depth@100ms", i)
	y.head = fmt.Appendf(nil, `{"stream":"%s","data":{"e":"depthUpdate","s":"%s","U":`, y.stream, y.name)
	return y
}

func (y *symbol) lastID() int64 { return firstID + y.sent*idsPerEvent }

// next appends the start of the symbol's next event; the caller appends the time and then the tail.
func (y *symbol) next(frame []byte) (head, tail []byte) {
	first := y.lastID() + 1
	tail = y.loop.tails[y.sent%int64(len(y.loop.tails))]
	y.sent++
	frame = strconv.AppendInt(append(frame, y.head...), first, 10)
	frame = strconv.AppendInt(append(frame, `,"u":`...), y.lastID(), 10)
	return append(frame, `,"E":`...), tail
}

// snapshot returns the REST answer for the symbol's current book.
func (y *symbol) snapshot(limit int) []byte {
	var book orderbook.Book
	book.Reset(&y.loop.start)
	for i := range y.sent % int64(len(y.loop.updates)) {
		book.Apply(&y.loop.updates[i])
	}
	b := fmt.Appendf(nil, `{"lastUpdateId":%d,"bids":`, y.lastID())
	b = eventgen.AppendLevels(b, book.AppendBids(nil, limit))
	b = eventgen.AppendLevels(append(b, `,"asks":`...), book.AppendAsks(nil, limit))
	return append(b, '}')
}

// exchangeInfo returns the REST answer that lists the symbols.
func exchangeInfo(symbols []*symbol) []byte {
	var b bytes.Buffer
	b.WriteString(`{"timezone":"UTC","rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":1000000}],"symbols":[`)
	for i, y := range symbols {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"symbol":%q,"status":"TRADING","baseAsset":%q,"quoteAsset":"USDT","filters":[]}`, y.name, y.name[:5])
	}
	b.WriteString("]}")
	return b.Bytes()
}
