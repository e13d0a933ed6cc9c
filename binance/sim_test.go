package binance_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

var (
	firstSeed = flag.Uint64("seed", 1, "the first seed of TestSimulation; without -seeds only that one is run, and -v shows what happened")
	seedCount = flag.Uint64("seeds", 40, "how many seeds TestSimulation runs for each market")
)

// TestSimulation runs the driver against the fake exchange in virtual time. Each seed makes an exchange,
// a configuration of the driver, and some twenty seconds of faults and of things the program does; then
// the faults end, and every book has to be live again. What must hold all the time is beside simOracle.
//
// A seed repeats what it chooses: the exchange, the configuration, its faults and their times, the
// delays of the driver, and all time spent. What it does not repeat is the order of what happens at one
// and the same moment in several goroutines, which is the Go scheduler's: which of two connections gets
// its frame first, say. So a replay usually shows the same failure at the same time, and if it does not,
// running the seed some more times does. The history printed with a failure is that of the failed run.
func TestSimulation(t *testing.T) {
	count := *seedCount
	if testing.Short() {
		count = min(count, 10)
	}
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	replay := given["seed"] && !given["seeds"]
	if replay {
		count = 1
	}
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		t.Run(string(market), func(t *testing.T) {
			t.Parallel()
			total := newSimTally()
			for seed := *firstSeed; seed < *firstSeed+count; seed++ {
				s := simulate(t, market, seed)
				if s.errs != nil {
					t.Fatalf("%s\n%s\nreplay: go test ./binance -run TestSimulation/%s -seed %d -v",
						strings.Join(s.errs, "\n"), strings.Join(s.history(), "\n"), market, seed)
				}
				if replay {
					t.Log(strings.Join(s.history(), "\n"))
				}
				total.add(&s.tally)
			}
			t.Logf("%d seeds\n%s", count, total)
			if count >= 100 {
				total.check(t, market != marketprism.Spot)
			}
		})
	}
}

// simulate makes one run.
func simulate(t *testing.T, market marketprism.Market, seed uint64) *sim {
	t.Helper()
	s := newSim(market, seed)
	tooLong := time.AfterFunc(time.Minute, func() { fmt.Fprintf(os.Stderr, "%s seed %d has been running for a minute\n", market, seed) })
	defer tooLong.Stop()
	ended := false
	defer func() {
		if !ended { // a deadlock of the bubble, or a Goexit
			fmt.Fprintf(os.Stderr, "%s seed %d did not end\n", market, seed)
		}
	}()
	synctest.Test(t, func(t *testing.T) { s.run(t.Context()) })
	ended = true
	return s
}

// A sim is one run.
type sim struct {
	simSetup
	simOracle
	roll *rand.Rand // of what the program does; its goroutine's alone

	srv    *binancetest.Server
	syncer *binance.DepthSyncer
	begun  time.Time
	tally  simTally

	slowness atomic.Int64 // chance of the handler to dawdle, in a thousand records
	listings int          // symbols listed; roll's goroutine's

	mu        sync.Mutex // guards the rest, the tally and the oracle
	restarted bool       // the exchange's ids have gone back
	unlisted  bool       // a symbol was delisted
	errs      []string
	events    []noted
}

func newSim(market marketprism.Market, seed uint64) *sim {
	s := &sim{simSetup: rollSetup(market, seed), tally: newSimTally()}
	s.roll = rand.New(rand.NewPCG(seed, 2))
	for _, f := range s.armed {
		s.tally.faults[f]++
	}
	s.simOracle = simOracle{sim: s, books: make(map[string]*simBook), roll: rand.New(rand.NewPCG(seed, 3))}
	return s
}

// fail notes that a promise was broken; the first few will do.
func (s *sim) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(format, args...)
}

func (s *sim) failLocked(format string, args ...any) {
	if len(s.errs) < 5 {
		s.errs = append(s.errs, fmt.Sprintf("%v: ", time.Since(s.begun))+fmt.Sprintf(format, args...))
		s.events = append(s.events, noted{time.Now(), "FAILED " + fmt.Sprintf(format, args...)})
	}
}

func (s *sim) note(info any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, noted{time.Now(), info})
}

// history formats what happened.
func (s *sim) history() []string {
	lines := []string{s.simSetup.String()}
	for _, e := range s.events {
		what, ok := e.info.(string)
		if !ok {
			what = strings.TrimPrefix(fmt.Sprintf("%T%+v", e.info, e.info), "binance.")
		}
		lines = append(lines, fmt.Sprintf("%9.3f %s", e.at.Sub(s.begun).Seconds(), what))
	}
	return lines
}

// run is the whole of a run, inside its bubble.
func (s *sim) run(ctx context.Context) {
	s.begun = time.Now()
	srv, err := binancetest.New(s.server)
	if err != nil {
		s.fail("%v", err)
		return
	}
	defer srv.Close()
	s.srv = srv
	s.client.Endpoints = binance.Endpoints{REST: srv.RESTURL(), Stream: srv.StreamURL(), SBE: srv.StreamURL()}
	s.client.DialContext = srv.DialContext
	s.client.Hooks = s.hooks()
	if s.client.Budget, err = binance.NewBudget(s.budget); err != nil {
		s.fail("%v", err)
		return
	}
	client, err := binance.NewClient(s.client)
	if err != nil {
		s.fail("%v", err)
		return
	}
	s.depth.Handler = s.handle
	if s.syncer, err = binance.NewDepthSyncer(client, s.depth); err != nil {
		s.fail("%v", err)
		return
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { srv.Run(ctx) }) //nolint:errcheck // ends with ctx
	ended := make(chan error, 1)
	running.Go(func() { ended <- s.syncer.Run(ctx) })

	s.trouble(ctx, &running)
	s.recover()

	stop()
	switch err := <-ended; {
	case s.unlisted && errors.As(err, new(*binance.UnknownSymbolsError)):
	case err != nil:
		s.fail("Run: %v", err)
	}
	client.CloseIdleConnections()
	s.finish()
}

// trouble lets faults happen, and the program do things, for a while.
func (s *sim) trouble(ctx context.Context, running *sync.WaitGroup) {
	ctx, cancel := context.WithTimeout(ctx, s.faulty)
	defer cancel()
	chaos := s.chaos
	chaos.Log = func(e binancetest.ChaosEvent) {
		s.note(e)
		if !strings.HasPrefix(e.Action, "nothing") {
			s.count(e.Fault)
		}
	}
	running.Go(func() {
		if err := s.srv.RunChaos(ctx, chaos); err != nil {
			s.fail("RunChaos: %v", err)
		}
	})
	for s.sleep(ctx, time.Duration(s.roll.ExpFloat64()*float64(s.actEvery))) {
		s.act(ctx)
	}
	<-ctx.Done()
	synctest.Wait() // chaos has taken back what it changed
	s.srv.Calm()
	s.slowness.Store(0)
	s.note("calm")
}

func (s *sim) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// recover waits until every symbol is live and stays so for some seconds, which has a bound.
func (s *sim) recover() {
	steady := 8 * time.Second
	if s.mortal {
		steady = 2 * time.Second
	}
	calm := time.Now()
	since, gaps := calm, s.gapCount()
	for time.Since(since) < steady {
		ids := s.exchangeIDs()
		time.Sleep(time.Second)
		synctest.Wait()
		behind, n := s.missing(ids), s.gapCount()
		if behind != "" || n != gaps {
			since, gaps = time.Now(), n
		}
		if time.Since(calm) > s.patience {
			s.fail("not live %v after the last fault: %s", s.patience, behind)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.recovery = max(s.tally.recovery, since.Sub(calm))
}

// exchangeIDs returns at what id the exchange is with each listed symbol.
func (s *sim) exchangeIDs() map[string]int64 {
	ids := make(map[string]int64)
	for _, symbol := range s.srv.Listed() {
		if snap, err := s.srv.Book(symbol); err == nil {
			ids[symbol] = snap.LastID
		}
	}
	return ids
}

// missing names a followed symbol whose book is not live: synced, and up to the id of a second ago.
func (s *sim) missing(ids map[string]int64) string {
	listed := s.srv.Listed()
	followed := s.syncer.Symbols()
	for _, symbol := range followed {
		if !slices.Contains(listed, symbol) {
			continue
		}
		status, ok := s.syncer.Status(symbol)
		if !ok || status.State != orderbook.Synced {
			return fmt.Sprintf("%s is %v", symbol, status.State)
		}
		s.mu.Lock()
		b := s.books[symbol]
		known, at := b != nil && b.known, int64(0)
		if known {
			at = b.book.LastID()
		}
		s.mu.Unlock()
		if id, ok := ids[symbol]; !known || ok && at < id {
			return fmt.Sprintf("%s (known: %v) is at %d, the exchange at %d", symbol, known, at, id)
		}
	}
	if s.depth.AllTrading != nil && ids != nil {
		for _, symbol := range listed {
			if !slices.Contains(followed, symbol) {
				return symbol + " is not followed"
			}
		}
	}
	return ""
}
