package eventgen

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/marketprism/marketprism/orderbook"
)

const (
	tick     = orderbook.One / 100     // of the price
	step     = orderbook.One / 100_000 // of the quantity
	midTicks = 65_000_00
	maxSteps = 20_00_000 // the largest quantity, 20
)

// A market is the two sides of a book that changes at random.
type market struct {
	rand       *rand.Rand
	bids, asks side
	target     int // levels of a side
}

// A side holds its levels best first. A price is a number of ticks, and away is the sign in which
// prices move away from the touch: -1 for bids, 1 for asks.
type side struct {
	away   int
	levels []level
}

type level struct{ ticks, steps int }

func newMarket(levels int, r *rand.Rand) *market {
	m := &market{rand: r, target: levels, bids: side{away: -1}, asks: side{away: 1}}
	for _, s := range []*side{&m.bids, &m.asks} {
		ticks := midTicks
		for i := range levels {
			// Levels are dense at the touch and sparse away from it.
			ticks += s.away * (1 + r.IntN(2+i/20))
			s.levels = append(s.levels, level{ticks, m.steps()})
		}
	}
	return m
}

// steps draws a log-uniform quantity.
func (m *market) steps() int { return m.logUniform(maxSteps) + 1 }

// logUniform draws a number in [0, n) whose order of magnitude is uniform.
func (m *market) logUniform(n int) int {
	return min(n, int(math.Exp(m.rand.Float64()*math.Log(float64(n+1))))) - 1
}

// change makes n changes at different prices of a side and returns them best first, as the exchange lists
// them.
func (m *market) change(s *side, n int) []orderbook.Level {
	touched := make(map[int]int, n) // ticks to steps
	for len(touched) < n {
		excess := float64(len(s.levels)-m.target) / float64(m.target)
		if r := m.rand.Float64(); r < 1./3 {
			m.remove(s, touched)
		} else if r < 2./3-10*excess {
			m.insert(s, touched)
		} else {
			m.modify(s, touched)
		}
	}
	changes := make([]level, 0, n)
	for ticks, steps := range touched {
		changes = append(changes, level{ticks, steps})
	}
	slices.SortFunc(changes, func(a, b level) int { return (a.ticks - b.ticks) * s.away })
	return fixed(changes)
}

func (m *market) remove(s *side, touched map[int]int) {
	i := m.logUniform(len(s.levels))
	ticks := s.levels[i].ticks
	if _, again := touched[ticks]; again {
		return
	}
	touched[ticks] = 0
	s.levels = slices.Delete(s.levels, i, i+1)
}

func (m *market) modify(s *side, touched map[int]int) {
	l := &s.levels[m.logUniform(len(s.levels))]
	if _, again := touched[l.ticks]; again {
		return
	}
	l.steps = m.steps()
	touched[l.ticks] = l.steps
}

// insert adds a level between two others, or between the touches, further away if no tick is free.
func (m *market) insert(s *side, touched map[int]int) {
	for i := m.logUniform(len(s.levels)); i < len(s.levels); i = 2*i + 1 {
		better := m.touch(-s.away)
		if i > 0 {
			better = s.levels[i-1].ticks
		}
		free := (s.levels[i].ticks-better)*s.away - 1
		if free <= 0 {
			continue
		}
		ticks := s.levels[i].ticks - s.away*(1+m.rand.IntN(free))
		if _, again := touched[ticks]; again {
			continue
		}
		l := level{ticks, m.steps()}
		touched[ticks] = l.steps
		s.levels = slices.Insert(s.levels, i, l)
		return
	}
}

// touch returns the best price of the side whose prices move away in the direction of away.
func (m *market) touch(away int) int {
	if away == m.bids.away {
		return m.bids.levels[0].ticks
	}
	return m.asks.levels[0].ticks
}

func (s *side) snapshot() []orderbook.Level { return fixed(s.levels) }

func fixed(levels []level) []orderbook.Level {
	out := make([]orderbook.Level, len(levels))
	for i, l := range levels {
		out[i] = orderbook.Level{
			Price:    orderbook.Fixed(l.ticks) * tick,
			Quantity: orderbook.Fixed(l.steps) * step,
		}
	}
	return out
}
