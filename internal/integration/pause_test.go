package integration

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/bench"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
)

var wholePause = flag.Bool("pause", false, "run the long trials of a stopped process and a stopped bus")

// A feedState is what a feeder prints ten times a second.
type feedState struct {
	Due, Written int // records that the feed has had so far, and those that the Spill accepted
	Spill        sink.SpillStats
	At           time.Time
}

// live reports whether records go directly, and none waits.
func (s *feedState) live() bool {
	return !s.Spill.Away && !s.Spill.Spilling && s.Due-s.Written < 1000
}

// runFeeder writes records at a rate to a Spill before the bus, as a collector does, and prints its state. What comes while
// the process is stopped comes at once when it goes on. At the end of ctx it flushes the queue.
func runFeeder(ctx context.Context, cfg childConfig) error {
	js, err := connect(ctx, cfg.URL)
	if err != nil {
		return err
	}
	p, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
	if err != nil {
		return err
	}
	s, err := sink.NewSpill(p, sink.SpillConfig{
		Dir: cfg.Dir, Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord, Peek: peek, SyncInterval: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() { _ = s.Run(running) }()
	begun, printed, written := time.Now(), time.Time{}, 0
	for out := json.NewEncoder(os.Stdout); ctx.Err() == nil; {
		now := time.Now()
		due := int(now.Sub(begun).Seconds() * float64(cfg.Rate))
		if now.Sub(printed) >= 100*time.Millisecond {
			printed = now
			if err := out.Encode(feedState{due, written, s.Stats(), now}); err != nil {
				return err
			}
		}
		if n := min(due-written, 8192); n > 0 { // a batch of the Buffer
			if err := s.Write(running, stormRecords(written, written+n)); err != nil {
				return err
			}
			written += n
			continue
		}
		_ = backoff.Sleep(ctx, 5*time.Millisecond)
	}
	if err := s.Flush(running); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(feedState{written, written, s.Stats(), time.Now()})
}

// A feeder is a running child of that role.
type feeder struct {
	*child
	last feedState
}

// until reads states until one of them satisfies a condition, and returns how long that took.
func (f *feeder) until(within time.Duration, reached func(feedState) bool) time.Duration {
	f.t.Helper()
	begun := time.Now()
	for late := time.After(within); ; {
		select {
		case line, ok := <-f.lines:
			if !ok {
				_ = f.cmd.Wait()
				f.t.Fatalf("the feeder has ended:\n%s", f.stderr.String())
			}
			if err := json.Unmarshal([]byte(line), &f.last); err != nil {
				f.t.Fatalf("the feeder printed %q: %v", line, err)
			}
			if f.last.At.After(begun) && reached(f.last) {
				return time.Since(begun)
			}
		case <-late:
			f.t.Fatalf("not reached within %v, the last state is %+v", within, f.last)
		}
	}
}

// suspend stops a process for a time.
func suspend(t *testing.T, p *os.Process, length time.Duration) {
	t.Helper()
	require.NoError(t, p.Signal(sigstop))
	<-time.After(length)
	require.NoError(t, p.Signal(sigcont))
}

// A process that was stopped, and a bus that was, cost a detour over the disk that soon ends: records go directly again,
// each is stored once, and those of each symbol in order. With -pause the lengths and the rate are those of a whole
// exchange.
func TestPause(t *testing.T) {
	short.Skip(t)
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be stopped")
	}
	rate, stopped, away, patient := 2000, 1500*time.Millisecond, 2*time.Second, 20*time.Second
	if *wholePause {
		rate, stopped, away, patient = 5000, 5*time.Second, time.Minute, time.Minute
	}
	server := startServer(t)
	js, err := connect(t.Context(), server.url)
	require.NoError(t, err)
	t.Cleanup(js.Conn().Close)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{}))
	f := &feeder{child: start(t, childConfig{Role: "feeder", URL: server.url, Dir: t.TempDir(), Rate: rate})}
	f.until(patient, func(s feedState) bool { return s.live() && s.Written > 500 })

	suspend(t, f.cmd.Process, stopped)
	took := f.until(min(patient, max(10*time.Second, patient/6)), func(s feedState) bool { return s.live() })
	t.Logf("a process stopped for %v: directly again after %v; %+v", stopped, took.Round(time.Millisecond), f.last.Spill)

	before := f.last.Spill.Spilled
	suspend(t, server.cmd.Process, away)
	f.until(patient, func(s feedState) bool { return s.Spill.Spilled > before })
	took = f.until(patient, func(s feedState) bool { return s.live() })
	t.Logf("a bus stopped for %v: directly again after %v; %+v", away, took.Round(time.Millisecond), f.last.Spill)

	require.NoError(t, f.stdin.Close())
	for line := range f.lines {
		require.NoError(t, json.Unmarshal([]byte(line), &f.last))
	}
	require.NoError(t, f.cmd.Wait(), f.stderr.String())
	requireOnBus(t, js, f.last.Written)
}

// requireOnBus checks that records 0 to n are on the bus, each once, and those of each symbol in order.
func requireOnBus(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	found, last := make([]bool, n), make(map[string]int)
	for _, stream := range stormStreams {
		for _, rec := range busRecords(t, js, stream) {
			i, symbol := stormNumber(&rec), stream+rec.Instrument.Symbol
			require.False(t, found[i], "record %d is stored twice", i)
			before, ok := last[symbol]
			require.True(t, !ok || i > before, "%s: record %d follows %d", symbol, i, before)
			found[i], last[symbol] = true, i
		}
	}
	require.NotContains(t, found, false, "an accepted record is lost")
}

// BenchmarkSpillDrain measures how fast a Spill delivers its queue to a bus: alone, and while 10,000 records a second keep
// coming, until they go directly. An iteration is one queue of 50,000 updates. CPU time is that of the server as well,
// and in the second case of the records that come.
func BenchmarkSpillDrain(b *testing.B) {
	const backlog = 50_000
	server := natstest.Start(b)
	js := natstest.JetStream(b, server, natsbus.Options()...)
	require.NoError(b, natsbus.EnsureStreams(b.Context(), js, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 7 << 30}}))
	p, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
	require.NoError(b, err)
	defer p.Close()
	feed := updates{feed: eventgen.New(eventgen.Config{Events: 1000})}
	for _, arrival := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("arrival=%d", arrival), func(b *testing.B) {
			var drained, took, cpu float64
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				cfg := sink.SpillConfig{
					Dir: filepath.Join(b.TempDir(), fmt.Sprint(i)), Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord, Peek: peek,
					SyncInterval: 100 * time.Millisecond, DirectTimeout: -1,
				}
				filling, err := sink.NewSpill(p, cfg)
				require.NoError(b, err)
				for range backlog / 1000 {
					require.NoError(b, filling.Write(b.Context(), feed.next(1000)))
				}
				require.NoError(b, filling.Close())
				cfg.DirectTimeout = 0
				s, err := sink.NewSpill(p, cfg)
				require.NoError(b, err)
				ctx, cancel := context.WithCancel(b.Context())
				ended := make(chan error, 1)
				used, begun, written := bench.CPUUsed(), time.Now(), 0
				b.StartTimer()
				go func() { ended <- s.Run(ctx) }()
				for s.Stats().Spilling {
					if n := int(time.Since(begun).Seconds()*float64(arrival)) - written; n > 0 {
						require.NoError(b, s.Write(ctx, feed.next(n)))
						written += n
					}
					_ = backoff.Sleep(ctx, 5*time.Millisecond)
				}
				b.StopTimer()
				took += time.Since(begun).Seconds()
				now := bench.CPUUsed()
				cpu += (now.User + now.System - used.User - used.System).Seconds()
				drained += float64(s.Stats().Drained)
				cancel()
				require.NoError(b, <-ended)
				require.NoError(b, s.Close())
				b.StartTimer()
			}
			b.ReportMetric(drained/took, "records/s")
			b.ReportMetric(1e6*cpu/drained, "cpu-µs/record")
			if arrival > 0 {
				b.ReportMetric(drained/took/float64(arrival), "x-arrival")
			}
		})
	}
}

// updates makes realistic updates of 50 symbols.
type updates struct {
	feed *eventgen.Feed
	n    int
}

func (u *updates) next(n int) []marketprism.Record {
	recs := make([]marketprism.Record, n)
	for i := range recs {
		update := u.feed.Updates[u.n%len(u.feed.Updates)]
		u.n++
		update.FirstID, update.LastID = int64(u.n), int64(u.n)
		recs[i] = marketprism.Record{
			Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: fmt.Sprintf("SYM%dUSDT", u.n%50)},
			EventTime:  update.EventTime, ReceivedAt: update.EventTime.Add(3 * time.Millisecond), Update: &update,
		}
	}
	return recs
}
