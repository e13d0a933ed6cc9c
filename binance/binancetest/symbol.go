package binancetest

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A symbolState is the state of one listed instrument: its true book, the pending changes of each speed of
// the depth stream, and the changes that lead back to earlier states. The exchange's mutex guards it.
type symbolState struct {
	Symbol
	lower    string // in stream names
	jsonName []byte // Name as a JSON string
	jsonPair []byte // Base and Quote in one, as futures payloads name the pair
	format   numberFormat

	book    book
	synced  bool // false until a playback reaches the symbol's first snapshot
	id      int64
	batches []batch // one for each of the market's depth periods, fastest first; twice with Config.AlternateBatches

	border  int64     // id of the last border, where snapshots are taken
	history []borders // what changed up to each of the last borders, oldest first
	between []*state  // the last snapshots taken between two borders

	idOffset int64 // how far the ids of this symbol are behind the shared id of futures

	tradeID, aggTradeID int64
	tape                tape
	rng                 *rand.Rand // of the walk
	meanLots            float64    // of its quantities
	faults              symbolFaults
}

// A batch collects the changes of one interval of one depth speed.
type batch struct {
	period  depthPeriod
	class   int   // of its connections: 0, or with Config.AlternateBatches 1 for every second one
	every   int64 // milliseconds of the grid
	prev    int64 // last id of the event before
	first   int64 // 0 means no change
	last    int64
	at      time.Time                 // of the last change
	changed map[place]orderbook.Fixed // the quantity each had before the interval

	kept keptEvents
}

// newborn is the id of a symbol without a change.
const newborn = -1

// borders hold the changes that lead from the state at one border to that at the border before.
type borders struct {
	id     int64    // the later one
	before int64    // the earlier one
	undo   []change // of every change between them
}

func newSymbol(sym Symbol, r *rules, cfg *Config) *symbolState {
	h := fnv.New64a()
	h.Write([]byte(sym.Name))
	s := &symbolState{
		Symbol: sym, lower: lower(sym.Name), synced: true,
		jsonName: jsonString(sym.Name), jsonPair: jsonString(sym.Base + sym.Quote),
		format:   newNumberFormat(r, &sym),
		rng:      rand.New(rand.NewPCG(cfg.Seed, h.Sum64())), // #nosec G404 -- simulated, by a seed
		meanLots: meanLots(&sym, cfg.Market),
		tape:     tape{keep: max(cfg.TradeHistory, 0)},
	}
	for class := range 1 + index(cfg.AlternateBatches) {
		for _, p := range r.depthPeriods {
			s.batches = append(s.batches, batch{
				period: p, class: class, every: p.millis * int64(1+class), changed: make(map[place]orderbook.Fixed),
			})
		}
	}
	s.fill()
	s.startAt(sym.LastID)
	s.tradeID, s.aggTradeID = sym.TradeID-1, sym.TradeID-1
	return s
}

// fill sets the book to the symbol's first one. A newborn's is empty.
func (sym *symbolState) fill() {
	sym.book = book{}
	switch {
	case sym.LastID == newborn:
	case sym.Bids != nil || sym.Asks != nil:
		sym.book.load(sym.Bids, sym.Asks)
	default:
		sym.generate()
	}
}

// generate fills the book with levels on both sides of Price, denser near it.
func (sym *symbolState) generate() {
	for _, sd := range [...]side{bid, ask} {
		price := sym.Price
		for range sym.Levels {
			step := sym.TickSize * orderbook.Fixed(1+sym.rng.IntN(3))
			if sd == bid {
				price -= step
			} else {
				price += step
			}
			if price <= 0 {
				break
			}
			sym.book.set(change{place{sd, price}, sym.randomQuantity()})
		}
	}
}

// startAt makes id the current border and discards the history.
func (sym *symbolState) startAt(id int64) {
	sym.id, sym.border, sym.history, sym.between = id, id, nil, nil
	for i := range sym.batches {
		b := &sym.batches[i]
		b.prev, b.first, b.last, b.kept.events = id, 0, 0, nil
		clear(b.changed)
	}
}

// change applies the changes of one update id. The first one of a newborn has no predecessor, so that its
// event begins at its own id.
func (sym *symbolState) change(id int64, now time.Time, contiguous bool, changes ...change) {
	for _, c := range changes {
		old := sym.book.set(c)
		for i := range sym.batches {
			if _, ok := sym.batches[i].changed[c.place]; !ok {
				sym.batches[i].changed[c.place] = old
			}
		}
	}
	sym.id = id
	for i := range sym.batches {
		b := &sym.batches[i]
		if b.first == 0 {
			b.first = id
			if contiguous && b.prev != newborn {
				b.first = b.prev + 1
			}
		}
		b.last, b.at = id, now
	}
}

// cut ends the interval of batch i. Those of the fastest one are the borders.
func (sym *symbolState) cut(i, keep int) {
	b := &sym.batches[i]
	if i == 0 {
		if keep > 0 {
			sym.history = append(sym.history, borders{id: b.last, before: sym.border, undo: b.undo()})
			if extra := len(sym.history) - keep; extra > 0 {
				sym.history = append(sym.history[:0], sym.history[extra:]...)
			}
		}
		sym.border = b.last
	}
	b.prev, b.first = b.last, 0
	clear(b.changed)
}

// undo returns the changes that revert the interval.
func (b *batch) undo() []change {
	undo := make([]change, 0, len(b.changed))
	for p, old := range b.changed {
		undo = append(undo, change{place: p, quantity: old})
	}
	return undo
}

// current returns the current book.
func (sym *symbolState) current() *state { return &state{id: sym.id, book: sym.book.clone()} }

// atBorder returns the book at a border: the last one if back is 0, the one before it for 1, and so on, as
// far as the history reaches.
func (sym *symbolState) atBorder(back int) *state {
	st := sym.current()
	st.undo(sym.batches[0].undo(), sym.border)
	for i := len(sym.history) - 1; i >= 0 && back > 0; i, back = i-1, back-1 {
		st.undo(sym.history[i].undo, sym.history[i].before)
	}
	return st
}

// midBatch returns the current book for a snapshot, and remembers it.
func (sym *symbolState) midBatch() *state {
	st := sym.current()
	if st.id != sym.border {
		sym.between = append(sym.between, st)
		sym.between = sym.between[max(len(sym.between)-keptBetween, 0):]
	}
	return st
}

// keptBetween is the number of snapshots between borders that are remembered.
const keptBetween = 16

// atID returns the book at the id of a border, of a remembered snapshot, or at the current id, and nil for
// any other id.
func (sym *symbolState) atID(id int64) *state {
	if id == sym.id {
		return sym.current()
	}
	if i := slices.IndexFunc(sym.between, func(st *state) bool { return st.id == id }); i >= 0 {
		return sym.between[i]
	}
	st := sym.atBorder(0)
	for i := len(sym.history) - 1; i >= 0 && st.id > id; i-- {
		st.undo(sym.history[i].undo, sym.history[i].before)
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

func (sym *symbolState) setSteps(r *rules, tick, step orderbook.Fixed) {
	sym.TickSize, sym.StepSize = tick, step
	sym.format = newNumberFormat(r, &sym.Symbol)
}

// quiet reports whether the random walk skips the symbol. In HALT market data continues.
func (sym *symbolState) quiet() bool {
	return slices.Contains([]string{"BREAK", "PENDING_TRADING", "CLOSE", "DELIVERED"}, sym.Status)
}

// cancelOnly reports whether the random walk only removes levels.
func (sym *symbolState) cancelOnly() bool {
	return sym.Status == "CANCEL_ONLY" || sym.Status == "TRADING_CANCEL_ONLY"
}

// poisson draws the number of changes in an interval with this mean (Knuth's method; a large mean is drawn
// in parts, which keep exp(-mean) above zero).
func (sym *symbolState) poisson(mean float64) (n int) {
	for ; mean > 0; mean -= 500 {
		limit := math.Exp(-min(mean, 500))
		for p := sym.rng.Float64(); p > limit; p *= sym.rng.Float64() {
			n++
		}
	}
	return n
}

// reach returns the approximate number of levels of a side under the random walk.
func (sym *symbolState) reach() int { return max(sym.Levels, 20) }

// depth draws a number of places behind the best, less than n and mostly small.
func (sym *symbolState) depth(n int) int {
	return min(int(sym.rng.ExpFloat64()*12), n-1)
}

// cappedShare is one in how many quantities of the random walk is beyond MaxFixed, where the base asset allows it.
const cappedShare = 16

func (sym *symbolState) randomQuantity() orderbook.Fixed {
	if sym.BasePrecision < orderbook.FractionDigits && sym.rng.IntN(cappedShare) == 0 {
		return orderbook.MaxFixed
	}
	return sym.tradedQuantity()
}

// tradedQuantity draws a quantity that an order may have.
func (sym *symbolState) tradedQuantity() orderbook.Fixed {
	most := float64(sym.maxOrder() / sym.StepSize)
	return sym.StepSize * orderbook.Fixed(1+int64(min(sym.rng.ExpFloat64()*sym.meanLots, most)))
}

// maxOrder is the largest quantity of an order: 92233720368 of an asset with few decimals, as of BTTC, PEPE and FLOKI, and half
// of that of another cheap one, as of SHIB.
func (sym *symbolState) maxOrder() orderbook.Fixed {
	switch {
	case sym.BasePrecision < orderbook.FractionDigits:
		return orderbook.MaxFixed / orderbook.One * orderbook.One
	case sym.Price < orderbook.One/1000:
		return orderbook.MaxFixed / 2 / orderbook.One * orderbook.One
	}
	return 9_000_000 * orderbook.One
}
