package binance

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// A Priority decides which of the requests that wait in a Budget goes first. One that does not fit into
// the rest of the minute's weight lets lighter ones pass, which does not delay it.
type Priority uint8

// The priorities, most urgent first.
const (
	PriorityGap     Priority = iota // the snapshot of a book that is no longer synced; before these, calls with Urgent
	PriorityCall                    // a method of Client, or DepthSyncer.Add, called by the program
	PriorityFirst                   // the snapshot of a book that was never synced
	PriorityTrades                  // a page of missed trades
	PriorityDeepen                  // a deeper snapshot of a synced book
	PriorityRefresh                 // the refresh or audit of a synced book
	PriorityPoll                    // a poll for changes: exchangeInfo
	priorities      = iota
)

var priorityNames = [...]string{"gap", "call", "first", "trades", "deepen", "refresh", "poll"}

// String returns the priority's one-word name, "unknown" for a value that is none of the constants.
func (p Priority) String() string {
	if int(p) >= len(priorityNames) {
		return "unknown"
	}
	return priorityNames[p]
}

// mayUseReserve reports whether requests of the priority may spend the weight that is kept for books that
// are not synced.
func (p Priority) mayUseReserve() bool {
	return p == PriorityGap || p == PriorityFirst
}

// urgentKey is the key of Urgent's value in a context.
type urgentKey struct{}

// Urgent returns a context with which a method of Client goes before everything else that waits in the
// Budget, the snapshots of books that have lost their connection included. Without it such a call waits
// until they have their weight.
func Urgent(ctx context.Context) context.Context { return context.WithValue(ctx, urgentKey{}, true) }

// callPriority returns the priority of a call with that context. Calls have the rank zero, before every book.
func callPriority(ctx context.Context) Priority {
	if ctx.Value(urgentKey{}) != nil {
		return PriorityGap
	}
	return PriorityCall
}

// A spender is a Client in the view of its Budget.
type spender struct {
	throttled func(ThrottleInfo)
	notified  time.Time // until when throttled was last called to wait; guarded by the Budget
}

// A reservation is one request's place in the queue and, once granted, its permission to be sent.
type reservation struct {
	budget   *Budget
	by       *spender
	priority Priority
	rank     rank // among those of its priority
	weight   int
	grant    func() // called once, without a lock, when the request may be sent; must not block
	granted  bool   // guarded by the Budget
	parked   bool   // it waits for a shard, and holds no place; guarded by the Budget
	counted  bool   // the answer has brought the exchange's count; guarded by the Budget
}

// A rank orders the reservations of one priority; the zero value goes first.
type rank struct {
	unwanted bool // the program has not read the book since it was last synced
	order    int  // of the book among all
}

func (p rank) compare(o rank) int {
	switch {
	case p.unwanted == o.unwanted:
		return cmp.Compare(p.order, o.order)
	case o.unwanted:
		return -1
	}
	return 1
}

// A reservationQueue holds the reservations that wait, within each Priority by their ranks, and the
// oldest first of those with one rank.
type reservationQueue [priorities][]*reservation

func (q *reservationQueue) add(r *reservation) {
	waiting := q[r.priority]
	at := len(waiting)
	for at > 0 && r.rank.compare(waiting[at-1].rank) < 0 {
		at--
	}
	q[r.priority] = slices.Insert(waiting, at, r)
}

func (q *reservationQueue) remove(r *reservation) {
	if at := slices.Index(q[r.priority], r); at >= 0 {
		q[r.priority] = slices.Delete(q[r.priority], at, at+1)
	}
}

// all iterates over the reservations, the most urgent first.
func (q *reservationQueue) all(yield func(*reservation) bool) {
	for _, waiting := range q {
		for _, r := range waiting {
			if !yield(r) {
				return
			}
		}
	}
}

func (q *reservationQueue) lengths() []int {
	n := make([]int, priorities)
	for p := range q {
		n[p] = len(q[p])
	}
	return n
}

// A weightWindow counts the request weight of the clock minute. rest-api.md counts in intervals of
// the clock: the minute begins at :00 of the exchange's time.
type weightWindow struct {
	limit   int     // weight a minute; 0 means no bound
	reserve float64 // share of limit left for others
	books   int     // weight of the snapshots that sync all books once
	share   float64 // of what is not left for others, the most that is kept for these
	clock   exchangeClock

	minute  time.Time // of counted, by the exchange's clock
	counted int       // the exchange's count as far as known, with the requests that ended without one
	sending int       // weight of the requests sent whose answer has not brought a count
}

func (w *weightWindow) reserved() int { return int(w.reserve * float64(w.limit)) }

// used returns the weight used in the minute. It is never too low for what is known: a request that is on its way
// may be in the count that another one's answer brought, or not yet.
func (w *weightWindow) used() int { return w.counted + w.sending }

// The weight kept for books falls to the least share before the minute ends.
const (
	keptUntil     = 15 * time.Second // before the end of the minute
	leastKeptPart = 25               // of the limit
)

// kept returns the weight that only the snapshots of books that are not synced may use.
func (w *weightWindow) kept(now time.Time) int {
	limit := w.limit - w.reserved()
	most := min(w.books/2, int(w.share*float64(limit)))
	if now.Before(w.keptUntil()) {
		return most
	}
	return min(most, limit/leastKeptPart)
}

// keptUntil returns when the weight that is kept falls, by the local clock.
func (w *weightWindow) keptUntil() time.Time { return w.next().Add(-keptUntil) }

// nextRoom returns when requests of the priority can use more weight than now.
func (w *weightWindow) nextRoom(now time.Time, p Priority) time.Time {
	if at := w.keptUntil(); !p.mayUseReserve() && now.Before(at) && w.kept(now) > w.kept(at) {
		return at
	}
	return w.next()
}

// advance begins a new count with each minute. It includes the requests that are not answered, which
// the exchange may count in either minute.
func (w *weightWindow) advance(now time.Time) {
	if minute := w.clock.earliest(now).Truncate(time.Minute); !minute.Equal(w.minute) {
		w.minute, w.counted = minute, 0
	}
}

// next returns when the next minute has begun, by the local clock.
func (w *weightWindow) next() time.Time { return w.clock.local(w.minute.Add(time.Minute)) }

// take counts a request as sent if it fits. The first of a minute fits however heavy it is.
func (w *weightWindow) take(now time.Time, weight int, p Priority) bool {
	limit := w.limit - w.reserved()
	if !p.mayUseReserve() {
		limit -= w.kept(now)
	}
	if w.limit > 0 && weight > 0 && w.used() > 0 && w.used()+weight > limit {
		return false
	}
	w.sending += weight
	return true
}

// giveBack uncounts a request that was not sent, and that the exchange therefore has not counted.
func (w *weightWindow) giveBack(weight int) { w.sending -= weight }

// end counts a request that has ended without the exchange's count.
func (w *weightWindow) end(weight int) {
	w.sending -= weight
	w.counted += weight
}

// learnClock adopts the exchange's time. That may correct which minute it is, but begins no new count.
func (w *weightWindow) learnClock(now, sent, answered, exchange time.Time) {
	w.clock.learn(sent, answered, exchange)
	w.minute = w.clock.earliest(now).Truncate(time.Minute)
}

// learn adopts the exchange's count from the answer to a request of that weight, sent at that time, and reports
// whether it did. The count includes the request, and what other programs on this IP address have used. It may lack
// requests that were on their way at the time, and answers overtake each other, so it never lowers the count. An answer
// across the end of a minute may carry the old minute's count and is ignored.
func (w *weightWindow) learn(sent time.Time, weight, count int) bool {
	if w.clock.earliest(sent).Before(w.minute) {
		return false
	}
	w.sending -= weight
	w.counted = max(w.counted, count)
	return true
}

// An exchangeClock estimates how far the exchange's clock is from the local one. The zero value takes
// them to be equal.
type exchangeClock struct {
	known       bool
	offset      time.Duration // exchange minus local
	uncertainty time.Duration // bound of the error of offset
}

// Bounds of a measurement that counts. A host without a battery begins in 1970.
const (
	maxUncertainty = 2 * time.Second
	maxOffset      = 100 * 365 * 24 * time.Hour
)

// learn compares the clocks. The exchange read its own at some time between sent and answered, so a
// fast answer is more precise than a slow one. A measurement that contradicts the last one means that
// a clock was set.
func (c *exchangeClock) learn(sent, answered, exchange time.Time) {
	uncertainty := answered.Sub(sent) / 2
	offset := exchange.Sub(sent) - uncertainty
	if uncertainty < 0 || uncertainty > maxUncertainty || offset.Abs() > maxOffset {
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

// web-socket-streams.md, Websocket Limits: "There is a limit of 300 connections per attempt every 5
// minutes per IP." The second on top is for attempts that arrive closer together than they were sent.
const (
	maxConnects   = 300
	connectPeriod = 5*time.Minute + time.Second
)

// A connectWindow counts connection attempts of the last period.
type connectWindow struct {
	limit    int // negative means no bound
	attempts []time.Time
}

func (w *connectWindow) count(now time.Time) int {
	for len(w.attempts) > 0 && !now.Before(w.attempts[0].Add(connectPeriod)) {
		w.attempts = w.attempts[1:]
	}
	return len(w.attempts)
}

// take counts an attempt and returns the zero time, or returns when to try again.
func (w *connectWindow) take(now time.Time) time.Time {
	if w.limit < 0 {
		return time.Time{}
	}
	if w.count(now) >= w.limit {
		return w.attempts[0].Add(connectPeriod)
	}
	w.attempts = append(w.attempts, now)
	return time.Time{}
}
