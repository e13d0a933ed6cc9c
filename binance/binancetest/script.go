package binancetest

import (
	"fmt"

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
	err = s.script(symbol, func(y *symbolState) { id = s.apply(y, changes...) })
	return id, err
}

// Trade tells of an execution on the trade and aggTrade streams and returns the trade's id. It leaves
// the book alone: what the execution took from it is for Apply to say. buyerMaker means that the
// buyer's order was resting. The errors are those of Apply.
//
// TradeFills is the same for an order that several others filled.
func (s *Server) Trade(symbol string, price, quantity orderbook.Fixed, buyerMaker bool) (id int64, err error) {
	err = s.script(symbol, func(y *symbolState) { id = s.execute(y, price, buyerMaker, quantity) })
	return id, err
}

// TradeFills tells of one taker order that was filled by several resting ones at one price: a trade for
// each quantity, and one aggregate of them all. It returns the id of the first trade. The errors are
// those of Apply, and ErrConfig without a quantity.
func (s *Server) TradeFills(symbol string, price orderbook.Fixed, buyerMaker bool, quantities ...orderbook.Fixed) (firstID int64, err error) {
	if len(quantities) == 0 {
		return 0, fmt.Errorf("%w: an order without fills", ErrConfig)
	}
	err = s.script(symbol, func(y *symbolState) { firstID = s.execute(y, price, buyerMaker, quantities...) })
	return firstID, err
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

// with runs f on a symbol, or returns ErrUnknownSymbol.
func (s *Server) with(name string, f func(*symbolState)) error {
	y := s.byName[name]
	if y == nil {
		return fmt.Errorf("%w: %q", ErrUnknownSymbol, name)
	}
	f(y)
	return nil
}

// Book returns the true book of a symbol as it is, all levels, with every change up to LastID. The
// errors are ErrUnknownSymbol, and ErrNoBook before a playback has come to the symbol's first snapshot.
func (s *Server) Book(symbol string) (snap orderbook.Snapshot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := false
	err = s.with(symbol, func(y *symbolState) { snap, known = y.current().snapshot(0), y.known })
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
	err = s.with(symbol, func(y *symbolState) {
		if y.known {
			st = y.atID(id)
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
	for i, y := range s.symbols {
		names[i] = y.Name
	}
	return names
}
