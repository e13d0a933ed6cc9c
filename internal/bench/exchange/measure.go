package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/bench"
)

// A child is the exchange's process.
type child struct {
	cmd  *exec.Cmd
	out  *bufio.Reader
	in   io.WriteCloser
	addr string
}

func startChild(ctx context.Context) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), childMark+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, out: bufio.NewReader(out), in: in}
	if _, err := fmt.Fscanln(c.out, &c.addr); err != nil {
		return nil, fmt.Errorf("no address from the exchange: %w", err)
	}
	return c, nil
}

// resetLateness resets the exchange's measure of lateness.
func (c *child) resetLateness() error {
	_, err := c.in.Write([]byte{'\n'})
	return err
}

// end stops the exchange and returns the number of events it sent, and the greatest lateness of an interval
// since resetLateness.
func (c *child) end() (sent int64, late time.Duration, err error) {
	if err := c.in.Close(); err != nil {
		return 0, 0, err
	}
	var micros int64
	if _, err := fmt.Fscanln(c.out, &sent, &micros); err != nil {
		return 0, 0, err
	}
	return sent, time.Duration(micros) * time.Microsecond, c.cmd.Wait()
}

// A bench is one measurement.
type measurement struct {
	opt       options
	books     *binance.DepthSyncer
	phase     atomic.Int32
	latencies [2]bench.Histogram // of the phases; owned by the handler
}

// The phases of a measurement.
const (
	idle     = iota
	steady   // events only
	rotating // from the rotation of all connections on
)

func measure(ctx context.Context, opt options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exchange, err := startChild(ctx)
	if err != nil {
		return err
	}
	b := &measurement{opt: opt}
	if err := b.connect(exchange.addr); err != nil {
		return err
	}
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- b.books.Run(ctx) }()
	ready, giveUp := context.WithTimeout(ctx, 2*time.Minute)
	defer giveUp()
	if err := b.books.Ready(ready); err != nil {
		return err
	}
	fmt.Printf("%d symbols, %v events a second each, %d levels a side, %d cores\n", opt.symbols, opt.rate, opt.levels, runtime.NumCPU())
	fmt.Printf("synced      %v\n", time.Since(began).Round(time.Millisecond))
	// Let the backlog of the start drain.
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := exchange.resetLateness(); err != nil {
		return fmt.Errorf("the exchange: %w", err)
	}
	if err := b.steady(ctx); err != nil {
		return err
	}
	sent, late, err := exchange.end()
	if err != nil {
		return fmt.Errorf("the exchange: %w", err)
	}
	fmt.Printf("exchange    sent %d events, at most %v late while measured\n", sent, late)
	cancel()
	return <-ended
}

func (b *measurement) connect(addr string) error {
	budget, err := binance.NewBudget(binance.BudgetConfig{Limit: 1_000_000})
	if err != nil {
		return err
	}
	client, err := binance.NewClient(binance.Config{
		Endpoints:    binance.Endpoints{REST: "http://" + addr, Stream: "ws://" + addr},
		Microseconds: true, Budget: budget,
		Hooks: &binance.Hooks{
			Gap: func(i binance.GapInfo) {
				if b.phase.Load() != idle {
					fmt.Println("gap:", i.Instrument, i.Gap)
				}
			},
		},
	})
	if err != nil {
		return err
	}
	b.books, err = binance.NewDepthSyncer(client, binance.DepthConfig{
		AllTrading: &binance.SymbolFilter{}, Handler: b.handle, TopLevels: b.opt.top,
		SnapshotLimit: b.opt.levels, FirstLimit: b.opt.levels, MaxConnAge: -1,
	})
	return err
}

// handle is the Handler. The time of an event is when its frame was written.
func (b *measurement) handle(_ context.Context, rec *marketprism.Record) error {
	if phase := b.phase.Load(); rec.Update != nil && phase != idle {
		b.latencies[phase-steady].Add(time.Since(rec.EventTime))
	}
	return nil
}

// A mark is a reading of all counters.
type mark struct {
	at    time.Time
	used  bench.CPUTime
	stats binance.Stats
}

func (b *measurement) mark() mark { return mark{time.Now(), bench.CPUUsed(), b.books.Stats()} }

// steady measures half of the time undisturbed, and half with a rotation of all connections.
func (b *measurement) steady(ctx context.Context) error {
	if b.opt.cpu != "" {
		file, err := os.Create(b.opt.cpu)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	begin := b.mark()
	b.phase.Store(steady)
	if err := pause(ctx, b.opt.duration/2); err != nil {
		return err
	}
	goroutines := runtime.NumGoroutine()
	middle := b.mark()
	b.phase.Store(rotating)
	b.books.Rotate()
	if err := pause(ctx, b.opt.duration/2); err != nil {
		return err
	}
	b.phase.Store(idle)
	end := b.mark()

	b.report("steady", begin, middle, &b.latencies[0])
	b.report("rotating", middle, end, &b.latencies[1])
	printMemory(goroutines)
	if err := b.writeHeap(); err != nil {
		return err
	}
	rotations, dropped := end.stats.Rotations-begin.stats.Rotations, end.stats.Dropped-begin.stats.Dropped
	gaps, snapshots := end.stats.Gaps-begin.stats.Gaps, end.stats.SnapshotRequests-begin.stats.SnapshotRequests
	fmt.Printf("rotations   %d\ngaps        %d\nsnapshots   %d\n", rotations, gaps, snapshots)
	used, l := middle.used.Minus(begin.used), &b.latencies[0]
	fmt.Printf("summary     %d symbols at %v events a second: %.2f of a core, RSS %s, p50 %v, p99 %v; rotation: %d gaps, %d snapshots\n",
		b.opt.symbols, b.opt.rate, used.Total().Seconds()/middle.at.Sub(begin.at).Seconds(), resident(), l.Quantile(0.5), l.Quantile(0.99), gaps, snapshots)
	switch {
	case gaps != 0 || snapshots != 0 || dropped != 0:
		return fmt.Errorf("%d gaps, %d snapshots, %d frames dropped: want none", gaps, snapshots, dropped)
	case rotations == 0:
		return errors.New("no connection was replaced; give it a longer -duration")
	}
	return nil
}

// report prints the difference between two marks.
func (b *measurement) report(name string, from, to mark, l *bench.Histogram) {
	used, took := to.used.Minus(from.used), to.at.Sub(from.at).Seconds()
	updates := float64(to.stats.Updates - from.stats.Updates)
	fmt.Printf("%-11s %.0f updates a second, %.2f of a core (user %.2f, system %.2f), %.1f µs each\n", name,
		updates/took, used.Total().Seconds()/took, used.User.Seconds()/took, used.System.Seconds()/took, used.Total().Seconds()*1e6/max(updates, 1))
	fmt.Printf("  latency   p50 %v, p99 %v, p99.9 %v, max %v\n", l.Quantile(0.5), l.Quantile(0.99), l.Quantile(0.999), l.Max().Round(time.Microsecond))
}

func (b *measurement) writeHeap() error {
	if b.opt.mem == "" {
		return nil
	}
	file, err := os.Create(b.opt.mem)
	if err != nil {
		return err
	}
	return errors.Join(pprof.WriteHeapProfile(file), file.Close())
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func printMemory(goroutines int) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Printf("memory      heap %d MB in use, RSS %s\n", m.HeapInuse>>20, resident())
	fmt.Printf("goroutines  %d\n", goroutines)
}

// resident returns the resident memory of this process, on Linux.
func resident() string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kb int
			if _, err := fmt.Sscan(value, &kb); err == nil {
				return fmt.Sprintf("%d MB", kb>>10)
			}
		}
	}
	return "unknown"
}
