package binancetest

import (
	"fmt"
	"slices"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/orderbook"
)

// quiet tells whether the random walk leaves a symbol alone. In HALT market data goes on.
func (y *symbolState) quiet() bool {
	return slices.Contains([]string{"BREAK", "PENDING_TRADING", "CLOSE", "DELIVERED"}, y.Status)
}

// cancelOnly tells whether the random walk only removes levels.
func (y *symbolState) cancelOnly() bool {
	return y.Status == "CANCEL_ONLY" || y.Status == "TRADING_CANCEL_ONLY"
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
	return s.with(symbol, func(y *symbolState) {
		y.Status = "CLOSE"
		s.contractInfo(y)
		delete(s.byName, symbol)
		s.symbols = slices.DeleteFunc(s.symbols, func(o *symbolState) bool { return o == y })
	})
}

// SetStatus changes the status that exchangeInfo shows of a symbol: TRADING, BREAK, HALT, CANCEL_ONLY,
// END_OF_DAY, those of futures, or one that nobody knows; "" means TRADING. The random walk stops in BREAK
// and only removes in CANCEL_ONLY. Spot tells nobody; futures tell on !contractInfo. The error is
// ErrUnknownSymbol.
func (s *Server) SetStatus(symbol, status string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(y *symbolState) { s.setStatus(y, status) })
}

func (s *Server) setStatus(y *symbolState, status string) {
	defaults.Set(&status, defaultStatus)
	if y.Status != status {
		y.Status = status
		s.contractInfo(y)
	}
}

// contractInfo tells futures subscribers of all symbols about one. The exchange sends the changes of
// both futures markets on both hosts; those of the other one can be sent with SendEvent.
func (s *Server) contractInfo(y *symbolState) {
	if s.cfg.Market == marketprism.Spot {
		return
	}
	now, status := s.now(), jsonString(y.Status)
	s.publish("!contractInfo", func(b []byte, as form) []byte {
		b = appendTime(b, `{"e":"contractInfo","E":`, now, as)
		b = append(append(b, `,"s":`...), y.jsonName...)
		b = append(append(b, `,"ps":`...), y.jsonPair...)
		b = append(b, `,"ct":"PERPETUAL","dt":4133404800000,"ot":1569398400000,"cs":`...)
		b = append(append(b, status...), `,"bks":[]`...)
		return s.encode.futuresTail(b, y, false)
	})
}

// SetRate changes how often the random walk moves a symbol, in changes a second; 0 or less leaves it
// alone, and its streams fall silent. The error is ErrUnknownSymbol.
func (s *Server) SetRate(symbol string, rate float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(y *symbolState) { y.Rate = rate })
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
	return s.with(symbol, func(y *symbolState) { y.setSteps(s.rules, tick, step) })
}

func (y *symbolState) setSteps(r *rules, tick, step orderbook.Fixed) {
	y.TickSize, y.StepSize, y.format = tick, step, newNumberFormat(r, tick, step)
}

// EmptyBook removes every level of a symbol under one update id, as a halt can, and returns the id. The
// errors are those of Apply.
func (s *Server) EmptyBook(symbol string) (id int64, err error) {
	err = s.script(symbol, func(y *symbolState) { id = s.emptyBook(y) })
	return id, err
}

func (s *Server) emptyBook(y *symbolState) int64 {
	var changes []change
	for sd, levels := range y.book {
		for _, l := range levels {
			changes = append(changes, change{place{side(sd), l.Price}, 0})
		}
	}
	return s.apply(y, changes...)
}

// MovePrice walks the touch of a symbol to a price: every level of the side that stands in the way goes,
// under an update id each, and then the other side's best is set there. It returns the last id. The
// errors are those of Apply, and ErrConfig for a price that is not above 0.
func (s *Server) MovePrice(symbol string, price orderbook.Fixed) (id int64, err error) {
	if price <= 0 {
		return 0, fmt.Errorf("%w: price %s", ErrConfig, price)
	}
	err = s.script(symbol, func(y *symbolState) { id = s.movePrice(y, price) })
	return id, err
}

func (s *Server) movePrice(y *symbolState, price orderbook.Fixed) int64 {
	sd, passed := ask, func(p orderbook.Fixed) bool { return p <= price }
	if y.book.at(bid, 0).Price >= price {
		sd, passed = bid, func(p orderbook.Fixed) bool { return p >= price }
	}
	for best := y.book.at(sd, 0); best.Quantity > 0 && passed(best.Price); best = y.book.at(sd, 0) {
		s.apply(y, change{place{sd, best.Price}, 0})
	}
	return s.apply(y, change{place{1 - sd, price}, y.randomQuantity()})
}

// RestartIDs makes the update ids of a symbol go on behind id, which may be far below the last one. The
// book stays. What no event has told yet is never told. The errors are ErrConfig for a negative id,
// ErrUnknownSymbol, ErrPlayback and ErrClosed.
func (s *Server) RestartIDs(symbol string, id int64) error {
	if id < 0 {
		return fmt.Errorf("%w: update id %d", ErrConfig, id)
	}
	return s.script(symbol, func(y *symbolState) { s.restartIDs(y, id) })
}

func (s *Server) restartIDs(y *symbolState, id int64) {
	y.idOffset = s.sharedID - id
	y.startAt(id)
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

func (s *Server) wipe() {
	for _, y := range s.symbols {
		y.fill()
		s.restartIDs(y, 0)
		y.tradeID, y.aggTradeID, y.tape.rows = 0, 0, nil
	}
}
