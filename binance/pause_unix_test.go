//go:build unix

package binance_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

var (
	wholePause   = flag.Bool("pause", false, "run the long trials of a stopped process")
	pauseSymbols = flag.Int("pause.symbols", 1300, "symbols of the long trials")
	pauseRate    = flag.Float64("pause.rate", 40, "changes a second of each symbol of the long trials, in ten events")
)

// pausedEnv is the environment variable that makes the test binary a driver, with its settings.
const pausedEnv = "MARKETPRISM_TEST_PAUSED"

func TestMain(m *testing.M) {
	settings := os.Getenv(pausedEnv)
	if settings == "" {
		os.Exit(m.Run())
	}
	if err := drive([]byte(settings)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A driveConfig is the settings of a driver in its own process.
type driveConfig struct {
	REST, Stream string
	Symbols      []string
	QueueFrames  int
	ReadBuffer   int // bytes of the socket; 0 means what the system gives
}

// A driveState is what a driver prints ten times a second.
type driveState struct {
	Synced, Current int // books, and those that show an event of the last second
	Stats           binance.Stats
	At              time.Time
}

// drive follows the symbols until its standard input ends.
func drive(settings []byte) error {
	var cfg driveConfig
	if err := json.Unmarshal(settings, &cfg); err != nil {
		return err
	}
	client, err := binance.NewClient(binance.Config{
		Endpoints: binance.Endpoints{REST: cfg.REST, Stream: cfg.Stream},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, addr)
			if tcp, ok := c.(*net.TCPConn); ok && cfg.ReadBuffer > 0 {
				err = tcp.SetReadBuffer(cfg.ReadBuffer)
			}
			return c, err
		},
	})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	latest := make(map[string]time.Time)
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{
		Symbols: cfg.Symbols, SnapshotLimit: 100, RefreshDepth: -1, QueueFrames: cfg.QueueFrames,
		Handler: func(_ context.Context, rec *marketprism.Record) error {
			if rec.Update != nil {
				mu.Lock()
				latest[rec.Instrument.Symbol] = rec.EventTime
				mu.Unlock()
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // only its end matters
		cancel()
	}()
	go func() {
		out := json.NewEncoder(os.Stdout)
		for range time.Tick(100 * time.Millisecond) {
			state := driveState{Stats: books.Stats(), At: time.Now()}
			for _, symbol := range cfg.Symbols {
				if status, _ := books.Status(symbol); status.State != orderbook.Synced {
					continue
				}
				state.Synced++
				mu.Lock()
				if state.At.Sub(latest[symbol]) < time.Second {
					state.Current++
				}
				mu.Unlock()
			}
			_ = out.Encode(state) // fails at the end
		}
	}()
	return books.Run(ctx)
}

// A paused is an exchange, and a driver in a process that can be stopped.
type paused struct {
	t      *testing.T
	srv    *binancetest.Server
	cmd    *exec.Cmd
	states chan driveState
}

func newPaused(t *testing.T, server binancetest.Config, cfg driveConfig) *paused {
	t.Helper()
	srv, err := binancetest.New(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	go srv.Run(t.Context()) //nolint:errcheck // ends with the test
	cfg.REST, cfg.Stream, cfg.Symbols = srv.RESTURL(), srv.StreamURL(), srv.Listed()
	settings, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &paused{t: t, srv: srv, cmd: exec.Command(os.Args[0]), states: make(chan driveState, 10_000)}
	p.cmd.Env = append(os.Environ(), pausedEnv+"="+string(settings))
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		defer close(p.states)
		for in := json.NewDecoder(bufio.NewReader(stdout)); ; {
			var s driveState
			if in.Decode(&s) != nil {
				return
			}
			p.states <- s
		}
	}()
	t.Cleanup(func() {
		stdin.Close()
		<-heard
		if err := p.cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// until waits for a state of the driver that is as wanted.
func (p *paused) until(want func(driveState) bool) driveState {
	p.t.Helper()
	for s := range p.states {
		if want(s) {
			return s
		}
	}
	p.t.Fatal("the driver has ended")
	return driveState{}
}

// allCurrent waits until every book is.
func (p *paused) allCurrent(n int) driveState {
	p.t.Helper()
	return p.until(func(s driveState) bool { return s.Current == n })
}

// stop stops the driver's process for that time, and returns when it went on.
func (p *paused) stop(d time.Duration) time.Time {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	time.Sleep(d)
	for len(p.states) > 0 {
		<-p.states
	}
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		p.t.Fatal(err)
	}
	return time.Now()
}

func movingSymbols(n int, rate float64) []binancetest.Symbol {
	symbols := binancetest.Symbols(names(n)...)
	for i := range symbols {
		symbols[i].Levels, symbols[i].Rate = 100, rate
	}
	return symbols
}

// While the process is stopped the exchange sends far more than the queue takes. It was all there to read.
func TestStoppedProcessLosesNothing(t *testing.T) {
	short.SkipWhole(t)
	server := binancetest.Config{Symbols: movingSymbols(20, 300), History: -1}
	p := newPaused(t, server, driveConfig{QueueFrames: 64})
	before := p.allCurrent(20)
	p.stop(1500 * time.Millisecond)
	after := p.until(func(s driveState) bool { return s.Current == 20 && s.Stats.Pauses > 0 })
	if s := after.Stats; s.Gaps != 0 || s.Dropped != 0 || s.SnapshotRequests != before.Stats.SnapshotRequests || s.Disconnects != 0 || s.QueueWaits == 0 {
		t.Errorf("%+v", s)
	}
	if s := p.srv.Stats(); s.Violations() != 0 {
		t.Errorf("%+v", s)
	}
}

// The exchange ends the connection when its buffer is full: that costs one reconnect.
func TestStoppedProcessReconnectsOnce(t *testing.T) {
	short.SkipWhole(t)
	server := binancetest.Config{Symbols: movingSymbols(20, 1500), History: -1, SendBuffer: 64 << 10}
	p := newPaused(t, server, driveConfig{ReadBuffer: 64 << 10})
	before := p.allCurrent(20)
	p.stop(2 * time.Second)
	after := p.until(func(s driveState) bool { return s.Current == 20 && s.Stats.Disconnects > 0 })
	if s := after.Stats; s.Gaps != 20 || s.Dropped != 0 || s.SnapshotRequests != before.Stats.SnapshotRequests+20 || s.Connects != 2 {
		t.Errorf("%+v", s)
	}
	if s := p.srv.Stats(); s.SlowConsumers != 1 || s.Violations() != 1 {
		t.Errorf("%+v", s)
	}
}

// TestPause stops a driver of a whole exchange for longer. The exchange holds what is not read: how much
// the real one does is not documented.
func TestPause(t *testing.T) {
	if !*wholePause {
		t.Skip("takes minutes: make pause")
	}
	for _, c := range []struct {
		name   string
		stop   time.Duration
		buffer int
	}{
		{"20 s, all of it held", 20 * time.Second, 256 << 20},
		{"20 s, 16 MiB a connection held", 20 * time.Second, 16 << 20},
		{"70 s, all of it held", 70 * time.Second, 1 << 30},
		{"70 s, 16 MiB a connection held", 70 * time.Second, 16 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := *pauseSymbols
			server := binancetest.Config{Symbols: movingSymbols(n, *pauseRate), History: -1, TradeHistory: -1, SendBuffer: c.buffer}
			p := newPaused(t, server, driveConfig{})
			before := p.allCurrent(n)
			time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(75 * time.Second))) // the weight of the start is forgotten
			began, early := p.srv.Stats(), before
			for len(p.states) > 0 {
				before = <-p.states
			}
			rate := float64(before.Stats.Frames-early.Stats.Frames) / before.At.Sub(early.At).Seconds()
			woken := p.stop(c.stop)
			var half, all, last time.Duration
			after := p.until(func(s driveState) bool {
				last = s.At.Sub(woken)
				if half == 0 && s.Current >= n/2 && s.Stats.Pauses > 0 {
					half = last
				}
				return last > 30*time.Second || last > time.Second && s.Current == n
			})
			if after.Current == n {
				all = last
			}
			s, x := after.Stats, p.srv.Stats()
			t.Logf("%d symbols, %.0f frames a second of %d bytes: half current after %v, all after %v", n,
				rate, s.Bytes/s.Frames, half.Round(time.Millisecond), all.Round(time.Millisecond))
			t.Logf("%d gaps, %d snapshots, %d frames dropped, %d reconnects, %d pauses, %d waits, %d watchdogs; exchange: %d pongs late, %d buffers full",
				s.Gaps, s.SnapshotRequests-before.Stats.SnapshotRequests, s.Dropped, s.Connects-before.Stats.Connects, s.Pauses, s.QueueWaits, s.Watchdogs,
				x.PongTimeouts-began.PongTimeouts, x.SlowConsumers-began.SlowConsumers)
			if c.stop > time.Minute || c.buffer < 64<<20 {
				if s.Connects != before.Stats.Connects*2 || half > 15*time.Second || half == 0 {
					t.Error("want one reconnect of each connection, and half of the books within 15 s")
				}
				return
			}
			if s.Gaps != 0 || s.SnapshotRequests != before.Stats.SnapshotRequests || s.Connects != before.Stats.Connects || all == 0 || all > 3*time.Second {
				t.Error("want no gap, no snapshot, and every book current within 3 s")
			}
		})
	}
}
