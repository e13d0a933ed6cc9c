package binancetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// Apply makes one change of the book under one update id, and returns the id. A level's quantity is
// its new absolute quantity; 0 removes the level. Without levels only the id advances. The depth streams
// send the change at the end of the interval, bookTicker at once. It returns ErrUnknownSymbol, ErrPlayback
// or ErrClosed.
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

// Trade sends an execution on the trade and aggTrade streams and returns the trade's id. It does not
// change the book; use Apply for that. buyerMaker means that the buyer's order was resting. The errors are
// those of Apply. See TradeFills for an order with several fills.
func (s *Server) Trade(symbol string, price, quantity orderbook.Fixed, buyerMaker bool) (id int64, err error) {
	err = s.script(symbol, func(sym *symbolState) { id = s.execute(sym, price, buyerMaker, quantity) })
	return id, err
}

// TradeFills sends the executions of one taker order that several resting orders filled at one price: a
// trade for each quantity, and one aggregate. It returns the id of the first trade. The errors are those
// of Apply, and ErrConfig without a quantity.
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

// MovePrice moves the touch of a symbol to a price: it removes every level of the opposite side up to the
// price, under an update id each, then sets the other side's best there. It returns the last id. The
// errors are those of Apply, and ErrConfig for a price that is not above 0.
func (s *Server) MovePrice(symbol string, price orderbook.Fixed) (id int64, err error) {
	if price <= 0 {
		return 0, fmt.Errorf("%w: price %s", ErrConfig, price)
	}
	err = s.script(symbol, func(sym *symbolState) { id = s.movePrice(sym, price) })
	return id, err
}

// RestartIDs makes the update ids of a symbol continue after id, which may be far below the last one. The
// book stays. Changes that no event has carried yet are never sent. It returns ErrConfig for a negative
// id, ErrUnknownSymbol, ErrPlayback or ErrClosed.
func (s *Server) RestartIDs(symbol string, id int64) error {
	if id < 0 {
		return fmt.Errorf("%w: update id %d", ErrConfig, id)
	}
	return s.script(symbol, func(sym *symbolState) { s.restartIDs(sym, id) })
}

// script runs f on a symbol, unless the server is closed or a playback moves the books.
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

// Book returns the true current book of a symbol: all levels, with every change up to LastID. It returns
// ErrUnknownSymbol, or ErrNoBook before a playback has reached the symbol's first snapshot.
func (s *Server) Book(symbol string) (snap orderbook.Snapshot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := false
	err = s.with(symbol, func(sym *symbolState) { snap, known = sym.current().snapshot(0), sym.synced })
	if err == nil && !known {
		return orderbook.Snapshot{}, fmt.Errorf("%w: %s", ErrNoBook, symbol)
	}
	return snap, err
}

// BookAt returns the true book of a symbol at an update id that ended an interval, as the last id of every
// depth event does, up to Config.History intervals back, or at the id of one of the last 16 snapshots taken
// inside an interval. It returns ErrUnknownSymbol, or ErrNoBook for any other id.
func (s *Server) BookAt(symbol string, id int64) (snap orderbook.Snapshot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var st *state
	err = s.with(symbol, func(sym *symbolState) {
		if sym.synced {
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

// List lists a symbol while the exchange runs. It returns ErrConfig, also for a name that is listed
// already, or ErrClosed.
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

// Delist removes a symbol from the exchange: its streams fall silent, REST and the Server's methods
// reject it. It can be listed again, with other ids. It returns ErrUnknownSymbol.
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

// SetStatus changes the status that exchangeInfo shows for a symbol: TRADING, BREAK, HALT, CANCEL_ONLY,
// END_OF_DAY, those of futures, or an invented one; "" means TRADING. The random walk stops in BREAK and
// only removes levels in CANCEL_ONLY. Futures publish the change on !contractInfo; spot does not. It
// returns ErrUnknownSymbol.
func (s *Server) SetStatus(symbol, status string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) { s.setStatus(sym, status) })
}

// SetRate sets how many changes a second the random walk makes in a symbol's book. With 0 or less its
// streams fall silent. It returns ErrUnknownSymbol.
func (s *Server) SetRate(symbol string, rate float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) { sym.Rate = rate })
}

// SetSteps changes the price and quantity steps of a symbol, as the exchange does from time to time:
// exchangeInfo shows them, the random walk keeps to them, and futures write their numbers with the new
// number of decimals. Levels off the new steps stay. It returns ErrConfig or ErrUnknownSymbol.
func (s *Server) SetSteps(symbol string, tick, step orderbook.Fixed) error {
	if tick <= 0 || step <= 0 {
		return fmt.Errorf("%w: steps %s and %s", ErrConfig, tick, step)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) { sym.setSteps(s.rules, tick, step) })
}

// Wipe resets the exchange as the testnet does every month: every book returns to its first state, and the
// update and trade ids of every symbol start at 1. Connections stay open. It returns ErrPlayback or
// ErrClosed.
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

// Run changes every book by a random walk, each symbol at its Rate, and blocks until ctx ends; then it
// returns nil. The changes of an interval are made in its middle. It returns ErrConfig if ticks are manual
// (use Walk), ErrPlayback or ErrClosed.
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
// whatever the clock, and each symbol's are independent of the others'. It returns ErrPlayback or
// ErrClosed.
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

// Tick ends one interval of the fastest depth stream, and in proportion those of the slower ones: every
// tenth Tick ends one of spot's 1 s stream. With a negative Config.Tick, only Tick ends intervals; with a
// clock it adds one border, for the fastest stream only.
func (s *Server) Tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.grid.n
	if s.cfg.Tick < 0 {
		n++
	}
	s.endInterval(n)
}
