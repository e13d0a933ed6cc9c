package binancetest

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A chaosFault is a fault that RunChaos can switch on. do runs under the Server's mutex and returns what
// it did.
type chaosFault struct {
	name string
	do   func(s *Server, d *dice) (action string)
}

func chaosFaults() []chaosFault {
	return []chaosFault{
		forSymbol("F1", "DropDepth", func(f *symbolFaults, n int) { f.dropDepth = n }),
		forSymbol("F2", "DropDepthAtSnapshot", func(f *symbolFaults, n int) { f.dropAtSnapshot = n }),
		forSymbol("F3", "DuplicateDepth", func(f *symbolFaults, n int) { f.duplicateDepth = n }),
		forSymbol("F4", "SwapDepth", func(f *symbolFaults, n int) { f.swapDepth = n }),
		forSymbol("F5", "StaleSnapshots", func(f *symbolFaults, n int) { f.stale, f.staleBorders = n, 5*n }),
		forSymbol("F7", "MidBatchSnapshots", func(f *symbolFaults, n int) { f.midBatches = n }),
		forSymbol("F8", "HoldDepth", func(f *symbolFaults, n int) { f.holdDepth = n }),
		{"F9", chaosQuiet},
		{"F10", func(s *Server, d *dice) string {
			return s.chaosApply(d, "no level", func(*symbolState) []change { return nil })
		}},
		{"F12", func(s *Server, d *dice) string {
			return s.chaosApply(d, "0 for an unknown level", func(y *symbolState) []change {
				return []change{{place{side(d.kind % 2), y.TickSize}, 0}}
			})
		}},
		{"F13", chaosMovePrice},
		{"F16", chaosREST},
		forConn("F17", func(c *conn, d *dice) string {
			c.skipPings = d.few
			return fmt.Sprintf("SkipPings(%d)", d.few)
		}),
		forConn("F18", func(c *conn, d *dice) string {
			code := [...]int{0, CloseGoingAway, ClosePolicyViolation}[d.kind%3]
			c.disconnect(code, "")
			if d.kind%2 == 0 {
				return fmt.Sprintf("Disconnect(%d)", code)
			}
			c.server.faults.rejectStreams, c.server.faults.streamStatus = d.few, http.StatusServiceUnavailable
			return fmt.Sprintf("Disconnect(%d) and RejectStreams(%d, 503)", code, d.few)
		}),
		forConn("F19", func(c *conn, _ *dice) string {
			c.silent = true
			return "Silence()"
		}),
		forConn("F20", func(c *conn, d *dice) string {
			c.goAway(d.lasting)
			return fmt.Sprintf("GoAway(%v)", d.lasting)
		}),
		{"F22", chaosLateCommands},
		{"F23", func(s *Server, d *dice) string {
			s.commands.reject, s.commands.with = 1, *invalid("refused by a fault")
			s.commands.flat = d.kind%2 == 0
			return fmt.Sprintf("RejectCommands(1), FlatErrors(%t)", s.commands.flat)
		}},
		forWhile("F24", "ExtraFields", func(s *Server, on bool) { s.wire.extraFields = on }),
		{"F28", func(s *Server, d *dice) string {
			return s.chaosApply(d, "the largest quantity", func(y *symbolState) []change {
				return []change{{place{bid, y.TickSize}, math.MaxInt64}}
			})
		}},
		{"F29", chaosSteps},
		{"F30", chaosStatus},
		{"F31", func(s *Server, _ *dice) string {
			if s.replay != nil {
				return "nothing: a playback"
			}
			s.wipe()
			return "Wipe()"
		}},
		forWhile("F32", "ThirdElements", func(s *Server, on bool) { s.encode.third = on }),
		{"F37", func(s *Server, d *dice) string {
			if d.kind%2 == 0 {
				s.wire.sbe = sbeFaults{unknown: d.few, truncate: d.few}
				return fmt.Sprintf("UnknownSBE(%d), TruncateSBE(%d)", d.few, d.few)
			}
			s.encode.sbe = sbeStyle{longer: d.kind%3 > 0, vary: d.kind%3 < 2}
			s.restoreAfter(d.lasting, "sbe", func() { s.encode.sbe = sbeStyle{} })
			return fmt.Sprintf("LengthenSBE(%t), VarySBEExponents(%t) for %v", s.encode.sbe.longer, s.encode.sbe.vary, d.lasting)
		}},
		{"F39", func(s *Server, d *dice) string {
			y := s.chaosSymbol(d)
			if d.kind%2 == 0 {
				y.faults.dropTrades = d.few
				return fmt.Sprintf("DropTrades(%s, %d)", y.Name, d.few)
			}
			y.faults.duplicateTrades = d.few
			return fmt.Sprintf("DuplicateTrades(%s, %d)", y.Name, d.few)
		}},
		{"F40", func(s *Server, d *dice) string {
			s.wire.clock = time.Duration(d.kind%4001-2000) * time.Millisecond
			s.restoreAfter(d.lasting, "clock", func() { s.wire.clock = 0 })
			return fmt.Sprintf("SetClock(%v) for %v", s.wire.clock, d.lasting)
		}},
	}
}

// forSymbol is a fault that waits for n events of a symbol.
func forSymbol(name, method string, set func(*symbolFaults, int)) chaosFault {
	return chaosFault{name, func(s *Server, d *dice) string {
		y := s.chaosSymbol(d)
		set(&y.faults, d.few)
		return fmt.Sprintf("%s(%s, %d)", method, y.Name, d.few)
	}}
}

// forConn is a fault of one connection.
func forConn(name string, do func(*conn, *dice) string) chaosFault {
	return chaosFault{name, func(s *Server, d *dice) string {
		if len(s.conns) == 0 {
			return "nothing: no connection"
		}
		c := s.conns[d.conn%len(s.conns)]
		return fmt.Sprintf("%s on connection %d", do(c, d), c.id)
	}}
}

// forWhile is a fault that is switched on and off.
func forWhile(name, method string, set func(*Server, bool)) chaosFault {
	return chaosFault{name, func(s *Server, d *dice) string {
		set(s, true)
		s.restoreAfter(d.lasting, method, func() { set(s, false) })
		return fmt.Sprintf("%s for %v", method, d.lasting)
	}}
}

func (s *Server) chaosSymbol(d *dice) *symbolState { return s.symbols[d.symbol%len(s.symbols)] }

// chaosApply makes a change of a symbol's book.
func (s *Server) chaosApply(d *dice, what string, changes func(*symbolState) []change) string {
	if s.replay != nil {
		return "nothing: a playback"
	}
	y := s.chaosSymbol(d)
	id := s.apply(y, changes(y)...)
	return fmt.Sprintf("Apply(%s, %s): %d", y.Name, what, id)
}

func chaosQuiet(s *Server, d *dice) string {
	y := s.chaosSymbol(d)
	rate := y.Rate
	y.Rate = 0
	s.restoreAfter(d.lasting, "rate of "+y.Name, func() { y.Rate = rate })
	return fmt.Sprintf("SetRate(%s, 0) for %v", y.Name, d.lasting)
}

func chaosStatus(s *Server, d *dice) string {
	y := s.chaosSymbol(d)
	if d.kind%5 == 4 && s.replay == nil {
		return fmt.Sprintf("EmptyBook(%s): %d", y.Name, s.emptyBook(y))
	}
	status := y.Status
	s.restoreAfter(d.lasting, "status of "+y.Name, func() { s.setStatus(y, status) })
	s.setStatus(y, [...]string{"BREAK", "HALT", "CANCEL_ONLY", "AUCTION_OF_TOMORROW"}[d.kind%4])
	return fmt.Sprintf("SetStatus(%s, %s) for %v", y.Name, y.Status, d.lasting)
}

// chaosSteps makes prices ten times as fine for a while.
func chaosSteps(s *Server, d *dice) string {
	y := s.chaosSymbol(d)
	tick := y.TickSize
	if tick%10 != 0 {
		return "nothing: the steps are the smallest"
	}
	y.setSteps(s.rules, tick/10, y.StepSize)
	s.restoreAfter(d.lasting, "steps of "+y.Name, func() { y.setSteps(s.rules, tick, y.StepSize) })
	return fmt.Sprintf("SetSteps(%s, %s) for %v", y.Name, y.TickSize, d.lasting)
}

func chaosMovePrice(s *Server, d *dice) string {
	if s.replay != nil {
		return "nothing: a playback"
	}
	y := s.chaosSymbol(d)
	away := y.TickSize * orderbook.Fixed(10*d.few)
	price := y.book.at(ask, 0).Price + away
	if d.kind%2 == 0 {
		price = y.book.at(bid, 0).Price - away
	}
	if price <= 0 {
		return "nothing: no price to move to"
	}
	s.movePrice(y, price)
	return fmt.Sprintf("MovePrice(%s, %s)", y.Name, price)
}

// chaosREST troubles the next requests. Bans are short, so that a client that waits for their end comes
// back soon.
func chaosREST(s *Server, d *dice) string {
	reject := func(n, status int, retryAfter time.Duration) string {
		s.faults.rejectWith(n, status, retryAfter)
		return fmt.Sprintf("RejectREST(%d, %d, %v)", n, status, retryAfter)
	}
	wait := time.Duration(d.few) * time.Second
	switch d.kind % 8 {
	case 0:
		return reject(1, http.StatusTooManyRequests, wait)
	case 1:
		return reject(1, http.StatusTeapot, wait)
	case 2:
		return reject(d.few, http.StatusForbidden, 0)
	case 3:
		return reject(d.few, http.StatusServiceUnavailable, 0)
	case 4:
		return reject(d.few, http.StatusBadGateway, 0)
	case 5:
		s.faults.hang, s.faults.hangFor = d.few, d.lasting
		return fmt.Sprintf("HangREST(%d, %v)", d.few, d.lasting)
	case 6:
		s.faults.truncate = d.few
		return fmt.Sprintf("TruncateREST(%d)", d.few)
	}
	s.faults.gzip = true
	s.restoreAfter(d.lasting, "GzipREST", func() { s.faults.gzip = false })
	return fmt.Sprintf("GzipREST for %v", d.lasting)
}

func chaosLateCommands(s *Server, d *dice) string {
	delay := min(d.lasting, time.Second)
	if d.kind%2 == 0 {
		s.commands.lateAcks, s.commands.ackDelay = d.few, delay
		return fmt.Sprintf("DelayAcks(%d, %v)", d.few, delay)
	}
	s.commands.lingering, s.commands.lingerFor = d.few, delay
	return fmt.Sprintf("DelayUnsubscribes(%d, %v)", d.few, delay)
}
