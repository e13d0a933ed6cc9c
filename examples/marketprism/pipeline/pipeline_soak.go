package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/bench"
)

// soakSample is the interval of readings of memory and goroutines.
const soakSample = 30 * time.Second

// The allowed growth from the middle to the end. Before the middle, books are deepened from their first levels.
const (
	soakGrowth     = 1.3      // of the heap
	soakSlack      = 32 << 20 // bytes, for records in transit
	soakGoroutines = 20
)

// A soak measures a run under load, from when all books are synced.
type soak struct {
	p         *Pipeline
	measuring atomic.Bool

	mu      sync.Mutex
	visible bench.Histogram // from the exchange's event until it is readable in the store

	cpu        cpuMeter
	used       cpuUse
	begin, end reading
	half, last memory
}

type reading struct {
	at               time.Time
	received, stored uint64
	stats            binance.Stats
}

type memory struct {
	heap       uint64 // bytes in use after a collection
	goroutines int
}

// Soak runs everything under load, without the comparison at the end: it waits until all books are synced, measures
// for the configured time, and fails if there was a gap, memory or goroutines grew, or a record was not stored.
func (p *Pipeline) Soak(ctx context.Context) error {
	s := &soak{p: p}
	p.tally.visible = s.observe
	length := p.cfg.For
	p.cfg.For = 0
	p.embedded = true
	return p.inFolder(ctx, func(ctx context.Context) error {
		err := p.open(ctx, p.openArchive, p.openBus)
		if err == nil {
			p.printEmbedded()
			running, stop := context.WithCancel(ctx)
			var measured chan error
			p.started = func() {
				measured = make(chan error, 1)
				go func() {
					defer stop()
					measured <- s.measure(running, length)
				}()
			}
			err = p.transport(running)
			stop()
			if measured != nil {
				err = errors.Join(err, <-measured)
			}
		}
		if err == nil {
			err = s.report()
		}
		return errors.Join(err, p.close())
	})
}

func (s *soak) observe(recs []marketprism.Record) {
	if !s.measuring.Load() {
		return
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range recs {
		if recs[i].Update != nil {
			s.visible.Add(now.Sub(recs[i].EventTime))
		}
	}
}

// measure waits until the books are synced and then measures for length.
func (s *soak) measure(ctx context.Context, length time.Duration) error {
	begin := time.Now()
	if err := s.p.collector.books.Ready(ctx); err != nil {
		return fmt.Errorf("the books were not synced: %w", err)
	}
	fmt.Fprintf(s.p.out, "all %d books synced after %v\n", len(s.p.collector.books.Symbols()), time.Since(begin).Round(time.Second))
	s.memory()
	s.begin = s.read()
	if err := s.cpu.start(); err != nil {
		return err
	}
	s.measuring.Store(true)
	tick := time.NewTicker(soakSample)
	defer tick.Stop()
	half, over := time.NewTimer(length/2), time.NewTimer(length)
	defer half.Stop()
	defer over.Stop()
	for {
		select {
		case <-tick.C:
			s.memory()
		case <-half.C:
			s.half = s.memory()
		case <-over.C:
			s.measuring.Store(false)
			var err error
			s.used, err = s.cpu.stop()
			s.end, s.last = s.read(), s.memory()
			return err
		case <-ctx.Done():
			pprof.StopCPUProfile()
			return errors.New("interrupted before the time was over")
		}
	}
}

func (s *soak) read() reading {
	return reading{time.Now(), s.p.tally.total(received), s.p.tally.total(stored), s.p.collector.books.Stats()}
}

func (s *soak) memory() memory {
	runtime.GC() // only reachable memory remains
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	now := memory{m.HeapAlloc, runtime.NumGoroutine()}
	fmt.Fprintf(s.p.out, "heap %d MB, from the system %d MB, %d goroutines\n", now.heap>>20, m.Sys>>20, now.goroutines)
	return now
}

// report prints the results, and returns an error for each that is out of bounds.
func (s *soak) report() error {
	took := s.end.at.Sub(s.begin.at).Seconds()
	gaps := s.end.stats.Gaps - s.begin.stats.Gaps
	fmt.Fprintf(s.p.out, "%.0f s: %.0f events/s received, %.0f records/s stored, %d gaps, %d frames dropped\n",
		took, float64(s.end.received-s.begin.received)/took, float64(s.end.stored-s.begin.stored)/took,
		gaps, s.end.stats.Dropped-s.begin.stats.Dropped)
	fmt.Fprintf(s.p.out, "exchange event to visible in ClickHouse, of %d updates: p50 %v, p99 %v, max %v\n", s.visible.Count(),
		s.visible.Quantile(0.5).Round(time.Millisecond), s.visible.Quantile(0.99).Round(time.Millisecond), s.visible.Max().Round(time.Millisecond))
	fmt.Fprintln(s.p.out, s.used.perRecord(s.end.stored-s.begin.stored))
	fmt.Fprintf(s.p.out, "heap %d MB in the middle, %d MB at the end; goroutines %d, %d\n",
		s.half.heap>>20, s.last.heap>>20, s.half.goroutines, s.last.goroutines)
	var err error
	if gaps > 0 {
		err = fmt.Errorf("%d gaps without a fault", gaps)
	}
	if float64(s.last.heap) > soakGrowth*float64(s.half.heap)+soakSlack {
		err = errors.Join(err, errors.New("the heap has grown"))
	}
	if s.last.goroutines > s.half.goroutines+soakGoroutines {
		err = errors.Join(err, errors.New("there are more goroutines than in the middle"))
	}
	if got, kept := s.p.tally.total(received), s.p.tally.total(stored); kept < got {
		err = errors.Join(err, fmt.Errorf("%d records received, %d stored", got, kept))
	}
	return err
}
