package integration

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
	within := min(patient, max(10*time.Second, patient/6))
	took := f.until(within, func(s feedState) bool { return s.live() })
	t.Logf("RESULT: at %d records/s, after a collector that was stopped for %v records go directly again after %v, want at most %v; %+v",
		rate, stopped, took.Round(time.Millisecond), within, f.last.Spill)

	before := f.last.Spill.Spilled
	suspend(t, server.cmd.Process, away)
	f.until(patient, func(s feedState) bool { return s.Spill.Spilled > before })
	took = f.until(patient, func(s feedState) bool { return s.live() })
	t.Logf("RESULT: at %d records/s, after a bus that was stopped for %v records go directly again after %v, want at most %v; %+v",
		rate, away, took.Round(time.Millisecond), patient, f.last.Spill)

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

// A drainTrial delivers queues of a Spill to a bus of its own.
type drainTrial struct {
	publisher *natsbus.Publisher
	feed      updates
}

func newDrainTrial(tb testing.TB) *drainTrial {
	server := natstest.Start(tb)
	js := natstest.JetStream(tb, server, natsbus.Options()...)
	require.NoError(tb, natsbus.EnsureStreams(tb.Context(), js, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 7 << 30}}))
	p, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = p.Close() })
	return &drainTrial{p, updates{feed: eventgen.New(eventgen.Config{Events: 1000})}}
}

// A drainResult is what a queue cost. Its CPU time is that of the server as well.
type drainResult struct{ records, seconds, cpuSeconds float64 }

func (r *drainResult) add(o drainResult) {
	r.records += o.records
	r.seconds += o.seconds
	r.cpuSeconds += o.cpuSeconds
}

func (r drainResult) rate() float64 { return r.records / r.seconds }

// cost returns the CPU time of a record, in microseconds.
func (r drainResult) cost() float64 { return 1e6 * r.cpuSeconds / r.records }

// measure calls do, which returns the number of records.
func measure(do func() uint64) (r drainResult) {
	begun, before := time.Now(), bench.CPUUsed()
	n := do()
	after := bench.CPUUsed()
	return drainResult{float64(n), time.Since(begun).Seconds(), (after.User + after.System - before.User - before.System).Seconds()}
}

// spill returns a Spill in a folder before the bus.
func (d *drainTrial) spill(tb testing.TB, dir string, direct time.Duration) *sink.Spill {
	s, err := sink.NewSpill(d.publisher, sink.SpillConfig{
		Dir: dir, Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord, Peek: peek,
		SyncInterval: 100 * time.Millisecond, DirectTimeout: direct,
	})
	require.NoError(tb, err)
	return s
}

// fill leaves a queue of 50,000 updates in a folder.
func (d *drainTrial) fill(tb testing.TB, dir string) {
	s := d.spill(tb, dir, -1)
	for range 50 {
		require.NoError(tb, s.Write(tb.Context(), d.feed.next(1000)))
	}
	require.NoError(tb, s.Close())
}

// drain delivers a queue while records come at a rate, until they go directly.
func (d *drainTrial) drain(tb testing.TB, dir string, arrival int) drainResult {
	s := d.spill(tb, dir, 0)
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan error, 1)
	result := measure(func() uint64 {
		begun, written := time.Now(), 0
		go func() { ended <- s.Run(ctx) }()
		for s.Stats().Spilling {
			if n := int(time.Since(begun).Seconds()*float64(arrival)) - written; n > 0 {
				require.NoError(tb, s.Write(ctx, d.feed.next(n)))
				written += n
			}
			_ = backoff.Sleep(ctx, 5*time.Millisecond)
			require.Less(tb, time.Since(begun), time.Minute, "the queue does not get empty: %+v", s.Stats())
		}
		return s.Stats().Drained
	})
	cancel()
	require.NoError(tb, <-ended)
	require.NoError(tb, s.Close())
	return result
}

// direct writes 50,000 updates that go directly to the bus.
func (d *drainTrial) direct(tb testing.TB, dir string) drainResult {
	s := d.spill(tb, dir, time.Minute)
	recs := d.feed.next(50_000)
	result := measure(func() uint64 {
		for batch := range slices.Chunk(recs, 1000) {
			require.NoError(tb, s.Write(tb.Context(), batch))
		}
		return s.Stats().Direct
	})
	require.NoError(tb, s.Close())
	return result
}

// The queue is emptied at least three times as fast as the records of a whole exchange come, 10,000 a second.
func TestDrain(t *testing.T) {
	if !*wholePause {
		t.Skip("without -pause")
	}
	const arrival = 10_000
	d := newDrainTrial(t)
	var all drainResult
	for range 5 {
		dir := t.TempDir()
		d.fill(t, dir)
		all.add(d.drain(t, dir, arrival))
	}
	t.Logf("RESULT: the disk queue is emptied at %.0f records/s while %d/s come: %.1f times as fast, want at least 3", all.rate(), arrival, all.rate()/arrival)
	require.GreaterOrEqual(t, all.rate(), 3.0*arrival)
}

// BenchmarkSpillDrain measures how fast a Spill delivers its queue to a bus: alone, and while 10,000 records a second keep
// coming, until they go directly; and records that go directly from the first on. An iteration is 50,000 updates. CPU time
// is that of the server as well, and in the second case of the records that come.
func BenchmarkSpillDrain(b *testing.B) {
	d := newDrainTrial(b)
	run := func(name string, once func(dir string) drainResult, fill bool) {
		b.Run(name, func(b *testing.B) {
			var all drainResult
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				dir := filepath.Join(b.TempDir(), fmt.Sprint(i))
				if fill {
					d.fill(b, dir)
				}
				b.StartTimer()
				all.add(once(dir))
			}
			b.ReportMetric(all.rate(), "records/s")
			b.ReportMetric(all.cost(), "cpu-µs/record")
		})
	}
	run("direct", func(dir string) drainResult { return d.direct(b, dir) }, false)
	run("arrival=0", func(dir string) drainResult { return d.drain(b, dir, 0) }, true)
	run("arrival=10000", func(dir string) drainResult { return d.drain(b, dir, 10_000) }, true)
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
