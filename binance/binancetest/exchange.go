package binancetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
)

// An exchange is the state of a fake exchange. Its methods expect the caller to hold mu, unless they say
// otherwise; mu is never held while waiting.
type exchange struct {
	cfg    Config
	rules  *rules
	encode encoder
	done   chan struct{} // closed by Server.Close

	mu          sync.Mutex // guards all below
	closed      bool
	symbols     []*symbolState // in order of listing
	byName      map[string]*symbolState
	sharedID    int64      // the update id that all symbols of a futures market share
	ids         *rand.Rand // draws its increments
	grid        grid
	conns       []*conn // open websockets in order of opening
	subscribers map[string][]*conn
	subscribed  chan struct{} // closed and replaced when subscribers grows
	nextConn    int
	connects    []time.Time // of the last 5 minutes
	weight      weightMeter
	retry       retryWindow
	partials    bool          // a connection has subscribed to a partial depth stream
	calm        chan struct{} // closed and replaced by Calm
	restorers   restorers     // undo what RunChaos has changed for a while
	sharedFaults
	replay *replay // nil without a playback
	stats  Stats
}

func newExchange(cfg Config) exchange {
	r, _ := rulesOf(cfg.Market)
	return exchange{
		cfg: cfg, rules: r, encode: encoder{market: cfg.Market, rules: r}, done: make(chan struct{}),
		byName: make(map[string]*symbolState), subscribers: make(map[string][]*conn), subscribed: make(chan struct{}), calm: make(chan struct{}),
		ids:    rand.New(rand.NewPCG(cfg.Seed, uint64(len(cfg.Market)))), // #nosec G404 -- simulated, by a seed
		weight: newWeightMeter(cfg, r),
		stats:  Stats{Requests: make(map[string]int)},
	}
}

// now returns the time of the exchange's clock. Limits follow the real one.
func (x *exchange) now() time.Time { return time.Now().Add(x.wire.clock) }

// list adds a symbol.
func (x *exchange) list(cfg Symbol) error {
	cfg, err := cfg.withDefaults(x.cfg.Market, x.cfg.Seed)
	if err != nil {
		return err
	}
	if x.byName[cfg.Name] != nil {
		return fmt.Errorf("%w: symbol %s is listed twice", ErrConfig, cfg.Name)
	}
	sym := newSymbol(cfg, x.rules, &x.cfg)
	x.symbols = append(x.symbols, sym)
	x.byName[sym.Name] = sym
	x.sharedID = max(x.sharedID, sym.id)
	return nil
}

// with runs f on a symbol, or returns ErrUnknownSymbol.
func (x *exchange) with(name string, f func(*symbolState)) error {
	sym := x.byName[name]
	if sym == nil {
		return fmt.Errorf("%w: %q", ErrUnknownSymbol, name)
	}
	f(sym)
	return nil
}

// later runs f under mu after that time, unless the server is closed by then.
func (x *exchange) later(after time.Duration, f func()) {
	time.AfterFunc(after, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if !x.closed {
			f()
		}
	})
}

// eachConn locks mu and runs f on the connection with this id, or on all for 0. It reports whether there was any.
func (x *exchange) eachConn(id int, f func(*conn)) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	found := false
	for _, c := range x.conns {
		if id == 0 || c.id == id {
			found = true
			f(c)
		}
	}
	return found
}

func (x *exchange) setStatus(sym *symbolState, status string) {
	defaults.Set(&status, defaultStatus)
	if sym.Status != status {
		sym.Status = status
		x.contractInfo(sym)
	}
}

// contractInfo publishes a symbol's state on !contractInfo, which only futures have. The exchange sends the
// changes of both futures markets on both hosts; SendEvent can send those of the other market.
func (x *exchange) contractInfo(sym *symbolState) {
	if x.cfg.Market == marketprism.Spot {
		return
	}
	now, status := x.now(), jsonString(sym.Status)
	x.publish("!contractInfo", func(b []byte, as form) []byte {
		b = appendTime(b, `{"e":"contractInfo","E":`, now, as)
		b = append(append(b, `,"s":`...), sym.jsonName...)
		b = append(append(b, `,"ps":`...), sym.jsonPair...)
		b = append(b, `,"ct":"PERPETUAL","dt":4133404800000,"ot":1569398400000,"cs":`...)
		b = append(append(b, status...), `,"bks":[]`...)
		return x.encode.futuresTail(b, sym, false)
	})
}

func (x *exchange) restartIDs(sym *symbolState, id int64) {
	sym.idOffset = x.sharedID - id
	sym.startAt(id)
}

func (x *exchange) wipe() {
	for _, sym := range x.symbols {
		sym.fill()
		x.restartIDs(sym, 0)
		sym.tradeID, sym.aggTradeID, sym.tape.rows = 0, 0, nil
	}
}
