package binance

import "time"

// A weightWindow counts the request weight of the clock minute. rest-api.md counts in intervals of
// the clock: the minute begins at :00 of the exchange's time.
type weightWindow struct {
	limit   int     // weight a minute; 0 means no bound
	reserve float64 // share of it left for others
	clock   exchangeClock

	minute  time.Time // exchange clock: the one that used belongs to
	used    int
	learned int // the exchange's own count of that minute, as far as it is known
	sending int // weight of the requests on their way
}

func (w *weightWindow) reserved() int { return int(w.reserve * float64(w.limit)) }

// turn begins a new count with each minute. The exchange may count what is on its way in either.
func (w *weightWindow) turn(now time.Time) {
	if minute := w.clock.earliest(now).Truncate(time.Minute); !minute.Equal(w.minute) {
		w.minute, w.used, w.learned = minute, w.sending, 0
	}
}

// end returns when the next minute has begun, by the local clock.
func (w *weightWindow) end() time.Time { return w.clock.local(w.minute.Add(time.Minute)) }

// take counts a request as sent if it fits. Alone in its minute any request does, however heavy.
func (w *weightWindow) take(weight int) bool {
	if w.limit > 0 && weight > 0 && w.used > 0 && w.used+weight > w.limit-w.reserved() {
		return false
	}
	w.used += weight
	w.sending += weight
	return true
}

// giveBack uncounts a request that was not sent, and that the exchange therefore has not counted.
func (w *weightWindow) giveBack(weight int) {
	w.sending -= weight
	w.used = max(w.learned, w.used-weight)
}

// learnClock takes over the exchange's time. That shows in which minute we are, and begins none: what was
// counted counts on.
func (w *weightWindow) learnClock(now, sent, answered, exchange time.Time) {
	w.clock.learn(sent, answered, exchange)
	w.minute = w.clock.earliest(now).Truncate(time.Minute)
}

// learn takes over the exchange's count in the answer to a request sent at that time. Other programs
// on this IP are contained in it; what this program has sent since is not, so it never lowers the
// count. An answer that crossed the border of the minute may tell the old minute's count.
func (w *weightWindow) learn(sent time.Time, used int) {
	if !w.clock.earliest(sent).Before(w.minute) {
		w.used, w.learned = max(w.used, used), max(w.learned, used)
	}
}

// An exchangeClock tells how far the exchange's clock is from the local one. The zero value takes them
// to be equal.
type exchangeClock struct {
	known       bool
	offset      time.Duration // exchange minus local
	uncertainty time.Duration // how far offset may be off
}

// maxUncertainty bounds how uncertain a measurement may be to count.
const maxUncertainty = 2 * time.Second

// learn compares the clocks. The exchange read its own somewhere between sent and answered, so that a
// fast answer tells more than a slow one. One that contradicts what was known means that a clock was
// set.
func (c *exchangeClock) learn(sent, answered, exchange time.Time) {
	uncertainty := answered.Sub(sent) / 2
	offset := exchange.Sub(sent) - uncertainty
	if uncertainty < 0 || uncertainty > maxUncertainty {
		return
	}
	contradicts := (offset - c.offset).Abs() > uncertainty+c.uncertainty+time.Millisecond
	if !c.known || uncertainty <= c.uncertainty || contradicts {
		*c = exchangeClock{known: true, offset: offset, uncertainty: uncertainty}
	}
}

// earliest returns the earliest time the exchange's clock may show, so that no minute begins too soon.
func (c *exchangeClock) earliest(local time.Time) time.Time {
	return local.Add(c.offset - c.uncertainty)
}

// local is the inverse of earliest.
func (c *exchangeClock) local(exchange time.Time) time.Time {
	return exchange.Add(c.uncertainty - c.offset)
}
