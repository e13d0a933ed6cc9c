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
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/cpu"
	"github.com/marketprism/marketprism/internal/latency"
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
		return nil, fmt.Errorf("the exchange does not tell its address: %w", err)
	}
	return c, nil
}

// beginAnew has the exchange forget how late it was.
func (c *child) beginAnew() error {
	_, err := c.in.Write([]byte{'\n'})
	return err
}

// end stops the exchange and returns how many events it has sent, and by how much an interval ended
// too late at most since beginAnew.
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
type bench struct {
	opt       options
	books     *binance.DepthSyncer
	phase     atomic.Int32
	latencies [2]latency.Histogram // of the phases; the handler's
}

// The phases of a measurement.
const (
	idle     = iota
	steady   // nothing but events
	rotating // from the replacement of all connections on
)

func measure(ctx context.Context, opt options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exchange, err := startChild(ctx)
	if err != nil {
		return err
	}
	b := &bench{opt: opt}
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
	// The backlog of the start is no part of the steady state.
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := exchange.beginAnew(); err != nil {
		return fmt.Errorf("the exchange: %w", err)
	}
	if err := b.steady(ctx); err != nil {
		return err
	}
	sent, late, err := exchange.end()
	if err != nil {
		return fmt.Errorf("the exchange: %w", err)
	}
	fmt.Printf("exchange    sent %d events, %v behind its clock at most while measured\n", sent, late)
	cancel()
	return <-ended
}

func (b *bench) connect(addr string) error {
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

// handle is the handler: the book has changed, and the event's time is when its frame was written.
func (b *bench) handle(_ context.Context, rec *marketprism.Record) error {
	if phase := b.phase.Load(); rec.Update != nil && phase != idle {
		b.latencies[phase-steady].Add(time.Since(rec.EventTime))
	}
	return nil
}

// A mark is how things stood at a moment.
type mark struct {
	at    time.Time
	used  cpu.Time
	stats binance.Stats
}

func (b *bench) mark() mark { return mark{time.Now(), cpu.Used(), b.books.Stats()} }

// steady measures half of the time undisturbed, and half with a rotation of all connections.
func (b *bench) steady(ctx context.Context) error {
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

// report prints what came between two marks.
func (b *bench) report(name string, from, to mark, l *latency.Histogram) {
	used, took := to.used.Minus(from.used), to.at.Sub(from.at).Seconds()
	updates := float64(to.stats.Updates - from.stats.Updates)
	fmt.Printf("%-11s %.0f updates a second, %.2f of a core (user %.2f, system %.2f), %.1f µs each\n", name,
		updates/took, used.Total().Seconds()/took, used.User.Seconds()/took, used.System.Seconds()/took, used.Total().Seconds()*1e6/max(updates, 1))
	fmt.Printf("  latency   p50 %v, p99 %v, p99.9 %v, max %v\n", l.Quantile(0.5), l.Quantile(0.99), l.Quantile(0.999), l.Max().Round(time.Microsecond))
}

func (b *bench) writeHeap() error {
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
