package binance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// An outbox holds what a connection is to subscribe and unsubscribe until the exchange accepts another
// request, and joins it then: a thousand symbols that are removed one by one are a thousand names in a
// few frames, not a thousand frames, which would keep a subscription behind them waiting for minutes. A
// stream that comes and goes meanwhile is in no frame at all. It holds each stream once at most. It also has
// the requests that the exchange has not answered.
//
// The goroutine of the shard adds names and takes answers, the one of run writes.
type outbox struct {
	bound   int           // streams that the connection may have
	timeout time.Duration // for the exchange to answer a subscription
	ready   chan struct{} // holds a token while names may be waiting

	mu       sync.Mutex
	carried  map[string]bool    // streams that the exchange has once it has read what was written
	leaving  nameQueue          // those of them to unsubscribe
	renewed  map[string]bool    // those of leaving that are subscribed again afterwards
	joining  nameQueue          // streams to subscribe
	left     bool               // the latest request was an UNSUBSCRIBE
	lastID   int64              // of the requests
	writing  bool               // a request is being written
	requests map[int64][]string // subscriptions without an answer
	awaited  map[string]int64   // by stream: the one of requests that subscribes it
	apart    map[string]int     // by stream that was refused among others: with how many it is asked for next
	accepted bool               // the exchange has acknowledged a subscription
	refusals int                // since then, or since the connection was opened
	progress time.Time          // when the latest answer came, or the first of requests was written
}

func newOutbox(bound int, timeout time.Duration) *outbox {
	return &outbox{
		bound: bound, timeout: timeout, ready: make(chan struct{}, 1),
		carried: make(map[string]bool), renewed: make(map[string]bool),
		requests: make(map[int64][]string), awaited: make(map[string]int64), apart: make(map[string]int),
	}
}

// subscribe adds streams. It returns those that the connection carries already, acknowledged: it was to
// unsubscribe them, and that was not written yet. A stream that it carries otherwise is subscribed again,
// which the exchange takes for a repetition.
func (o *outbox) subscribe(streams []string) (kept []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range streams {
		if !o.leaving.has(name) || o.renewed[name] {
			o.joining.add(name)
			continue
		}
		o.leaving.remove(name)
		if o.awaited[name] == 0 {
			kept = append(kept, name)
		}
	}
	wake(o.ready)
	return kept
}

// unsubscribe removes streams.
func (o *outbox) unsubscribe(streams []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range streams {
		o.joining.remove(name)
		delete(o.apart, name)
		if o.carried[name] {
			o.leaving.add(name)
		}
	}
	wake(o.ready)
}

// renew unsubscribes a stream and subscribes it again.
func (o *outbox) renew(stream string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.carried[stream] {
		o.leaving.add(stream)
		o.renewed[stream] = true
	}
	o.joining.add(stream)
	wake(o.ready)
}

// run writes requests until ctx ends, or until the connection fails, which it then closes.
func (o *outbox) run(ctx context.Context, s *Stream) {
	for {
		select {
		case <-o.ready:
		case <-ctx.Done():
			return
		}
		for o.waiting() {
			if err := s.write(ctx, o.next); err != nil {
				s.closeWith(err)
				return
			}
			o.written(time.Now())
		}
	}
}

// waiting reports whether there is anything to write.
func (o *outbox) waiting() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.leaving.length() > 0 || o.joining.length() > 0
}

// next returns the frame to write now, nil if there is none any more. Subscriptions and unsubscriptions
// take turns, so that neither waits for all of the other.
func (o *outbox) next() ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	method, names := unsubscribeMethod, slices.Clone(o.leaving.names)
	if o.left || len(names) == 0 {
		if joins := o.joinable(); len(joins) > 0 {
			method, names = subscribeMethod, o.group(joins)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	r, err := newRequest(method, names, o.lastID+1)
	if err != nil {
		return nil, err
	}
	o.lastID, o.writing, o.left = r.id, true, method == unsubscribeMethod
	for _, name := range r.streams {
		if o.left {
			o.leaving.remove(name)
			delete(o.carried, name)
			delete(o.renewed, name)
			delete(o.awaited, name) // the answer to an earlier subscription says nothing any more
		} else {
			o.joining.remove(name)
			o.carried[name] = true
			o.awaited[name] = r.id
		}
	}
	if !o.left {
		if len(o.requests) == 0 {
			o.progress = time.Time{}
		}
		o.requests[r.id] = r.streams
	}
	return r.frame, nil
}

// joinable returns the streams that can be subscribed now: those for which there is room.
func (o *outbox) joinable() (names []string) {
	room := o.bound - len(o.carried)
	for _, name := range o.joining.names {
		if o.leaving.has(name) || room <= 0 && o.leaving.length() > 0 {
			continue
		}
		names = append(names, name)
		room--
	}
	return names
}

// group returns the streams that share the next request: the first ones, or the smallest of the parts of refused
// requests, so that a name which is accepted, or refused alone, is found in a few steps.
func (o *outbox) group(streams []string) (names []string) {
	most := o.apart[streams[0]]
	if most > 0 {
		for _, name := range streams {
			if n := o.apart[name]; n > 0 {
				most = min(most, n)
			}
		}
	}
	for _, name := range streams {
		switch {
		case o.apart[name] == most && (most == 0 || len(names) < most):
			names = append(names, name)
		case most == 0:
			return names
		}
	}
	return names
}

// written notes that the frame of next was written.
func (o *outbox) written(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = false
	if o.progress.IsZero() {
		o.progress = now
	}
}

// answered returns the streams that the exchange carries from now on, by the acknowledgement of a
// request. An answer to any request is progress.
func (o *outbox) answered(id RequestID, now time.Time) (streams []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if id.Null || id.Text != "" {
		return nil
	}
	for _, name := range o.requests[id.Number] {
		o.accepted, o.refusals = true, 0
		delete(o.apart, name)
	}
	return o.ended(id.Number, now)
}

// ended removes a request that was answered, and returns those of its streams that no later one names.
func (o *outbox) ended(id int64, now time.Time) (streams []string) {
	o.progress = now
	for _, name := range o.requests[id] {
		if o.awaited[name] == id {
			delete(o.awaited, name)
			streams = append(streams, name)
		}
	}
	delete(o.requests, id)
	return streams
}

// settled reports whether every subscription is acknowledged.
func (o *outbox) settled() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.joining.length() == 0 && len(o.requests) == 0
}

// lastProgress returns when the latest answer came; the zero time if none has.
func (o *outbox) lastProgress() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.progress
}

// due returns when to look again whether an answer is overdue, or since when it is; zero if none is
// awaited. The exchange may take as long as it likes for any number of requests as long as it answers one
// after the other, and a request that is not written yet has no time to be answered.
func (o *outbox) due(now time.Time) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.joining.length() == 0 && len(o.requests) == 0:
		return time.Time{}
	case o.writing || len(o.requests) == 0:
		return now.Add(o.timeout)
	}
	return o.progress.Add(o.timeout)
}

// overdue returns an error that is ErrNoAck.
func (o *outbox) overdue() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return fmt.Errorf("%w within %v: %d requests", ErrNoAck, o.timeout, len(o.requests))
}

// maxRefusals is how many subscriptions the exchange may refuse on a connection on which it has accepted
// none: then it is not the names. Fifty names that it does not know, one after the other at the beginning, are found alone
// after a hundred.
const maxRefusals = 128

// refused handles the refusal of a request. The exchange refuses all names of a request if it refuses one,
// and does not say which one, so they are asked for in halves, behind those that wait already. It returns the
// name if it was alone. The error is a *SubscribeError that ends the connection: the request is not known, as
// the exchange repeats no id if it could not read it, or all is refused.
//
// ccxt/ccxt#19833: a SUBSCRIBE of the one name "not asdfads" on USDⓈ-M is answered with {"code":2,"msg":
// "Invalid request: invalid stream"}; ctubio/Krypto-trading-bot#1121 has the same of spot. That a request
// of several names is refused as a whole is unproved.
func (o *outbox) refused(id RequestID, cause *StreamError, now time.Time) (stream string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	names := o.requests[id.Number]
	if id.Null || id.Text != "" || names == nil {
		return "", &SubscribeError{Err: cause}
	}
	if o.refusals++; !o.accepted && o.refusals > maxRefusals {
		return "", &SubscribeError{Streams: names, Err: cause}
	}
	for _, name := range o.ended(id.Number, now) {
		delete(o.carried, name)
		delete(o.renewed, name)
		switch left := o.leaving.remove(name); {
		case left && !o.joining.has(name):
		case len(names) == 1:
			o.joining.remove(name)
			return name, nil
		default:
			o.apart[name] = (len(names) + 1) / 2
			o.joining.add(name)
		}
	}
	wake(o.ready)
	return "", nil
}

// retry subscribes a stream that was refused, in a request of its own.
func (o *outbox) retry(stream string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.apart[stream] = 1
	o.joining.add(stream)
	wake(o.ready)
}

// A nameQueue is names in the order in which they came, each of them once.
type nameQueue struct {
	names []string
	index map[string]bool
}

func (q *nameQueue) length() int { return len(q.names) }

func (q *nameQueue) has(name string) bool { return q.index[name] }

func (q *nameQueue) add(name string) {
	if q.index[name] {
		return
	}
	if q.index == nil {
		q.index = make(map[string]bool)
	}
	q.index[name] = true
	q.names = append(q.names, name)
}

// remove reports whether the queue had the name.
func (q *nameQueue) remove(name string) bool {
	if !q.index[name] {
		return false
	}
	delete(q.index, name)
	i := slices.Index(q.names, name)
	q.names = slices.Delete(q.names, i, i+1)
	return true
}
