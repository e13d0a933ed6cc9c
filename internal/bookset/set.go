// Package bookset is the registry of order books that a feed offers its users: lookup without a lock, View and
// Status that hold no lock while code of the program runs, Ready, and a handler that is called one record at a time.
// binance.DepthSyncer and the feed of books from the bus are built on it, so that both behave alike.
package bookset

import (
	"context"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// An Entry is one book of a Set; S is its status. An Entry embeds Shared.
type Entry[K comparable, S any] interface {
	comparable
	Key() K

	Want()

	Lock()
	Unlock()
	// The next three are called with the lock held.
	State() orderbook.State
	Book() *orderbook.Book
	Status() S

	reader() *atomic.Int32
}

// Shared is what every Entry has. The goroutine that owns the book is the only one that changes it, and holds the
// lock while it does: see BeginChange.
type Shared struct {
	sync.Mutex
	Waiting
	readers *atomic.Int32 // the calls of View that use the book as it is now; nil before the first

	UpdatedAt time.Time     // local clock of the book's last change; zero if it was never synced
	LastGap   orderbook.Gap // Reason is 0 if there was none

	wanted atomic.Bool // the program has asked for the book since it was last synced
}

// Waiting is what a book waits for. It is safe for concurrent use, without the lock of the book.
type Waiting struct {
	wait atomic.Pointer[marketprism.Wait]
}

// Wait returns what the book waits for.
func (w *Waiting) Wait() (wait marketprism.Wait) {
	if p := w.wait.Load(); p != nil {
		wait = *p
	}
	return wait
}

// SetWait notes what the book waits for.
func (w *Waiting) SetWait(wait marketprism.Wait) { w.wait.Store(&wait) }

// AttemptFailed notes why the book still waits for something, and when the next attempt to get it begins.
func (w *Waiting) AttemptFailed(what string, err error, next time.Time) {
	attempt := 1
	if before := w.Wait(); before.For == what {
		attempt += before.Attempt
	}
	w.SetWait(marketprism.Wait{For: what, Err: err, Attempt: attempt, Next: next})
}

// Want notes that the program asks for the book. It writes only the first time, so that readers on many
// cores do not slow each other.
func (s *Shared) Want() {
	if !s.wanted.Load() {
		s.wanted.Store(true)
	}
}

// Wanted reports whether the program has asked for the book since Forget.
func (s *Shared) Wanted() bool { return s.wanted.Load() }

// Forget forgets that the program has asked for the book.
func (s *Shared) Forget() { s.wanted.Store(false) }

// BeginChange locks the book for a change and reports whether a View uses it. The caller must then let it be, and
// change a copy. So the feed never waits for a View, and the func in a View can call any method: a lock that it
// held would make it wait for a change that waits for it (https://github.com/nuts-foundation/nuts-node/issues/491).
func (s *Shared) BeginChange() (viewed bool) {
	s.Lock()
	if s.readers == nil || s.readers.Load() == 0 {
		return false
	}
	s.readers = nil
	return true
}

// reader counts a call of View, which uncounts itself at its end. The lock is held.
func (s *Shared) reader() *atomic.Int32 {
	if s.readers == nil {
		s.readers = new(atomic.Int32)
	}
	s.readers.Add(1)
	return s.readers
}

// Note records what a change of the book, made at the given time, has emitted. The lock is held.
func (s *Shared) Note(at time.Time, events []orderbook.Event) {
	for i := range events {
		if gap := events[i].Gap; gap != nil {
			s.LastGap = *gap
		} else {
			s.UpdatedAt = at
		}
	}
}

// Errors are the errors of a Set in the words of the package that offers it.
type Errors[K comparable, S any] struct {
	Unknown   func(key K) error           // no such book
	NotSynced func(key K, status S) error // the book cannot be read
	Stopped   error                       // Run has returned
	Reentrant error                       // Ready would wait for the goroutine that calls it
}

// A Set is the books of one feed. Its methods are safe for concurrent use. New returns one.
type Set[K comparable, S any, E Entry[K, S]] struct {
	pkg    string // import path of the package that offers the Set
	errors Errors[K, S]

	changing sync.Mutex // held while table is replaced
	table    atomic.Pointer[table[K, E]]

	handling chan struct{}             // holds a token while the handler runs
	failure  *marketprism.HandlerError // of this Run; nil while the handler has not failed; guarded by handling

	mu      sync.Mutex
	running bool
	ended   error         // why Run has returned; nil before and during a Run
	news    chan struct{} // closed when a book was synced or removed, or Run has returned
}

// A table is never changed: each change of the Set makes a new one.
type table[K comparable, E any] struct {
	byKey map[K]E
	keys  []K // in the order they were added
}

// New returns an empty Set for the package of that import path.
func New[K comparable, S any, E Entry[K, S]](pkg string, errors Errors[K, S]) *Set[K, S, E] {
	s := &Set[K, S, E]{pkg: pkg, errors: errors, handling: make(chan struct{}, 1), news: make(chan struct{})}
	s.table.Store(&table[K, E]{})
	return s
}

// Get returns the entry of a key, or the zero value if there is none.
func (s *Set[K, S, E]) Get(key K) E { return s.table.Load().byKey[key] }

// Find returns the entry of a key, or the error Unknown.
func (s *Set[K, S, E]) Find(key K) (E, error) {
	e, ok := s.table.Load().byKey[key]
	if !ok {
		return e, s.errors.Unknown(key)
	}
	return e, nil
}

// Keys returns the keys in the order they were added. The caller must not change the slice.
func (s *Set[K, S, E]) Keys() []K { return s.table.Load().keys }

// All returns the entries in the order they were added.
func (s *Set[K, S, E]) All() []E {
	t := s.table.Load()
	all := make([]E, len(t.keys))
	for i, key := range t.keys {
		all[i] = t.byKey[key]
	}
	return all
}

// Add adds entries, none of which is in the Set.
func (s *Set[K, S, E]) Add(added ...E) {
	s.changing.Lock()
	defer s.changing.Unlock()
	old := s.table.Load()
	next := &table[K, E]{byKey: make(map[K]E, len(old.byKey)+len(added)), keys: slices.Clip(old.keys)}
	maps.Copy(next.byKey, old.byKey)
	for _, e := range added {
		next.byKey[e.Key()] = e
		next.keys = append(next.keys, e.Key())
	}
	s.table.Store(next)
}

// Remove removes the entries of keys. It ignores keys without one.
func (s *Set[K, S, E]) Remove(keys ...K) {
	s.changing.Lock()
	defer s.changing.Unlock()
	old := s.table.Load()
	next := &table[K, E]{byKey: maps.Clone(old.byKey)}
	for _, key := range keys {
		delete(next.byKey, key)
	}
	for _, key := range old.keys {
		if _, ok := next.byKey[key]; ok {
			next.keys = append(next.keys, key)
		}
	}
	s.table.Store(next)
}

// View calls f with a book that is synced and does not change meanwhile. No lock is held while f runs. The error is
// Unknown or NotSynced; f is not called then.
func (s *Set[K, S, E]) View(key K, f func(*orderbook.Book, S)) error {
	e, err := s.Find(key)
	if err != nil {
		return err
	}
	e.Want()
	e.Lock()
	if e.State() != orderbook.Synced {
		status := e.Status()
		e.Unlock()
		return s.errors.NotSynced(key, status)
	}
	book, status, readers := e.Book(), e.Status(), e.reader()
	e.Unlock()
	defer readers.Add(-1)
	f(book, status)
	return nil
}

// Status returns the status of a book, and whether there is one.
func (s *Set[K, S, E]) Status(key K) (status S, ok bool) {
	e, ok := s.table.Load().byKey[key]
	if !ok {
		return status, false
	}
	e.Lock()
	defer e.Unlock()
	return e.Status(), true
}

// Ready blocks until the books of all keys are synced at once. No keys mean all books, once incomplete,
// which may be nil, returns nil. The error is Unknown; Stopped with the error of Run if that has returned;
// or that of ctx with the first book that is not synced. Where it would wait inside a callback of the feed, the error is
// Reentrant with the first book that is not synced.
func (s *Set[K, S, E]) Ready(ctx context.Context, incomplete func() error, keys ...K) error {
	for {
		s.mu.Lock()
		news, ended := s.news, s.ended
		s.mu.Unlock()
		missing, err := s.firstUnsynced(incomplete, keys)
		if missing == nil || err != nil {
			return err
		}
		switch {
		case ended != nil:
			return ended
		case inCallback(s.pkg):
			return fmt.Errorf("%w: %w", s.errors.Reentrant, missing)
		}
		select {
		case <-news:
		case <-ctx.Done():
			if now, _ := s.firstUnsynced(incomplete, keys); now != nil { // why, now
				missing = now
			}
			return fmt.Errorf("%w: %w", missing, ctx.Err())
		}
	}
}

// inCallback reports whether code of package pkg called the code that called Ready: the handler, a hook or another
// func of the program, on a goroutine that the books may need. A View needs none. The stack shows it without a mark that
// would cost something with each record; others read the goroutine's number from it, also only where a call would wait
// (https://github.com/centrifugal/centrifuge-go/pull/140).
func inCallback(pkg string) bool {
	pcs := make([]uintptr, 64)
	for {
		n := runtime.Callers(0, pcs)
		if n < len(pcs) {
			pcs = pcs[:n]
			break
		}
		pcs = make([]uintptr, 2*len(pcs))
	}
	frames := runtime.CallersFrames(pcs)
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if strings.HasPrefix(f.Function, pkg+".") && !strings.HasSuffix(f.Function, ").Ready") && !strings.HasSuffix(f.Function, ").View") {
			return true
		}
	}
	return false
}

// firstUnsynced returns NotSynced for the first book that is not synced, nil if all are.
func (s *Set[K, S, E]) firstUnsynced(incomplete func() error, keys []K) (missing, err error) {
	all := len(keys) == 0
	if all && incomplete != nil {
		missing = incomplete()
	}
	t := s.table.Load() // once, so that a book that is removed meanwhile is not unknown
	if all {
		keys = t.keys
	}
	for _, key := range keys {
		e, ok := t.byKey[key]
		if !ok {
			return nil, s.errors.Unknown(key)
		}
		if !all {
			e.Want()
		}
		e.Lock()
		unsynced := e.State() != orderbook.Synced
		var status S
		if unsynced && missing == nil {
			status = e.Status()
		}
		e.Unlock()
		if unsynced && missing == nil {
			missing = s.errors.NotSynced(key, status)
		}
	}
	return missing, nil
}

// Grace is how long the handler may take for the current record, and for the Gap records that end
// the books, after the context of Run has ended.
const Grace = 5 * time.Second

// WithGrace returns a context that ends Grace after ctx does. The handler gets it.
func WithGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	timer := time.AfterFunc(math.MaxInt64, cancel)
	stop := context.AfterFunc(ctx, func() { timer.Reset(Grace) })
	return late, func() {
		stop()
		timer.Stop()
		cancel()
	}
}

// RunBegan notes the begin of a Run. It reports false if one is running already.
func (s *Set[K, S, E]) RunBegan() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return false
	}
	s.running, s.ended, s.failure = true, nil, nil
	return true
}

// Running reports whether a Run has begun and not ended.
func (s *Set[K, S, E]) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// RunEnded notes the end of a Run with its result, and wakes those that wait in Ready.
func (s *Set[K, S, E]) RunEnded(err error) {
	s.mu.Lock()
	s.running, s.ended = false, s.errors.Stopped
	if err != nil {
		s.ended = fmt.Errorf("%w: %w", s.errors.Stopped, err)
	}
	s.mu.Unlock()
	s.Changed()
}

// Changed makes those that wait in Ready look again: a book was synced or removed.
func (s *Set[K, S, E]) Changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
}

// Failure returns how the handler has failed in this Run; nil if it has not. Nothing may call Handle any more.
func (s *Set[K, S, E]) Failure() error {
	if s.failure == nil {
		return nil
	}
	return s.failure
}

// Handle calls the handler, which may be nil, while no other call of it runs. After its first error in a Run it is not
// called any more: Handle returns context.Canceled and counts the record, for Failure. The Run is about to end.
func (s *Set[K, S, E]) Handle(ctx context.Context, handler func(context.Context, *marketprism.Record) error, rec *marketprism.Record) error {
	if handler == nil {
		return nil
	}
	s.handling <- struct{}{}
	defer func() { <-s.handling }()
	if s.failure != nil {
		s.failure.Undelivered++
		return context.Canceled
	}
	if err := handler(ctx, rec); err != nil {
		s.failure = &marketprism.HandlerError{Key: rec.Key(), Err: err}
		return s.failure
	}
	return nil
}
