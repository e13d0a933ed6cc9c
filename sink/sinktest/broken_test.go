package sinktest_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestRecorderIsASink(t *testing.T) {
	sinktest.TestSink(t, func(*testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
		var r sinktest.Recorder
		return &r, func(*testing.T) []marketprism.Record { return r.Unique() }
	})
}

// A defect is one way to break the contract of Sink, and the subtest that must notice.
type defect struct {
	noticed string
	write   func(r *sinktest.Recorder, ctx context.Context, recs []marketprism.Record) error
	read    func(r *sinktest.Recorder) []marketprism.Record // nil: Unique
}

var errEmpty = errors.New("nothing to write")

func defects() map[string]defect {
	return map[string]defect{
		"RefusesNothing": {"Nothing", func(r *sinktest.Recorder, ctx context.Context, recs []marketprism.Record) error {
			if len(recs) == 0 {
				return errEmpty
			}
			return r.Write(ctx, recs)
		}, nil},
		"Reorders": {"Realistic", func(r *sinktest.Recorder, ctx context.Context, recs []marketprism.Record) error {
			recs = slices.Clone(recs)
			rand.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
			return r.Write(ctx, recs)
		}, nil},
		"CutsLargeBatches": {"Large", func(r *sinktest.Recorder, ctx context.Context, recs []marketprism.Record) error {
			return r.Write(ctx, recs[:min(len(recs), 4096)])
		}, nil},
		"LosesMicroseconds": {"Extremes", func(r *sinktest.Recorder, ctx context.Context, recs []marketprism.Record) error {
			recs = slices.Clone(recs)
			for i := range recs {
				recs[i].ReceivedAt = recs[i].ReceivedAt.Truncate(1_000_000)
			}
			return r.Write(ctx, recs)
		}, nil},
		"ShowsRepetitions": {"Again", (*sinktest.Recorder).Write, (*sinktest.Recorder).Records},
		"IgnoresContext": {"Cancelled", func(r *sinktest.Recorder, _ context.Context, recs []marketprism.Record) error {
			return r.Write(context.Background(), recs)
		}, nil},
		"ClaimsSuccess": {"Cancelled", func(r *sinktest.Recorder, ctx context.Context, recs []marketprism.Record) error {
			if ctx.Err() != nil {
				return nil
			}
			return r.Write(ctx, recs)
		}, nil},
		"AcceptsInvalid": {"Invalid", func(r *sinktest.Recorder, ctx context.Context, recs []marketprism.Record) error {
			recs = slices.DeleteFunc(slices.Clone(recs), func(r marketprism.Record) bool { return r.Validate() != nil })
			return r.Write(ctx, recs)
		}, nil},
		"NamesOneRefused": {"Refused", func(r *sinktest.Recorder, ctx context.Context, recs []marketprism.Record) error {
			err := r.Write(ctx, recs)
			if refused := sink.Refused(err, len(recs)); len(refused) > 1 {
				return &sink.RefusedError{Records: refused[:1]}
			}
			return err
		}, nil},
		"NamesNoRefused": {"Refused", func(r *sinktest.Recorder, ctx context.Context, recs []marketprism.Record) error {
			if err := r.Write(ctx, recs); err != nil {
				return errors.New(err.Error())
			}
			return nil
		}, nil},
		"ChangesRecords": {"Memory", func(r *sinktest.Recorder, ctx context.Context, recs []marketprism.Record) error {
			err := r.Write(ctx, recs)
			for i := range recs {
				if err == nil && recs[i].Trade != nil {
					recs[i].Trade.ID = 0
				}
			}
			return err
		}, nil},
	}
}

// hoarder keeps the memory of its callers.
type hoarder struct {
	mu   sync.Mutex
	recs []marketprism.Record
}

func (h *hoarder) Write(_ context.Context, recs []marketprism.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recs = append(h.recs, recs...)
	return nil
}

// TestBrokenSink is run by TestTestSinkNotices, in a process of its own where it fails.
func TestBrokenSink(t *testing.T) {
	name := os.Getenv("SINKTEST_DEFECT")
	if name == "" {
		t.Skip("this sink is broken: TestTestSinkNotices runs it in another process")
	}
	sinktest.TestSink(t, func(*testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
		if name == "KeepsMemory" {
			var h hoarder
			return &h, func(*testing.T) []marketprism.Record { return h.recs }
		}
		var r sinktest.Recorder
		d := defects()[name]
		if d.read == nil {
			d.read = (*sinktest.Recorder).Unique
		}
		return sink.Func(func(ctx context.Context, recs []marketprism.Record) error { return d.write(&r, ctx, recs) }),
			func(*testing.T) []marketprism.Record { return d.read(&r) }
	})
}

func TestTestSinkNotices(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all := defects()
	all["KeepsMemory"] = defect{noticed: "Memory"}
	for name, d := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestBrokenSink$/^"+d.noticed+"$")
			cmd.Env = append(os.Environ(), "SINKTEST_DEFECT="+name)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestBrokenSink/"+d.noticed+" ") {
				t.Errorf("subtest %s did not notice (%v):\n%s", d.noticed, err, out)
			}
		})
	}
}
