package binancetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A chaosFault is a fault that RunChaos can switch on. do runs under the exchange's mutex and returns a
// description of the change.
type chaosFault struct {
	name string
	do   func(x *exchange, d *dice) (action string)
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
		{"F10", func(x *exchange, d *dice) string {
			return chaosApply(x, d, "no level", func(*symbolState) []change { return nil })
		}},
		{"F12", func(x *exchange, d *dice) string {
			return chaosApply(x, d, "0 for an absent level", func(sym *symbolState) []change {
				return []change{{place{side(d.kind % 2), sym.TickSize}, 0}}
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
			c.exchange.faults.rejectStreams, c.exchange.faults.streamStatus = d.few, http.StatusServiceUnavailable
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
		{"F23", func(x *exchange, d *dice) string {
			x.commands.reject, x.commands.with = 1, *invalid("rejected by a fault")
			x.commands.flat = d.kind%2 == 0
			return fmt.Sprintf("RejectCommands(1), FlatErrors(%t)", x.commands.flat)
		}},
		forWhile("F24", "ExtraFields", func(x *exchange, on bool) { x.wire.extraFields = on }),
		{"F28", func(x *exchange, d *dice) string {
			return chaosApply(x, d, "the largest quantity", func(sym *symbolState) []change {
				return []change{{place{bid, sym.TickSize}, math.MaxInt64}}
			})
		}},
		{"F29", chaosSteps},
		{"F30", chaosStatus},
		{"F31", func(x *exchange, _ *dice) string {
			if x.replay != nil {
				return "nothing: a playback"
			}
			x.wipe()
			return "Wipe()"
		}},
		forWhile("F32", "ThirdElements", func(x *exchange, on bool) { x.encode.third = on }),
		{"F37", func(x *exchange, d *dice) string {
			if d.kind%2 == 0 {
				x.wire.sbe = sbeFaults{unknown: d.few, truncate: d.few}
				return fmt.Sprintf("UnknownSBE(%d), TruncateSBE(%d)", d.few, d.few)
			}
			x.encode.sbe = sbeStyle{longer: d.kind%3 > 0, vary: d.kind%3 < 2}
			x.restorers.add(d.lasting, "sbe", func() { x.encode.sbe = sbeStyle{} })
			return fmt.Sprintf("LengthenSBE(%t), VarySBEExponents(%t) for %v", x.encode.sbe.longer, x.encode.sbe.vary, d.lasting)
		}},
		{"F39", func(x *exchange, d *dice) string {
			sym := chaosSymbol(x, d)
			if d.kind%8 < 3 && x.cfg.Market != marketprism.Spot && x.replay == nil {
				kind := [...]string{tradeNA, tradeInsurance, tradeADL}[d.kind%8]
				for range d.few {
					x.otherTrade(sym, kind)
				}
				return fmt.Sprintf("OtherTrades(%s, %d × %s)", sym.Name, d.few, kind)
			}
			if d.kind%2 == 0 {
				sym.faults.dropTrades = d.few
				return fmt.Sprintf("DropTrades(%s, %d)", sym.Name, d.few)
			}
			sym.faults.duplicateTrades = d.few
			return fmt.Sprintf("DuplicateTrades(%s, %d)", sym.Name, d.few)
		}},
		{"F40", func(x *exchange, d *dice) string {
			x.wire.clock = time.Duration(d.kind%4001-2000) * time.Millisecond
			x.restorers.add(d.lasting, "clock", func() { x.wire.clock = 0 })
			return fmt.Sprintf("SetClock(%v) for %v", x.wire.clock, d.lasting)
		}},
		{"F41", chaosListing},
	}
}

// forSymbol returns a fault of the next n events of a symbol.
func forSymbol(name, method string, set func(*symbolFaults, int)) chaosFault {
	return chaosFault{name, func(x *exchange, d *dice) string {
		sym := chaosSymbol(x, d)
		set(&sym.faults, d.few)
		return fmt.Sprintf("%s(%s, %d)", method, sym.Name, d.few)
	}}
}

// forConn returns a fault of one connection.
func forConn(name string, do func(*conn, *dice) string) chaosFault {
	return chaosFault{name, func(x *exchange, d *dice) string {
		if len(x.conns) == 0 {
			return "nothing: no connection"
		}
		c := x.conns[d.conn%len(x.conns)]
		return fmt.Sprintf("%s on connection %d", do(c, d), c.id)
	}}
}

// forWhile returns a fault that is switched on and, later, off.
func forWhile(name, method string, set func(*exchange, bool)) chaosFault {
	return chaosFault{name, func(x *exchange, d *dice) string {
		set(x, true)
		x.restorers.add(d.lasting, method, func() { set(x, false) })
		return fmt.Sprintf("%s for %v", method, d.lasting)
	}}
}

func chaosSymbol(x *exchange, d *dice) *symbolState { return x.symbols[d.symbol%len(x.symbols)] }

// chaosApply changes a symbol's book.
func chaosApply(x *exchange, d *dice, what string, changes func(*symbolState) []change) string {
	if x.replay != nil {
		return "nothing: a playback"
	}
	sym := chaosSymbol(x, d)
	id := x.apply(sym, changes(sym)...)
	return fmt.Sprintf("Apply(%s, %s): %d", sym.Name, what, id)
}

func chaosQuiet(x *exchange, d *dice) string {
	sym := chaosSymbol(x, d)
	rate := sym.Rate
	sym.Rate = 0
	x.restorers.add(d.lasting, "rate of "+sym.Name, func() { sym.Rate = rate })
	return fmt.Sprintf("SetRate(%s, 0) for %v", sym.Name, d.lasting)
}

func chaosStatus(x *exchange, d *dice) string {
	sym := chaosSymbol(x, d)
	if d.kind%5 == 4 && x.replay == nil {
		return fmt.Sprintf("EmptyBook(%s): %d", sym.Name, x.emptyBook(sym))
	}
	status := sym.Status
	x.restorers.add(d.lasting, "status of "+sym.Name, func() { x.setStatus(sym, status) })
	x.setStatus(sym, [...]string{"BREAK", "HALT", "CANCEL_ONLY", "AUCTION_OF_TOMORROW"}[d.kind%4])
	return fmt.Sprintf("SetStatus(%s, %s) for %v", sym.Name, sym.Status, d.lasting)
}

// chaosSteps divides a symbol's price step by ten for a limited time.
func chaosSteps(x *exchange, d *dice) string {
	sym := chaosSymbol(x, d)
	tick := sym.TickSize
	if tick%10 != 0 {
		return "nothing: the step is the smallest"
	}
	sym.setSteps(x.rules, tick/10, sym.StepSize)
	x.restorers.add(d.lasting, "steps of "+sym.Name, func() { sym.setSteps(x.rules, tick, sym.StepSize) })
	return fmt.Sprintf("SetSteps(%s, %s) for %v", sym.Name, sym.TickSize, d.lasting)
}

func chaosMovePrice(x *exchange, d *dice) string {
	if x.replay != nil {
		return "nothing: a playback"
	}
	sym := chaosSymbol(x, d)
	away := sym.TickSize * orderbook.Fixed(10*d.few)
	price := sym.book.at(ask, 0).Price + away
	if d.kind%2 == 0 {
		price = sym.book.at(bid, 0).Price - away
	}
	if price <= 0 {
		return "nothing: no price to move to"
	}
	x.movePrice(sym, price)
	return fmt.Sprintf("MovePrice(%s, %s)", sym.Name, price)
}

// banFormsWithEnd is how many forms say when a ban ends, whatever was known of the clock before. A client waits
// much longer after the others.
const banFormsWithEnd = 5

// chaosREST makes the next requests fail. Bans are short, so that a client that waits for their end
// returns soon.
func chaosREST(x *exchange, d *dice) string {
	reject := func(n, status int, retryAfter time.Duration) string {
		x.faults.rejectWith(n, status, retryAfter)
		return fmt.Sprintf("RejectREST(%d, %d, %v)", n, status, retryAfter)
	}
	wait := time.Duration(d.few) * time.Second
	switch d.kind % 9 {
	case 0:
		return reject(1, http.StatusTooManyRequests, wait)
	case 1:
		form := banForms()[d.symbol%banFormsWithEnd]
		x.faults.ban = banFault{banEnd(time.Now(), wait), form}
		return fmt.Sprintf("Ban(%v, %q)", wait, form.name)
	case 2:
		return reject(d.few, http.StatusForbidden, 0)
	case 3:
		return reject(d.few, http.StatusServiceUnavailable, 0)
	case 4:
		return reject(d.few, http.StatusBadGateway, 0)
	case 5:
		x.faults.hang, x.faults.hangFor = d.few, d.lasting
		return fmt.Sprintf("HangREST(%d, %v)", d.few, d.lasting)
	case 6:
		x.faults.truncate = d.few
		return fmt.Sprintf("TruncateREST(%d)", d.few)
	case 7:
		x.faults.trickle, x.faults.trickleEvery = d.few, 1+d.lasting
		return fmt.Sprintf("TrickleREST(%d, %v)", d.few, d.lasting)
	}
	x.faults.gzip = true
	x.restorers.add(d.lasting, "GzipREST", func() { x.faults.gzip = false })
	return fmt.Sprintf("GzipREST for %v", d.lasting)
}

// chaosListing makes one answer to exchangeInfo mislead. An answer that lacks symbols is followed by one that has
// them: the second in a row is the truth for a client.
func chaosListing(x *exchange, d *dice) string {
	faults := listingFaults()
	f := faults[d.kind%len(faults)]
	if f.name == "half" && x.faults.listing.short {
		return "nothing: the last listing lacked symbols"
	}
	x.faults.listing.n, x.faults.listing.fault = 1, f
	return fmt.Sprintf("MisleadListings(1, %q)", f.name)
}

func chaosLateCommands(x *exchange, d *dice) string {
	delay := min(d.lasting, time.Second)
	if d.kind%2 == 0 {
		x.commands.lateAcks, x.commands.ackDelay = d.few, delay
		return fmt.Sprintf("DelayAcks(%d, %v)", d.few, delay)
	}
	x.commands.lingering, x.commands.lingerFor = d.few, delay
	return fmt.Sprintf("DelayUnsubscribes(%d, %v)", d.few, delay)
}

// dice are the random numbers of one fault. Every fault draws all of them, so that the use one makes of
// them does not change the next.
type dice struct {
	symbol, conn, kind int
	few                int // 1 to 3
	lasting            time.Duration
}

func throw(r *rand.Rand, longest time.Duration) *dice {
	return &dice{
		symbol: r.IntN(1 << 30), conn: r.IntN(1 << 30), kind: r.IntN(1 << 30), few: 1 + r.IntN(3),
		lasting: time.Duration(r.Float64() * float64(longest)).Truncate(time.Millisecond),
	}
}

// A restorer undoes a change that lasts for a limited time.
type restorer struct {
	what string // unique among the scheduled ones
	at   time.Time
	undo func()
}

// restorers are the changes that are due to be undone, in no order.
type restorers []restorer

// add schedules undo. Where the same change is scheduled already, only its time moves: undo has captured
// the changed state, not the original one.
func (r *restorers) add(after time.Duration, what string, undo func()) {
	at := time.Now().Add(after)
	if i := slices.IndexFunc(*r, func(o restorer) bool { return o.what == what }); i >= 0 {
		(*r)[i].at = at
		return
	}
	*r = append(*r, restorer{what, at, undo})
}

// next returns when the next restorer is due, but no later than latest.
func (r restorers) next(latest time.Time) time.Time {
	for _, o := range r {
		if o.at.Before(latest) {
			latest = o.at
		}
	}
	return latest
}

// run undoes what is due.
func (r *restorers) run(now time.Time) {
	*r = slices.DeleteFunc(*r, func(o restorer) bool {
		if o.at.After(now) {
			return false
		}
		o.undo()
		return true
	})
}
