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
		if calm != s.calm { // Calm was called at this very moment
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

// Calm ends every fault: what waits for an event, a request or a connection is forgotten, what was
// switched on is switched off, depth events kept back go out, the clock is right again, and a RunChaos
// that is under way takes back what it changed and returns. It does not bring back what is lost, nor a
// connection that Silence has made half-open.
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
	s.faults, s.wire, s.commands = restFaults{}, wireFaults{}, commandFaults{}
	s.encode.third, s.encode.sbe = false, sbeStyle{}
	close(s.calm)
	s.calm = make(chan struct{})
}
