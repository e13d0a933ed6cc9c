package binancetest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// nominalTick is the length of one tick in the names of streams, in milliseconds.
const nominalTick = 100

// A grid numbers the interval borders common to all symbols. Its timer runs only while changes are pending,
// so that an idle exchange is asleep.
type grid struct {
	n     int64       // number of the last border; a depth period p ends where n*nominalTick passes a multiple of p
	timer *time.Timer // to the next border; nil while nothing is pending, and always when ticks are manual
}

func (g *grid) stop() {
	if g.timer != nil {
		g.timer.Stop()
	}
}

// arm starts the timer to the next border, if it is not running.
func (x *exchange) arm() {
	if x.cfg.Tick < 0 || x.grid.timer != nil || x.closed {
		return
	}
	now := time.Now()
	x.grid.n = now.UnixNano() / int64(x.cfg.Tick)
	x.grid.timer = time.AfterFunc(x.untilBorder(now), x.onTimer)
}

func (x *exchange) untilBorder(now time.Time) time.Duration {
	return x.cfg.Tick - time.Duration(now.UnixNano()%int64(x.cfg.Tick))
}

func (x *exchange) onTimer() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	now := time.Now()
	x.endInterval(now.UnixNano() / int64(x.cfg.Tick))
	if x.pending() {
		x.grid.timer.Reset(x.untilBorder(now))
		return
	}
	x.grid.timer = nil
}

// pending reports whether any speed of a depth stream has an unsent change.
func (x *exchange) pending() bool {
	for _, sym := range x.symbols {
		for i := range sym.batches {
			if sym.batches[i].first != 0 {
				return true
			}
		}
	}
	return false
}

// endInterval sends the depth events of every speed whose interval ends at border n.
func (x *exchange) endInterval(n int64) {
	for _, sym := range x.symbols {
		for i := range sym.batches {
			b := &sym.batches[i]
			if b.first == 0 || i > 0 && n*nominalTick/b.every == x.grid.n*nominalTick/b.every {
				continue
			}
			x.sendDepth(sym, b)
			if x.partials && b.class == 0 {
				x.sendPartial(sym, b)
			}
			sym.cut(i, x.cfg.History)
		}
	}
	x.grid.n = n
}

// sendDepth sends the event of a batch, with the faults applied, if it has a subscriber.
func (x *exchange) sendDepth(sym *symbolState, b *batch) {
	subscribed := false
	for _, name := range b.period.streams {
		subscribed = subscribed || slices.ContainsFunc(x.subscribers[sym.lower+"@"+name], func(c *conn) bool { return c.class == b.class })
	}
	if !subscribed {
		return
	}
	event := x.encode.depth(sym, b, x.now())
	if !sym.faults.onDepth() && len(b.kept.events) == 0 {
		x.sendEvent(sym, b, event)
		return
	}
	for _, e := range sym.faults.depthEvents(&b.kept, event) {
		x.sendEvent(sym, b, e)
	}
}

func (x *exchange) sendEvent(sym *symbolState, b *batch, event payload) {
	for _, name := range b.period.streams {
		x.publishTo(b.class, sym.lower+"@"+name, event)
	}
}

// sendPartial sends the best levels to the partial depth streams of a batch's speed.
func (x *exchange) sendPartial(sym *symbolState, b *batch) {
	for _, name := range b.period.streams {
		_, speed, _ := strings.Cut(name, "@")
		for _, n := range [...]string{"5", "10", "20"} {
			stream := sym.lower + "@depth" + n
			if speed != "" {
				stream += "@" + speed
			}
			if len(x.subscribers[stream]) > 0 {
				limit, _ := strconv.Atoi(n) // a number
				x.publish(stream, x.encode.partial(sym, b, limit, x.now()))
			}
		}
	}
}
