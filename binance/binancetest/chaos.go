package binancetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/internal/defaults"
)

// ChaosConfig says how RunChaos troubles the exchange.
type ChaosConfig struct {
	Seed    uint64
	Every   time.Duration // mean time between two faults; 0 means 1 s
	Longest time.Duration // a fault that lasts does so for up to this; 0 means 5 s

	// Faults are those to choose from, of the ones ChaosFaults lists; one that is named twice comes twice
	// as often. Nil means all but F31, after which an update id no longer names one book.
	Faults []string

	// Log is called with each fault, on the goroutine of RunChaos, after the fault is on. Nil means that
	// nobody is told.
	Log func(ChaosEvent)
}

// A ChaosEvent is one fault that RunChaos has switched on.
type ChaosEvent struct {
	After  time.Duration // since RunChaos began
	Fault  string        // as "F3"
	Action string        // what was done, as "DuplicateDepth(BTCUSDT, 2)"
}

// String returns the event as a line of a log.
func (e ChaosEvent) String() string { return fmt.Sprintf("%v %s %s", e.After, e.Fault, e.Action) }

// ChaosFaults lists the faults that RunChaos knows, by their numbers in the package documentation.
func ChaosFaults() []string {
	var names []string
	for _, f := range chaosFaults() {
		names = append(names, f.name)
	}
	return names
}

func (cfg ChaosConfig) withDefaults() (ChaosConfig, []chaosFault, error) {
	defaults.Set(&cfg.Every, time.Second)
	defaults.Set(&cfg.Longest, 5*time.Second)
	if cfg.Every < 0 || cfg.Longest < 0 {
		return cfg, nil, fmt.Errorf("%w: chaos every %v for up to %v", ErrConfig, cfg.Every, cfg.Longest)
	}
	known := chaosFaults()
	if cfg.Faults == nil {
		return cfg, slices.DeleteFunc(known, func(f chaosFault) bool { return f.name == "F31" }), nil
	}
	var chosen []chaosFault
	for _, name := range cfg.Faults {
		i := slices.IndexFunc(known, func(f chaosFault) bool { return f.name == name })
		if i < 0 {
			return cfg, nil, fmt.Errorf("%w: chaos knows no fault %q, only %s", ErrConfig, name, strings.Join(ChaosFaults(), ", "))
		}
		chosen = append(chosen, known[i])
	}
	if len(chosen) == 0 {
		return cfg, nil, fmt.Errorf("%w: chaos without faults", ErrConfig)
	}
	return cfg, chosen, nil
}

// RunChaos switches random faults on, one after another, until ctx ends or Calm is called; then every
// fault is over, as Calm says, and it returns nil. Equal seeds with equal symbols choose equal faults at
// equal times, whatever the clients do; only which connection is hit depends on which are open. In a
// testing/synctest bubble a run repeats exactly as far as its clients do. The errors are ErrConfig and
// ErrClosed.
func (s *Server) RunChaos(ctx context.Context, cfg ChaosConfig) error {
	cfg, faults, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	s.mu.Lock()
	calm := s.calm
	s.mu.Unlock()
	random := rand.New(rand.NewPCG(cfg.Seed, 0xc4a05))
	begin := time.Now()
	pause := func() time.Duration { return time.Duration(random.ExpFloat64() * float64(cfg.Every)) }
	for at := pause(); ; { // of the next fault
		if ctx.Err() != nil { // the select below may prefer the time
			s.Calm()
			return nil
		}
		wake := s.nextRestorer(begin.Add(at))
		select {
		case <-ctx.Done():
			s.Calm()
			return nil
		case <-calm:
			return nil
		case <-s.done:
			return ErrClosed
		case <-time.After(time.Until(wake)):
		}
		if s.runRestorers(wake); wake.Before(begin.Add(at)) {
			continue
		}
		fault := faults[random.IntN(len(faults))]
		d := throw(random, cfg.Longest)
		s.mu.Lock()
		if calm != s.calm { // Calm was called at this very moment
			s.mu.Unlock()
			return nil
		}
		action := "nothing: no symbol is listed"
		if len(s.symbols) > 0 {
			action = fault.do(s, d)
		}
		s.mu.Unlock()
		if cfg.Log != nil {
			cfg.Log(ChaosEvent{After: at, Fault: fault.name, Action: action})
		}
		at += pause()
	}
}

// dice are the random numbers of one fault. As many are thrown for every fault, so that what one does
// with them does not change the next.
type dice struct {
	symbol, conn, kind int
	few                int // 1 to 3
	lasting            time.Duration
}

func throw(r *rand.Rand, longest time.Duration) *dice {
	return &dice{
		symbol: r.IntN(1 << 30), conn: r.IntN(1 << 30), kind: r.IntN(1 << 30), few: 1 + r.IntN(3),
		lasting: time.Duration(r.Float64() * float64(longest)).Truncate(time.Millisecond),
	}
}

// A restorer takes back a change that lasts for a while.
type restorer struct {
	what string // no two of the same wait at a time
	at   time.Time
	undo func()
}

// restoreAfter has undo run after a while, or with Calm. Where the same change waits to be taken back
// already, only the time is put off, since undo has been told the changed state as the original one.
func (s *Server) restoreAfter(d time.Duration, what string, undo func()) {
	at := time.Now().Add(d)
	if i := slices.IndexFunc(s.restorers, func(r restorer) bool { return r.what == what }); i >= 0 {
		s.restorers[i].at = at
		return
	}
	s.restorers = append(s.restorers, restorer{what, at, undo})
}

// nextRestorer returns when the next restorer is due, but no later than the latest.
func (s *Server) nextRestorer(latest time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.restorers {
		if r.at.Before(latest) {
			latest = r.at
		}
	}
	return latest
}

func (s *Server) runRestorers(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restorers = slices.DeleteFunc(s.restorers, func(r restorer) bool {
		if r.at.After(now) {
			return false
		}
		r.undo()
		return true
	})
}
