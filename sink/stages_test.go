package sink_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// A stageLog is what stages did, in order.
type stageLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *stageLog) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

// stage returns one that takes a second to end, and then returns err.
func (l *stageLog) stage(name string, err error) sink.Stage {
	return sink.Stage{Name: name, Run: func(ctx context.Context) error {
		l.add("%s runs", name)
		<-ctx.Done()
		time.Sleep(time.Second)
		l.add("%s ended", name)
		return err
	}}
}

// Stages start from the sink up and end from the source down, each after the one before it.
func TestRunStagesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log stageLog
		stages := []sink.Stage{log.stage("source", nil), log.stage("queue", nil), log.stage("store", nil)}
		stages[1].Flush = func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			log.add("queue flushed, %v", time.Until(deadline))
			return nil
		}
		type key struct{}
		stages[2].Run = func(ctx context.Context) error {
			log.add("store runs with %v", ctx.Value(key{}))
			<-ctx.Done()
			log.add("store ended")
			return nil
		}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "a value"))
		ended := make(chan error, 1)
		go func() { ended <- sink.RunStages(ctx, stages...) }()
		synctest.Wait()
		slices.Sort(log.lines) // goroutines may begin in any order
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := "queue runs; source runs; store runs with a value; source ended; queue flushed, 15s; queue ended; store ended"
		if got := strings.Join(log.lines, "; "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// Each way in which stages end, and the error.
func TestRunStagesErrors(t *testing.T) {
	broken, errAny := errors.New("broken"), errors.New("any")
	returns := func(err error) sink.Stage { return sink.Stage{Run: func(context.Context) error { return err }} }
	hangs := sink.Stage{Name: "hanging", Timeout: 2 * time.Second, Run: func(context.Context) error { time.Sleep(time.Hour); return nil }}
	unflushed := sink.Stage{
		Name: "disk", Timeout: time.Second, Run: func(ctx context.Context) error { <-ctx.Done(); return nil },
		Flush: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	}
	ends := unflushed
	ends.Timeout, ends.Run = time.Minute, func(context.Context) error { time.Sleep(2 * time.Second); return broken }
	var log stageLog
	for _, c := range []struct {
		name   string
		stages []sink.Stage
		cancel bool
		takes  time.Duration
		want   string
		is     error
	}{
		{"no Run", []sink.Stage{log.stage("a", nil), {Name: "b"}}, false, 0, "sink: stage b: it has no Run", errAny},
		{"none", nil, false, 0, "<nil>", nil},
		{"the source is done", []sink.Stage{returns(nil), log.stage("b", nil)}, false, time.Second, "<nil>", nil},
		{"a stage fails", []sink.Stage{log.stage("a", nil), returns(broken), log.stage("c", nil)}, false, 2 * time.Second, "sink: stage 2: broken", broken},
		{"two fail", []sink.Stage{log.stage("a", broken), log.stage("b", broken)}, true, 2 * time.Second, "sink: stage a: broken\nsink: stage b: broken", broken},
		{"one hangs", []sink.Stage{log.stage("a", nil), hangs, log.stage("c", nil)}, true, 4 * time.Second, "sink: stage hanging: it had not ended 2s after its context", errAny},
		{"one is not flushed", []sink.Stage{log.stage("a", nil), unflushed}, true, 2 * time.Second, "sink: stage disk: flush: context deadline exceeded", context.DeadlineExceeded},
		{"one fails while it is flushed", []sink.Stage{log.stage("a", nil), ends}, true, 2 * time.Second, "sink: stage disk: broken\nflush: context canceled", broken},
		{"a source fails", []sink.Stage{returns(broken), unflushed}, false, time.Second, "sink: stage 1: broken\nsink: stage disk: flush: context deadline exceeded", broken},
		{"nothing is flushed into a stage that has failed", []sink.Stage{log.stage("a", nil), unflushed, returns(broken)}, false, time.Second, "sink: stage 3: broken", broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.cancel {
					cancel()
				}
				begun := time.Now()
				err := sink.RunStages(ctx, c.stages...)
				if fmt.Sprint(err) != c.want || c.is != nil && c.is != errAny && !errors.Is(err, c.is) {
					t.Errorf("Run = %v, want %s", err, c.want)
				}
				if took := time.Since(begun); took != c.takes {
					t.Errorf("Run took %v, want %v", took, c.takes)
				}
				var failed *sink.StageError
				if errors.As(err, &failed) != (c.is != nil) || failed != nil && failed.Overran != (c.takes > 2*time.Second) {
					t.Errorf("%v: a StageError %v", err, failed)
				}
				time.Sleep(time.Hour) // the stage that hangs returns
			})
		})
	}
}

// A Handler writes each record, keeps none, and allocates nothing.
func TestHandler(t *testing.T) {
	recs := sinktest.Records(1, 3)
	var got sinktest.Recorder
	handle := sink.Handler(&got)
	for i := range recs {
		if err := handle(t.Context(), &recs[i]); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(got.Records()); n != 3 {
		t.Errorf("%d records", n)
	}
	handle = sink.Handler(sink.Func(func(context.Context, []marketprism.Record) error { return errDown }))
	if err := handle(t.Context(), &recs[0]); err != errDown {
		t.Errorf("err = %v", err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = handle(t.Context(), &recs[0]) }); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}
