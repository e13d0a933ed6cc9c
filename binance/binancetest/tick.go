package binancetest

import (
	"time"
)

// nominalTick is what one tick of the grid stands for in the names of streams, in milliseconds.
const nominalTick = 100

// A grid numbers the interval borders common to all symbols. It runs only while there is something to
// tell, so that an idle exchange wakes nobody.
type grid struct {
	n     int64       // number of the last border; a depth period p ends where n*nominalTick passes a multiple of p
	timer *time.Timer // to the next border; nil while nothing is pending, and always when ticks are manual
}

func (g *grid) stop() {
	if g.timer != nil {
		g.timer.Stop()
	}
}

// arm makes the clock end the interval that has just got its first change.
func (s *Server) arm() {
	if s.cfg.Tick < 0 || s.grid.timer != nil || s.closed {
		return
	}
	now := time.Now()
	s.grid.n = now.UnixNano() / int64(s.cfg.Tick)
	s.grid.timer = time.AfterFunc(s.untilBorder(now), s.onTimer)
}

func (s *Server) untilBorder(now time.Time) time.Duration {
	return s.cfg.Tick - time.Duration(now.UnixNano()%int64(s.cfg.Tick))
}

func (s *Server) onTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	now := time.Now()
	s.endInterval(now.UnixNano() / int64(s.cfg.Tick))
	if s.pending() {
		s.grid.timer.Reset(s.untilBorder(now))
		return
	}
	s.grid.timer = nil
}

// pending tells whether some change has not been told to some speed of the depth stream.
func (s *Server) pending() bool {
	for _, y := range s.symbols {
		for i := range y.batches {
			if y.batches[i].first != 0 {
				return true
			}
		}
	}
	return false
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

// endInterval sends the depth events of every speed whose interval ends at border n.
func (s *Server) endInterval(n int64) {
	for _, y := range s.symbols {
		for i := range y.batches {
			b := &y.batches[i]
			if b.first == 0 || i > 0 && n*nominalTick/b.every == s.grid.n*nominalTick/b.every {
				continue
			}
			s.sendDepth(y, b)
			if s.partials && b.class == 0 {
				s.sendPartial(y, b)
			}
			y.cut(i, s.cfg.History)
		}
	}
	s.grid.n = n
}

// apply makes one change of the venue: it takes an id and tells the new touch at once. The depth
// streams hear of it at the next border.
func (s *Server) apply(y *symbolState, changes ...change) int64 {
	id := max(y.id, 0) + 1
	if !s.rules.contiguous {
		s.sharedID += 1 + s.ids.Int64N(futuresIDJump)
		id = s.sharedID - y.idOffset
	}
	now := s.now()
	before := y.book.touch()
	y.change(id, now, s.rules.contiguous, changes...)
	if after := y.book.touch(); after != before {
		s.publish(y.lower+"@bookTicker", s.encode.ticker(y, id, after, now))
	}
	s.arm()
	return id
}

// futuresIDJump bounds by how much one futures update id exceeds the last: the ids between belong to
// other symbols.
const futuresIDJump = 400
