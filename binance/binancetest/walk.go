package binancetest

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

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
	interval := defaultTick
	if s.cfg.Tick > 0 {
		interval = s.cfg.Tick
	}
	for _, y := range s.symbols {
		if y.Rate <= 0 || y.quiet() {
			continue
		}
		for range y.poisson(y.Rate * interval.Seconds()) {
			s.step(y)
		}
	}
	return nil
}

// poisson draws how many changes come in an interval that has mean of them on average (Knuth's
// method; a large mean is drawn in parts that keep exp(-mean) above zero).
func (y *symbolState) poisson(mean float64) (n int) {
	for ; mean > 0; mean -= 500 {
		limit := math.Exp(-min(mean, 500))
		for p := y.rng.Float64(); p > limit; p *= y.rng.Float64() {
			n++
		}
	}
	return n
}

// step makes one random change. Most are near the touch; about a third remove a level; a few come far
// away; some are executions against the best level.
func (s *Server) step(y *symbolState) {
	side := side(y.rng.IntN(2))
	if len(y.book[bid]) == 0 || len(y.book[ask]) == 0 {
		if !y.cancelOnly() {
			s.reopen(y)
		}
		return
	}
	switch roll := y.rng.Float64(); {
	case y.cancelOnly():
		near := y.book.at(side, y.depth(len(y.book[side])))
		s.apply(y, change{place{side, near.Price}, 0})
	case roll < 0.08:
		s.stepTrade(y, side)
	case roll < 0.44:
		// The removals balance the insertions when the side has as many levels as it began with.
		if y.rng.Float64() < float64(len(y.book[side]))/float64(2*y.reach())+0.25 {
			near := y.book.at(side, y.depth(len(y.book[side])))
			s.apply(y, change{place{side, near.Price}, 0})
			return
		}
		s.stepInsert(y, side, 1+y.depth(y.reach()))
	case roll < 0.68:
		near := y.book.at(side, y.depth(len(y.book[side])))
		s.apply(y, change{place{side, near.Price}, y.randomQuantity()})
	case roll < 0.98:
		s.stepInsert(y, side, 1+y.depth(y.reach()))
	default:
		s.stepInsert(y, side, y.reach()+y.rng.IntN(10*y.reach()))
	}
}

// reach is the number of levels a side of the walked book has, roughly.
func (y *symbolState) reach() int { return max(y.Levels, 20) }

// depth draws a number of places behind the best, near it most of the time and less than n.
func (y *symbolState) depth(n int) int {
	return min(int(y.rng.ExpFloat64()*12), n-1)
}

// stepInsert puts a level the given number of price steps away from the other side's best.
func (s *Server) stepInsert(y *symbolState, sd side, steps int) {
	price := y.book.at(1-sd, 0).Price
	away := y.TickSize * orderbook.Fixed(steps)
	if sd == bid {
		price -= away
	} else {
		price += away
	}
	if price > 0 {
		s.apply(y, change{place{sd, price}, y.randomQuantity()})
	}
}

// stepTrade executes against the best level of a side, for all of it or for a part.
func (s *Server) stepTrade(y *symbolState, sd side) {
	best := y.book.at(sd, 0)
	quantity := best.Quantity
	if steps := int64(quantity / y.StepSize); steps > 1 && y.rng.IntN(3) > 0 {
		quantity = y.StepSize * orderbook.Fixed(1+y.rng.Int64N(steps-1))
	}
	s.execute(y, best.Price, sd == bid, quantity)
	s.apply(y, change{place{sd, best.Price}, best.Quantity - quantity})
}

// reopen puts a level on an empty side, beside the other side's best, or around Price if both are empty.
func (s *Server) reopen(y *symbolState) {
	price, sd := y.Price, bid
	switch {
	case len(y.book[ask]) > 0:
		price = y.book.at(ask, 0).Price - y.TickSize
	case len(y.book[bid]) > 0:
		price, sd = y.book.at(bid, 0).Price+y.TickSize, ask
	}
	if price <= 0 { // there is no room for bids below the asks
		s.apply(y, change{place{ask, y.book.at(ask, 0).Price}, 0})
		return
	}
	s.apply(y, change{place{sd, price}, y.randomQuantity()})
}

func (y *symbolState) randomQuantity() orderbook.Fixed {
	return y.StepSize * orderbook.Fixed(1+int64(y.rng.ExpFloat64()*2000))
}

// generate makes the book a symbol begins with: levels on both sides of Price, denser near it.
func (y *symbolState) generate() {
	for _, sd := range [...]side{bid, ask} {
		price := y.Price
		for range y.Levels {
			step := y.TickSize * orderbook.Fixed(1+y.rng.IntN(3))
			if sd == bid {
				price -= step
			} else {
				price += step
			}
			if price <= 0 {
				break
			}
			y.book.set(change{place{sd, price}, y.randomQuantity()})
		}
	}
}
