package binancetest

import (
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A symbolState is the state of one listed instrument: its true book, what each speed of the depth stream
// has yet to tell, and how to get back to earlier states. The Server's mutex guards it.
type symbolState struct {
	Symbol
	lower    string // in stream names
	jsonName []byte // Name as a JSON string
	jsonPair []byte // Base and Quote in one, as futures payloads name the pair
	format   numberFormat

	book    book
	known   bool // false while a playback has not reached the symbol's first snapshot
	id      int64
	batches []batch // one for each of the market's depth periods, fastest first; twice with Config.AlternateBatches

	border  int64     // id of the last border, where snapshots are taken
	history []borders // what changed up to each of the last borders, oldest first
	between []*state  // where the last snapshots between two borders were taken

	idOffset int64 // by how much the ids of this symbol are behind the futures' shared one

	tradeID, aggTradeID int64
	tape                tape
	rng                 *rand.Rand // of the walk
	faults              symbolFaults
}

// A batch gathers the changes of one interval of one depth speed.
type batch struct {
	period  depthPeriod
	class   int   // of the connections that get it: 0, or with Config.AlternateBatches 1 for every second one
	every   int64 // milliseconds of the grid
	prev    int64 // last id of the event before
	first   int64 // 0 means that nothing happened
	last    int64
	at      time.Time                 // of the last change
	changed map[place]orderbook.Fixed // the quantity each had before the interval

	held     []payload // events that a fault keeps back
	reversed bool      // they go out behind the next event, else ahead of it
}

// newborn is the id of a symbol that has never had a change.
const newborn = -1

// borders lead from the state at one border to the state at the border before it.
type borders struct {
	id     int64    // the later one
	before int64    // the earlier one
	undo   []change // of all that happened between them
}

func newSymbol(y Symbol, r *rules, cfg *Config) *symbolState {
	h := fnv.New64a()
	h.Write([]byte(y.Name))
	s := &symbolState{
		Symbol: y, lower: lower(y.Name), known: true,
		jsonName: jsonString(y.Name), jsonPair: jsonString(y.Base + y.Quote),
		format: newNumberFormat(r, y.TickSize, y.StepSize),
		rng:    rand.New(rand.NewPCG(cfg.Seed, h.Sum64())),
		tape:   tape{keep: max(cfg.TradeHistory, 0)},
	}
	for class := range 1 + index(cfg.AlternateBatches) {
		for _, p := range r.depthPeriods {
			s.batches = append(s.batches, batch{
				period: p, class: class, every: p.millis * int64(1+class), changed: make(map[place]orderbook.Fixed),
			})
		}
	}
	s.fill()
	s.startAt(y.LastID)
	return s
}

// fill makes the book the one the symbol begins with. A newborn's is empty.
func (y *symbolState) fill() {
	y.book = book{}
	switch {
	case y.LastID == newborn:
	case y.Bids != nil || y.Asks != nil:
		y.book.load(y.Bids, y.Asks)
	default:
		y.generate()
	}
}

// startAt makes id the border from which everything is counted. What was before it is forgotten.
func (y *symbolState) startAt(id int64) {
	y.id, y.border, y.history, y.between = id, id, nil, nil
	for i := range y.batches {
		b := &y.batches[i]
		b.prev, b.first, b.last, b.held = id, 0, 0, nil
		clear(b.changed)
	}
}

// change applies one change of the venue under one update id. The first one of a newborn has no
// predecessor, so that its event begins at its own id.
func (y *symbolState) change(id int64, now time.Time, contiguous bool, changes ...change) {
	for _, c := range changes {
		old := y.book.set(c)
		for i := range y.batches {
			if _, ok := y.batches[i].changed[c.place]; !ok {
				y.batches[i].changed[c.place] = old
			}
		}
	}
	y.id = id
	for i := range y.batches {
		b := &y.batches[i]
		if b.first == 0 {
			b.first = id
			if contiguous && b.prev != newborn {
				b.first = b.prev + 1
			}
		}
		b.last, b.at = id, now
	}
}

// cut ends the interval of batch i. The fastest one makes the borders.
func (y *symbolState) cut(i, keep int) {
	b := &y.batches[i]
	if i == 0 {
		if keep > 0 {
			y.history = append(y.history, borders{id: b.last, before: y.border, undo: b.undo()})
			if extra := len(y.history) - keep; extra > 0 {
				y.history = append(y.history[:0], y.history[extra:]...)
			}
		}
		y.border = b.last
	}
	b.prev, b.first = b.last, 0
	clear(b.changed)
}

// undo returns the changes that take the interval's effect back.
func (b *batch) undo() []change {
	undo := make([]change, 0, len(b.changed))
	for p, old := range b.changed {
		undo = append(undo, change{place: p, quantity: old})
	}
	return undo
}

// current returns the book with every change.
func (y *symbolState) current() *state { return &state{id: y.id, book: y.book.clone()} }

// atBorder returns the book as it was at a border: the last one if back is 0, the one before it for 1,
// and so on, as far as the history goes.
func (y *symbolState) atBorder(back int) *state {
	st := y.current()
	st.undo(y.batches[0].undo(), y.border)
	for i := len(y.history) - 1; i >= 0 && back > 0; i, back = i-1, back-1 {
		st.undo(y.history[i].undo, y.history[i].before)
	}
	return st
}

// midBatch returns the book as it is for a snapshot, and remembers it.
func (y *symbolState) midBatch() *state {
	st := y.current()
	if st.id != y.border {
		y.between = append(y.between, st)
		y.between = y.between[max(len(y.between)-keptBetween, 0):]
	}
	return st
}

// keptBetween is the number of snapshots between borders that are remembered.
const keptBetween = 16

// atID returns the book at a border's id, at that of a remembered snapshot, or at the current id; nil if
// the id is none of these or too old.
func (y *symbolState) atID(id int64) *state {
	if id == y.id {
		return y.current()
	}
	if i := slices.IndexFunc(y.between, func(st *state) bool { return st.id == id }); i >= 0 {
		return y.between[i]
	}
	st := y.atBorder(0)
	for i := len(y.history) - 1; i >= 0 && st.id > id; i-- {
		st.undo(y.history[i].undo, y.history[i].before)
	}
	if st.id != id {
		return nil
	}
	return st
}

// A state is a book at one update id.
type state struct {
	id   int64
	book book
}

func (st *state) undo(changes []change, id int64) {
	for _, c := range changes {
		st.book.set(c)
	}
	st.id = id
}

func (st *state) snapshot(limit int) orderbook.Snapshot {
	bids, asks := st.book.snapshot(limit)
	return orderbook.Snapshot{LastID: st.id, Bids: bids, Asks: asks}
}

func jsonString(s string) []byte {
	b, _ := json.Marshal(s) // a string always marshals
	return b
}
