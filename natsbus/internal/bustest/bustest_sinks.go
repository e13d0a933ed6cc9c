package bustest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/sink"
)

// A RefusedError is an error of a sink that will never accept a record.
type RefusedError struct{ Key string }

func (e *RefusedError) Error() string   { return "never accepted" }
func (e *RefusedError) Permanent() bool { return true }

// A Picky sink refuses a whole Write if a record of it has one of the keys.
type Picky struct {
	dst   sink.Sink
	Named bool // its errors name all of these records

	mu   sync.Mutex
	keys map[string]bool
}

// NewPicky returns a sink that refuses recs, and writes others to dst.
func NewPicky(dst sink.Sink, recs ...marketprism.Record) *Picky {
	p := &Picky{dst: dst, keys: make(map[string]bool)}
	p.Refuse(recs...)
	return p
}

// Refuse adds records that the sink refuses.
func (p *Picky) Refuse(recs ...marketprism.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range recs {
		p.keys[r.Key()] = true
	}
}

// Relent makes the sink accept everything from now on.
func (p *Picky) Relent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = nil
}

func (p *Picky) Write(ctx context.Context, recs []marketprism.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var refused []sink.Refusal
	for i := range recs {
		if key := recs[i].Key(); p.keys[key] {
			refused = append(refused, sink.Refusal{Index: i, Err: &RefusedError{key}})
		}
	}
	switch {
	case refused == nil:
		return p.dst.Write(ctx, recs)
	case p.Named:
		return fmt.Errorf("write: %w", &sink.RefusedError{Records: refused})
	}
	return fmt.Errorf("write: %w", refused[0].Err)
}

// Without returns recs without those at some indexes.
func Without(recs []marketprism.Record, places ...int) []marketprism.Record {
	var left []marketprism.Record
	for i, r := range recs {
		if !slices.Contains(places, i) {
			left = append(left, r)
		}
	}
	return left
}

// Settled waits until n messages are acknowledged or dead letters.
func Settled(t testing.TB, c *natsbus.Consumer, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		stats := c.Stats()
		return stats.Records+stats.DeadLettered == uint64(n)
	}, Patience, Interval)
}

// DeadLetters returns the queue of dead letters.
func (b *Bus) DeadLetters() *deadletter.Queue {
	return deadletter.New(b.JS, natsbus.DeadLettersStream(""))
}

// Letters returns the dead letters that match.
func (b *Bus) Letters(t testing.TB, filter deadletter.Filter) []*deadletter.Letter {
	t.Helper()
	var all []*deadletter.Letter
	for letter, err := range b.DeadLetters().List(t.Context(), filter) {
		require.NoError(t, err)
		all = append(all, letter)
	}
	return all
}

// RequireKind fails the test unless err is a natsbus.CodecError of that kind.
func RequireKind(t testing.TB, err error, kind string) {
	t.Helper()
	var codec *natsbus.CodecError
	require.ErrorAs(t, err, &codec)
	require.Equal(t, kind, codec.Kind)
}

// Block returns a sink that writes to dst, but blocks in its first Write until release is called or the Write's ctx ends.
// entered is closed when it does.
func Block(dst sink.Sink) (s sink.Sink, entered chan struct{}, release func()) {
	entered, released := make(chan struct{}), make(chan struct{})
	var once sync.Once
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		once.Do(func() { close(entered) })
		select {
		case <-released:
			return dst.Write(ctx, recs)
		case <-ctx.Done():
			return ctx.Err()
		}
	}), entered, sync.OnceFunc(func() { close(released) })
}
