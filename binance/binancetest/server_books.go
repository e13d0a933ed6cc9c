package binancetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// Apply makes one change of the book under one update id, and returns the id. A level's quantity is
// its new absolute quantity, 0 removes it; no level at all is a change that nobody sees but in the id.
// The depth streams tell it at the end of the interval, bookTicker at once. The errors are
// ErrUnknownSymbol, ErrPlayback and ErrClosed.
func (s *Server) Apply(symbol string, bids, asks []orderbook.Level) (id int64, err error) {
	changes := make([]change, 0, len(bids)+len(asks))
	for _, l := range bids {
		changes = append(changes, change{place{bid, l.Price}, l.Quantity})
	}
	for _, l := range asks {
		changes = append(changes, change{place{ask, l.Price}, l.Quantity})
	}
	err = s.script(symbol, func(sym *symbolState) { id = s.apply(sym, changes...) })
	return id, err
}

// Trade tells of an execution on the trade and aggTrade streams and returns the trade's id. It leaves
// the book alone: what the execution took from it is for Apply to say. buyerMaker means that the
// buyer's order was resting. The errors are those of Apply.
//
// TradeFills is the same for an order that several others filled.
func (s *Server) Trade(symbol string, price, quantity orderbook.Fixed, buyerMaker bool) (id int64, err error) {
	err = s.script(symbol, func(sym *symbolState) { id = s.execute(sym, price, buyerMaker, quantity) })
	return id, err
}

// TradeFills tells of one taker order that was filled by several resting ones at one price: a trade for
// each quantity, and one aggregate of them all. It returns the id of the first trade. The errors are
// those of Apply, and ErrConfig without a quantity.
func (s *Server) TradeFills(symbol string, price orderbook.Fixed, buyerMaker bool, quantities ...orderbook.Fixed) (firstID int64, err error) {
	if len(quantities) == 0 {
		return 0, fmt.Errorf("%w: an order without fills", ErrConfig)
	}
	err = s.script(symbol, func(sym *symbolState) { firstID = s.execute(sym, price, buyerMaker, quantities...) })
	return firstID, err
}

// EmptyBook removes every level of a symbol under one update id, as a halt can, and returns the id. The
// errors are those of Apply.
func (s *Server) EmptyBook(symbol string) (id int64, err error) {
	err = s.script(symbol, func(sym *symbolState) { id = s.emptyBook(sym) })
	return id, err
}

// MovePrice walks the touch of a symbol to a price: every level of the side that stands in the way goes,
// under an update id each, and then the other side's best is set there. It returns the last id. The
// errors are those of Apply, and ErrConfig for a price that is not above 0.
func (s *Server) MovePrice(symbol string, price orderbook.Fixed) (id int64, err error) {
	if price <= 0 {
		return 0, fmt.Errorf("%w: price %s", ErrConfig, price)
	}
	err = s.script(symbol, func(sym *symbolState) { id = s.movePrice(sym, price) })
	return id, err
}

// RestartIDs makes the update ids of a symbol go on behind id, which may be far below the last one. The
// book stays. What no event has told yet is never told. The errors are ErrConfig for a negative id,
// ErrUnknownSymbol, ErrPlayback and ErrClosed.
func (s *Server) RestartIDs(symbol string, id int64) error {
	if id < 0 {
		return fmt.Errorf("%w: update id %d", ErrConfig, id)
	}
	return s.script(symbol, func(sym *symbolState) { s.restartIDs(sym, id) })
}

// script runs a command on a symbol whose book may be moved by hand.
func (s *Server) script(name string, f func(*symbolState)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.replay != nil:
		return ErrPlayback
	}
	return s.with(name, f)
}

// Book returns the true book of a symbol as it is, all levels, with every change up to LastID. The
// errors are ErrUnknownSymbol, and ErrNoBook before a playback has come to the symbol's first snapshot.
func (s *Server) Book(symbol string) (snap orderbook.Snapshot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := false
	err = s.with(symbol, func(sym *symbolState) { snap, known = sym.current().snapshot(0), sym.known })
	if err == nil && !known {
		return orderbook.Snapshot{}, fmt.Errorf("%w: %s", ErrNoBook, symbol)
	}
	return snap, err
}

// BookAt returns the true book of a symbol as it was at an update id that ended an interval, which is
// the last id of every event of every depth stream. It goes back Config.History intervals. Of snapshots
// inside an interval it knows the last 16. The errors are ErrUnknownSymbol, and ErrNoBook for an id inside an interval or too long ago.
func (s *Server) BookAt(symbol string, id int64) (snap orderbook.Snapshot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var st *state
	err = s.with(symbol, func(sym *symbolState) {
		if sym.known {
			st = sym.atID(id)
		}
	})
	switch {
	case err != nil:
		return orderbook.Snapshot{}, err
	case st == nil:
		return orderbook.Snapshot{}, fmt.Errorf("%w: %s at %d", ErrNoBook, symbol, id)
	}
	return st.snapshot(0), nil
}

// Listed returns the names of the listed symbols, in order of listing.
func (s *Server) Listed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, len(s.symbols))
	for i, sym := range s.symbols {
		names[i] = sym.Name
	}
	return names
}

// List lists a symbol while the exchange runs. The errors are ErrConfig, also for a name that is listed
// already, and ErrClosed.
func (s *Server) List(symbol Symbol) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.list(symbol); err != nil {
		return err
	}
	s.contractInfo(s.byName[symbol.Name])
	return nil
}

// Delist takes a symbol off the exchange: its streams fall silent, REST and the Server's own methods do
// not know it any more. It can be listed again, with other ids. The error is ErrUnknownSymbol.
func (s *Server) Delist(symbol string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) {
		sym.Status = "CLOSE"
		s.contractInfo(sym)
		delete(s.byName, symbol)
		s.symbols = slices.DeleteFunc(s.symbols, func(o *symbolState) bool { return o == sym })
	})
}

// SetStatus changes the status that exchangeInfo shows of a symbol: TRADING, BREAK, HALT, CANCEL_ONLY,
// END_OF_DAY, those of futures, or one that nobody knows; "" means TRADING. The random walk stops in BREAK
// and only removes in CANCEL_ONLY. Spot tells nobody; futures tell on !contractInfo. The error is
// ErrUnknownSymbol.
func (s *Server) SetStatus(symbol, status string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) { s.setStatus(sym, status) })
}

// SetRate changes how often the random walk moves a symbol, in changes a second; 0 or less leaves it
// alone, and its streams fall silent. The error is ErrUnknownSymbol.
func (s *Server) SetRate(symbol string, rate float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) { sym.Rate = rate })
}

// SetSteps changes the price and quantity steps of a symbol, as the exchange does from time to time:
// exchangeInfo shows them, the random walk keeps to them, and futures write their numbers with other
// decimals. Levels that are off the new grid stay. The errors are ErrConfig and ErrUnknownSymbol.
func (s *Server) SetSteps(symbol string, tick, step orderbook.Fixed) error {
	if tick <= 0 || step <= 0 {
		return fmt.Errorf("%w: steps %s and %s", ErrConfig, tick, step)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) { sym.setSteps(s.rules, tick, step) })
}

// Wipe is the testnet's monthly reset: every book begins anew, and the update and trade ids of every
// symbol begin at 1. Connections stay open. The errors are ErrPlayback and ErrClosed.
func (s *Server) Wipe() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.replay != nil:
		return ErrPlayback
	}
	s.wipe()
	return nil
}

// Run moves every book by a random walk, each symbol by its Rate, until ctx ends, and returns nil
// then. The changes of an interval come together in its middle. The errors are ErrConfig if ticks are
// manual, where Walk is to be used, ErrPlayback and ErrClosed.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Tick < 0 {
		return fmt.Errorf("%w: Run needs a clock, and Tick is negative", ErrConfig)
	}
	for {
		wait := s.untilBorder(time.Now()) - s.cfg.Tick/2
		if wait <= 0 {
			wait += s.cfg.Tick
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.done:
			return ErrClosed
		case <-time.After(wait):
		}
		if err := s.Walk(); err != nil {
			return err
		}
	}
}

// Walk makes the random changes of one interval in every book. Equal seeds make the same changes,
// whatever the clock does, and each symbol's are independent of the others'. The errors are
// ErrPlayback and ErrClosed.
func (s *Server) Walk() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.replay != nil:
		return ErrPlayback
	}
	s.walk()
	return nil
}

// Tick ends one interval of the fastest depth stream, and of a slower one each time as many have
// passed as it is slower: every tenth Tick ends one of the 1 s stream of spot. It is how time passes
// with a negative Config.Tick; with a clock it puts one more border in, for the fastest stream only.
func (s *Server) Tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.grid.n
	if s.cfg.Tick < 0 {
		n++
	}
	s.endInterval(n)
}
