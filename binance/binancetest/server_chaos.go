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

// ChaosConfig configures RunChaos.
type ChaosConfig struct {
	Seed    uint64
	Every   time.Duration // mean time between two faults; 0 means 1 s
	Longest time.Duration // the longest duration of a lasting fault; 0 means 5 s

	// Faults are the faults to choose from, named as by ChaosFaults; one named twice is twice as likely.
	// Nil means all but F31, after which an update id no longer identifies one book.
	Faults []string

	// Log is called with each fault after it is on, on the goroutine of RunChaos. Nil means no log.
	Log func(ChaosEvent)
}

// A ChaosEvent is one fault that RunChaos switched on.
type ChaosEvent struct {
	After  time.Duration // since RunChaos began
	Fault  string        // such as "F3"
	Action string        // the change made, such as "DuplicateDepth(BTCUSDT, 2)"
}

// String returns the event as a log line.
func (e ChaosEvent) String() string { return fmt.Sprintf("%v %s %s", e.After, e.Fault, e.Action) }

// ChaosFaults returns the faults that RunChaos can switch on, by their numbers in the package documentation.
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
			return cfg, nil, fmt.Errorf("%w: unknown chaos fault %q; there are %s", ErrConfig, name, strings.Join(ChaosFaults(), ", "))
		}
		chosen = append(chosen, known[i])
	}
	if len(chosen) == 0 {
		return cfg, nil, fmt.Errorf("%w: chaos without faults", ErrConfig)
	}
	return cfg, chosen, nil
}

// RunChaos switches random faults on, one after another. It blocks until ctx ends or Calm is called; then
// it ends every fault, as Calm does, and returns nil. Equal seeds with equal symbols choose equal faults at
// equal times, whatever the clients do; only the connection that is hit depends on which are open. In a
// testing/synctest bubble a run repeats exactly if its clients do. It returns ErrConfig or ErrClosed.
func (s *Server) RunChaos(ctx context.Context, cfg ChaosConfig) error {
	cfg, faults, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	s.mu.Lock()
	calm := s.calm
	s.mu.Unlock()
	random := rand.New(rand.NewPCG(cfg.Seed, 0xc4a05)) // #nosec G404 -- simulated, by a seed
	begin := time.Now()
	pause := func() time.Duration { return time.Duration(random.ExpFloat64() * float64(cfg.Every)) }
	for at := pause(); ; { // of the next fault
		if ctx.Err() != nil { // the select below may choose the timer
			s.Calm()
			return nil
		}
		s.mu.Lock()
		wake := s.restorers.next(begin.Add(at))
		s.mu.Unlock()
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
		s.mu.Lock()
		s.restorers.run(wake)
		s.mu.Unlock()
		if wake.Before(begin.Add(at)) {
			continue
		}
		fault := faults[random.IntN(len(faults))]
		d := throw(random, cfg.Longest)
		s.mu.Lock()
		if calm != s.calm { // Calm was called meanwhile
			s.mu.Unlock()
			return nil
		}
		action := "nothing: no symbol is listed"
		if len(s.symbols) > 0 {
			action = fault.do(&s.exchange, d)
		}
		s.mu.Unlock()
		if cfg.Log != nil {
			cfg.Log(ChaosEvent{After: at, Fault: fault.name, Action: action})
		}
		at += pause()
	}
}

// Calm ends every fault: it cancels those that wait for an event, a request or a connection, switches the
// others off, sends the depth events kept back, resets the clock, and makes a running RunChaos undo its
// changes and return. Lost events stay lost, and connections that Silence made half-open stay so.
func (s *Server) Calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.restorers {
		r.undo()
	}
	s.restorers = nil
	for _, sym := range s.symbols {
		sym.faults = symbolFaults{}
		for i := range sym.batches {
			b := &sym.batches[i]
			for _, e := range b.kept.release() {
				s.sendEvent(sym, b, e)
			}
		}
	}
	for _, c := range s.conns {
		c.skipPings = 0
	}
	s.sharedFaults = sharedFaults{}
	s.encode.third, s.encode.sbe = false, sbeStyle{}
	close(s.calm)
	s.calm = make(chan struct{})
}
