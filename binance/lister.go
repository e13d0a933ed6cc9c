package binance

import (
	"context"
	"sync"
	"time"
)

// A lister says which symbols the exchange lists by its latest listing, and shares one request among all
// calls that need a newer one: a listing weighs as much as four snapshots.
type lister struct {
	maxAge time.Duration // of a listing that is believed

	mu       sync.Mutex
	statuses map[string]string // by symbol; nil before the first listing; never changed, only replaced
	asked    time.Time         // when they were asked for
	begun    int               // requests of find, the latest one included
	answered int               // the number of the latest one that brought a listing
	request  *listRequest      // on its way; nil if there is none
}

// A listRequest is a request that several calls of find wait for.
type listRequest struct {
	done chan struct{} // closed when it has ended
	err  error         // set before
	left bool          // the call that made it has given up; set before
}

// note notes a listing that was asked for at that time.
func (l *lister) note(statuses map[string]string, asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statuses, l.asked = statuses, asked
}

// find returns the statuses of the listed symbols, and those of the given ones that are not listed. A
// listing that is not too old is believed where it has a symbol. Where it lacks one, a listing is asked for
// after the call has begun. ask asks for one, notes it, and returns a func that reports it. One call at a
// time does so, with its own ctx; the others wait for it and get the same listing or error.
func (l *lister) find(ctx context.Context, symbols []string, ask func(context.Context) (report func(), err error)) (statuses map[string]string, missing []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for before := l.begun; ; {
		missing = unlisted(l.statuses, symbols)
		old := l.statuses == nil || time.Since(l.asked) > l.maxAge
		if l.answered > before || missing == nil && !old {
			return l.statuses, missing, nil
		}
		if r := l.request; r == nil {
			err = l.lead(ctx, ask)
		} else {
			err = l.follow(ctx, r)
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// lead makes a request. It is called with mu held, and returns with mu held. The report is a call of the
// program, which may ask for a listing in turn.
func (l *lister) lead(ctx context.Context, ask func(context.Context) (func(), error)) error {
	r := &listRequest{done: make(chan struct{})}
	l.begun++
	number := l.begun
	l.request = r
	l.mu.Unlock()
	report, err := ask(ctx)
	r.err, r.left = err, ctx.Err() != nil
	l.mu.Lock()
	l.request = nil
	if err == nil {
		l.answered = number
	}
	l.mu.Unlock()
	close(r.done)
	report()
	l.mu.Lock()
	return err
}

// follow waits for a request. It returns nil if the call that made it has given up: another one makes the
// next. It is called with mu held, and returns with mu held.
func (l *lister) follow(ctx context.Context, r *listRequest) error {
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-r.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.err != nil && !r.left {
		return r.err
	}
	return nil
}

// unlisted returns the symbols that have no status.
func unlisted(statuses map[string]string, symbols []string) (missing []string) {
	for _, symbol := range symbols {
		if _, ok := statuses[symbol]; !ok {
			missing = append(missing, symbol)
		}
	}
	return missing
}
