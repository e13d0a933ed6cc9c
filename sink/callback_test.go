package sink_test

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// hookCalls makes hooks that call a sink, the first time that each of them runs.
type hookCalls struct {
	t     *testing.T
	calls func(ctx context.Context, hook string) error

	mu   sync.Mutex
	seen map[string]bool
}

// set sets every hook of a struct of hooks.
func (c *hookCalls) set(hooks any) {
	c.seen = make(map[string]bool)
	fields := reflect.ValueOf(hooks).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		fields.Field(i).Set(reflect.MakeFunc(fields.Field(i).Type(), func([]reflect.Value) []reflect.Value {
			c.mu.Lock()
			again := c.seen[name]
			c.seen[name] = true
			c.mu.Unlock()
			if again {
				return nil
			}
			ctx, cancel := context.WithTimeout(c.t.Context(), time.Hour)
			defer cancel()
			if err := c.calls(ctx, name); err != nil && !errors.Is(err, sink.ErrFull) {
				c.t.Errorf("in %s: %v", name, err)
			}
			return nil
		}))
	}
}

// called checks which hooks have run.
func (c *hookCalls) called(names ...string) {
	c.t.Helper()
	for _, name := range names {
		if !c.seen[name] {
			c.t.Errorf("%s did not run", name)
		}
	}
}

// A hook of a Buffer may call its methods. Only a wait for Run in a hook that Run calls has no end.
func TestBufferHooksCallBack(t *testing.T) {
	for _, overflow := range []sink.Overflow{sink.Block, sink.Fail, sink.DropOldest} {
		synctest.Test(t, func(t *testing.T) {
			var b *sink.Buffer
			var faults sinktest.Faults
			c := &hookCalls{t: t}
			recs := sinktest.Records(1, 40)
			release := faults.Hold()
			c.calls = func(ctx context.Context, hook string) error {
				b.Stats()
				if hook != "Full" && hook != "Dropped" && overflow == sink.Block {
					return nil // Run calls it
				}
				if hook == "Full" && overflow == sink.Block {
					release()
					if err := b.Flush(ctx); err != nil {
						return err
					}
				}
				return b.Write(ctx, recs[:1])
			}
			hooks := new(sink.Hooks)
			c.set(hooks)
			var err error
			if b, err = sink.NewBuffer(faults.Wrap(&sinktest.Recorder{}), sink.BufferConfig{MaxRecords: 4, Overflow: overflow, Hooks: hooks}); err != nil {
				t.Fatal(err)
			}
			faults.FailNext(1, errDown)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- b.Run(ctx) }()
			for i := range recs {
				if err := b.Write(ctx, recs[i:i+1]); err != nil && !errors.Is(err, sink.ErrFull) {
					t.Fatal(err)
				}
			}
			if overflow != sink.Block {
				release()
			}
			time.Sleep(time.Minute)
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			c.called("Written", "Failed", "Full")
			if overflow == sink.DropOldest {
				c.called("Dropped")
			}
		})
	}
}

// A hook of a Spill may call its methods: no lock is held, also not that of the Write that found no room.
func TestSpillHooksCallBack(t *testing.T) {
	for _, overflow := range []sink.Overflow{sink.Block, sink.Fail, sink.DropNewest} {
		var s *spilling
		c := &hookCalls{t: t}
		recs := sinktest.Records(2, 60)
		release := func() {}
		c.calls = func(ctx context.Context, hook string) error {
			if hook == "Opened" {
				return nil // there is no Spill yet
			}
			s.Stats()
			if hook == "Full" && overflow == sink.Block {
				release()
			}
			if hook == "Spilling" || hook == "Full" || hook == "Dropped" || overflow != sink.Block {
				return s.Write(ctx, recs[:1])
			}
			return nil // Run calls it, and a Write may have to wait for Run
		}
		hooks := new(sink.SpillHooks)
		c.set(hooks)
		s = openSpill(t, &sinktest.Recorder{}, sink.SpillConfig{DirectTimeout: -1, MaxBytes: 8000, Overflow: overflow, Hooks: hooks})
		s.faults.FailNext(1, errDown)
		s.faults.FailNext(1, permanently{errDown})
		release = s.faults.Hold()
		s.run(t)
		for i := range recs {
			if err := s.Write(t.Context(), recs[i:i+1]); err != nil && !errors.Is(err, sink.ErrFull) {
				t.Fatal(err)
			}
		}
		release()
		s.flush(t)
		s.stop()
		c.called("Opened", "Spilling", "Full", "Drained", "Failed")
		if overflow == sink.DropNewest {
			c.called("Dropped")
		}
	}
}

// permanently makes an error permanent.
type permanently struct{ error }

func (permanently) Permanent() bool { return true }
