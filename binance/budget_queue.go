package binance

import (
	"slices"
	"time"
)

// A Priority says which of the requests that wait in a Budget goes first. One that does not fit into
// what is left of the minute's weight lets lighter ones pass, which costs it nothing.
type Priority uint8

// The priorities, most urgent first.
const (
	PriorityCall    Priority = iota // a method of Client called by the program
	PriorityGap                     // the snapshot of a book that was known and is not
	PriorityFirst                   // the snapshot of a book that was never known
	PriorityDeepen                  // a deeper snapshot of a book that is known
	PriorityRefresh                 // the refresh or audit of a book that is known
	PriorityPoll                    // a question for what may have changed: exchangeInfo
	priorities      = iota
)

var priorityNames = [...]string{"call", "gap", "first", "deepen", "refresh", "poll"}

// String returns the priority's one-word name, "unknown" for a value that is none of the constants.
func (p Priority) String() string {
	if int(p) >= len(priorityNames) {
		return "unknown"
	}
	return priorityNames[p]
}

// A spender is a Client as its Budget knows it.
type spender struct {
	throttled func(ThrottleInfo)
	told      time.Time // until when it knows that it has to wait; guarded by the Budget
}

// A ticket is one request's place in the queue and, once granted, its right to be sent.
type ticket struct {
	budget   *Budget
	by       *spender
	priority Priority
	weight   int
	grant    func() // called once when the request may be sent, without any lock; must not block
	granted  bool   // guarded by the Budget
}

// A ticketQueue holds the tickets that wait, oldest first within each Priority.
type ticketQueue [priorities][]*ticket

func (q *ticketQueue) add(t *ticket) { q[t.priority] = append(q[t.priority], t) }

func (q *ticketQueue) remove(t *ticket) {
	if at := slices.Index(q[t.priority], t); at >= 0 {
		q[t.priority] = slices.Delete(q[t.priority], at, at+1)
	}
}

// all iterates over the tickets, the most urgent first.
func (q *ticketQueue) all(yield func(*ticket) bool) {
	for _, waiting := range q {
		for _, t := range waiting {
			if !yield(t) {
				return
			}
		}
	}
}

func (q *ticketQueue) lengths() (n [priorities]int) {
	for p := range q {
		n[p] = len(q[p])
	}
	return n
}

// enqueue asks for the right to send a request. It is given by calling grant, maybe before enqueue
// returns.
func (b *Budget) enqueue(by *spender, p Priority, weight int, grant func()) *ticket {
	t := &ticket{budget: b, by: by, priority: p, weight: weight, grant: grant}
	b.act(func(time.Time) { b.queue.add(t) })
	return t
}

// close says that the request was answered, or failed.
func (t *ticket) close() {
	t.budget.act(func(time.Time) {
		t.budget.sending--
		t.budget.window.sending -= t.weight
	})
}

// giveUp leaves the queue. If the right was granted already, it is given back: the request was not
// sent.
func (t *ticket) giveUp() {
	if t.leave() {
		return
	}
	b := t.budget
	b.act(func(time.Time) {
		b.sending--
		b.window.giveBack(t.weight)
	})
}

// leave leaves the queue; false if the right is, or is being, granted.
func (t *ticket) leave() bool {
	left := false
	t.budget.act(func(time.Time) {
		if left = !t.granted; left {
			t.budget.queue.remove(t)
		}
	})
	return left
}

// act changes the state, and lets go whoever may go after that.
func (b *Budget) act(change func(now time.Time)) {
	b.mu.Lock()
	now := time.Now()
	b.window.turn(now)
	change(now)
	calls := b.serve(now)
	b.mu.Unlock()
	for _, f := range calls {
		f()
	}
}

// serve grants what can be granted, and sets the timer for when more can be. It returns what to call
// once the lock is released.
func (b *Budget) serve(now time.Time) (calls []func()) {
	var until time.Time // when what does not fit is looked at again
	status := 0
	if now.Before(b.blocked) {
		until, status = b.blocked, b.status
	} else {
		var granted []*ticket
		for t := range b.queue.all {
			if b.sending >= b.cfg.Concurrent {
				break // the next answer lets more go
			}
			if !b.window.take(t.weight) {
				until = b.window.end()
				continue
			}
			b.sending++
			t.granted = true
			granted = append(granted, t)
			calls = append(calls, t.grant)
		}
		for _, t := range granted {
			b.queue.remove(t)
		}
	}
	return append(calls, b.pause(now, until, status)...)
}

// pause sees to it that the queue is served again at until, and tells those who wait for that; zero
// until means that nobody waits for a time.
func (b *Budget) pause(now, until time.Time, status int) (calls []func()) {
	if b.timer != nil {
		b.timer.Stop()
	}
	waiting := false
	for t := range b.queue.all {
		if until.IsZero() {
			return nil
		}
		waiting = true
		if t.by.told.Before(until) {
			t.by.told = until
			info := ThrottleInfo{Status: status, Until: until.UTC(), Weight: t.weight}
			calls = append(calls, func() { t.by.throttled(info) })
		}
	}
	if waiting {
		b.timer = time.AfterFunc(until.Sub(now), func() { b.act(func(time.Time) {}) })
	}
	return calls
}
