package bookset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A fakeBook is an Entry whose status is its state.
type fakeBook struct {
	Shared
	name  string
	state orderbook.State
	asked func() // called when the state is read; nil means none
}

func (b *fakeBook) Key() string { return b.name }
func (b *fakeBook) State() orderbook.State {
	if b.asked != nil {
		b.asked()
	}
	return b.state
}

func (b *fakeBook) Status() orderbook.State { return b.state }
func (b *fakeBook) Book() *orderbook.Book   { return nil }

func (b *fakeBook) set(state orderbook.State) {
	b.Lock()
	defer b.Unlock()
	b.state = state
}

var (
	errUnknown   = errors.New("unknown")
	errNotSynced = errors.New("not synced")
	errStopped   = errors.New("stopped")
	errReentrant = errors.New("reentrant")
)

// testPackage is no package, so that no Ready of a test counts as one of a callback.
const testPackage = "example.com/feed"

// newSet returns a Set of books that are Offline.
func newSet(names ...string) (*Set[string, orderbook.State, *fakeBook], map[string]*fakeBook) {
	s := New[string, orderbook.State, *fakeBook](testPackage, Errors[string, orderbook.State]{
		Unknown: func(key string) error { return fmt.Errorf("%w: %s", errUnknown, key) },
		NotSynced: func(key string, state orderbook.State) error {
			return fmt.Errorf("%w: %s, %v", errNotSynced, key, state)
		},
		Stopped:   errStopped,
		Reentrant: errReentrant,
	})
	books := make(map[string]*fakeBook)
	for _, name := range names {
		books[name] = &fakeBook{name: name, state: orderbook.Offline}
		s.Add(books[name])
	}
	return s, books
}

func TestSetKeepsOrder(t *testing.T) {
	s, books := newSet("c", "a", "b")
	before := s.Keys()
	s.Remove("a", "none")
	s.Add(books["a"], &fakeBook{name: "d"})
	if got := s.Keys(); !slices.Equal(got, []string{"c", "b", "a", "d"}) || !slices.Equal(before, []string{"c", "a", "b"}) {
		t.Errorf("keys %v, before %v", got, before)
	}
	if all := s.All(); len(all) != 4 || all[1] != books["b"] || s.Get("b") != books["b"] || s.Get("none") != nil {
		t.Errorf("entries: %v", all)
	}
	if _, err := s.Find("none"); !errors.Is(err, errUnknown) {
		t.Errorf("err = %v", err)
	}
}

func TestViewAndStatus(t *testing.T) {
	s, books := newSet("a")
	view := func(*orderbook.Book, orderbook.State) { t.Error("called with a book that is not synced") }
	if err := s.View("a", view); !errors.Is(err, errNotSynced) {
		t.Errorf("err = %v", err)
	}
	if err := s.View("b", view); !errors.Is(err, errUnknown) {
		t.Errorf("err = %v", err)
	}
	books["a"].set(orderbook.Synced)
	called := false
	if err := s.View("a", func(_ *orderbook.Book, s orderbook.State) { called = s == orderbook.Synced }); err != nil || !called {
		t.Errorf("err = %v, called %v", err, called)
	}
	if state, ok := s.Status("a"); !ok || state != orderbook.Synced {
		t.Errorf("status %v, %v", state, ok)
	}
	if _, ok := s.Status("b"); ok {
		t.Error("status of an unknown book")
	}
}

// A change does not wait for a View, and the func in a View may read and change the Set.
func TestViewHoldsNoLock(t *testing.T) {
	s, books := newSet("a", "b")
	books["a"].set(orderbook.Synced)
	err := s.View("a", func(_ *orderbook.Book, state orderbook.State) {
		if nested := s.View("a", func(*orderbook.Book, orderbook.State) {}); nested != nil {
			t.Error(nested)
		}
		for i, want := range []bool{true, false} { // the copy is not viewed
			viewed := books["a"].BeginChange()
			books["a"].Unlock()
			if viewed != want {
				t.Errorf("change %d: viewed %v", i, viewed)
			}
		}
		s.Remove("a")
	})
	if err != nil {
		t.Error(err)
	}
	if viewed := books["a"].BeginChange(); viewed {
		t.Error("viewed after the View")
	}
}

func TestSharedNotes(t *testing.T) {
	var b Shared
	at := time.Unix(7, 0)
	b.Note(at, []orderbook.Event{{Update: &orderbook.Update{}}, {Gap: &orderbook.Gap{After: 5, Reason: orderbook.GapSequence}}})
	b.Note(at.Add(1), []orderbook.Event{{Gap: &orderbook.Gap{After: 9, Reason: orderbook.GapRemoved}}})
	if !b.UpdatedAt.Equal(at) || b.LastGap.After != 9 {
		t.Errorf("updated at %v, last gap %+v", b.UpdatedAt, b.LastGap)
	}
}

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, books := newSet("a", "b")
		listed := false
		incomplete := func() error {
			if listed {
				return nil
			}
			return errNotSynced
		}
		result := make(chan error, 1)
		wait := func(ctx context.Context, keys ...string) {
			go func() { result <- s.Ready(ctx, incomplete, keys...) }()
			synctest.Wait()
		}
		change := func(name string, state orderbook.State) {
			books[name].set(state)
			s.Changed()
			synctest.Wait()
		}
		wait(t.Context())
		change("a", orderbook.Synced)
		change("a", orderbook.Buffering)
		change("b", orderbook.Synced)
		change("a", orderbook.Synced) // all are synced, but not listed
		if len(result) > 0 {
			t.Fatalf("ready too early: %v", <-result)
		}
		listed = true
		s.Changed()
		if err := <-result; err != nil {
			t.Errorf("err = %v", err)
		}
		if err := s.Ready(t.Context(), nil, "a", "none"); !errors.Is(err, errUnknown) {
			t.Errorf("err = %v", err)
		}

		change("a", orderbook.Offline)
		ctx, cancel := context.WithCancel(t.Context())
		wait(ctx, "b", "a")
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) || !errors.Is(err, errNotSynced) {
			t.Errorf("err = %v", err)
		}
		wait(t.Context(), "a")
		s.Remove("a")
		s.Changed()
		if err := <-result; !errors.Is(err, errUnknown) {
			t.Errorf("of a removed book: %v", err)
		}
	})
}

// Ready of all books is not of one that is removed while it looks at them.
func TestReadyOfAllWhileOneIsRemoved(t *testing.T) {
	s, books := newSet("a", "b")
	books["a"].set(orderbook.Synced)
	books["a"].asked = func() {
		s.Remove("b")
		s.Changed()
	}
	if err := s.Ready(t.Context(), nil); err != nil {
		t.Errorf("err = %v", err)
	}
}

// Ready does not wait where a func of the feed's package called the caller, here one of package slices.
func TestReadyInACallback(t *testing.T) {
	s, books := newSet("a")
	s.pkg = "slices"
	var err error
	ready := func(string) bool {
		err = s.Ready(t.Context(), nil)
		return true
	}
	called := slices.ContainsFunc([]string{""}, ready)
	if !called || !errors.Is(err, errReentrant) || !errors.Is(err, errNotSynced) {
		t.Errorf("err = %v", err)
	}
	books["a"].set(orderbook.Synced)
	if called = slices.ContainsFunc([]string{""}, ready); !called || err != nil {
		t.Errorf("of a synced book: %v", err)
	}
}

func TestReadyAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSet("a")
		cause := errors.New("cause")
		for _, end := range []error{nil, cause} {
			if !s.RunBegan() || s.RunBegan() || !s.Running() {
				t.Fatal("RunBegan or Running is wrong")
			}
			result := make(chan error, 1)
			go func() { result <- s.Ready(t.Context(), nil) }()
			synctest.Wait()
			s.RunEnded(end)
			if err := <-result; !errors.Is(err, errStopped) || errors.Is(err, cause) != (end != nil) || s.Running() {
				t.Errorf("after RunEnded(%v): %v", end, err)
			}
		}
	})
}

// The handler runs one call at a time, and not at all after it has failed, until the next Run.
func TestHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSet()
		s.RunBegan()
		calls, running := 0, 0
		failure := errors.New("disk full")
		handler := func(context.Context, *marketprism.Record) error {
			calls++
			running++
			if running > 1 {
				t.Error("two calls at a time")
			}
			time.Sleep(time.Second)
			running--
			if calls >= 2 {
				return failure
			}
			return nil
		}
		results := make(chan error, 4)
		for range cap(results) {
			go func() { results <- s.Handle(t.Context(), handler, &marketprism.Record{}) }()
		}
		var failed *marketprism.HandlerError
		accepted, canceled := 0, 0
		for range cap(results) {
			switch err := <-results; {
			case err == nil:
				accepted++
			case err == context.Canceled:
				canceled++
			case failed != nil || !errors.As(err, &failed) || !errors.Is(err, failure):
				t.Errorf("err = %v", err)
			}
		}
		if calls != 2 || accepted != 1 || canceled != 2 || failed == nil || failed.Err != failure || failed.Undelivered != 2 {
			t.Errorf("%d calls, %d accepted, %d canceled, %v", calls, accepted, canceled, failed)
		}
		s.RunEnded(failure)
		s.RunBegan()
		if err := s.Handle(t.Context(), handler, &marketprism.Record{}); !errors.Is(err, failure) {
			t.Errorf("in the next Run: %v", err)
		}
		if err := s.Handle(t.Context(), nil, &marketprism.Record{}); err != nil {
			t.Errorf("without a handler: %v", err)
		}
	})
}

func TestWithGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		late, end := WithGrace(ctx)
		defer end()
		time.Sleep(time.Hour)
		cancel()
		time.Sleep(Grace - time.Nanosecond)
		synctest.Wait()
		if late.Err() != nil {
			t.Errorf("ended early: %v", late.Err())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if late.Err() == nil {
			t.Error("still open after the grace")
		}
	})
}
