package metrics

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// An Exchange measures one market of an exchange.
type Exchange struct {
	m     *Metrics
	venue []string // label values: exchange, market

	conns       connections
	reconnects  closedSet
	resyncs     closedSet
	snapshots   closedSet
	undecoded   closedSet
	rest        map[string]closedSet // by endpoint
	restTook    map[string]prometheus.Observer
	lag         prometheus.Observer
	resyncTook  prometheus.Observer
	applyTook   prometheus.Observer
	trades      *number
	offset      *number
	handled     atomic.Uint64
	volumes     atomic.Pointer[map[string]*number] // of chosen symbols
	limitedOnce sync.Once

	mu       sync.Mutex
	client   *binance.Client
	books    *binance.DepthSyncer
	counted  map[string]orderbook.SyncerStats // by symbol, at the last scrape
	sums     orderbook.SyncerStats            // since the start, including removed symbols
	previous binance.Stats
}

// Observe sets the Client and the DepthSyncer that each scrape reads, and replaces earlier ones.
func (e *Exchange) Observe(client *binance.Client, books *binance.DepthSyncer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.client, e.books = client, books
	e.followVolumes(e.m.cfg.Symbols.chosen(books.Symbols()))
}

// measureClock compares the clocks by the middle of a request.
func (e *Exchange) measureClock(ctx context.Context) error {
	e.mu.Lock()
	client := e.client
	e.mu.Unlock()
	if client == nil {
		return nil
	}
	sent := time.Now()
	theirs, err := client.Time(ctx)
	if err != nil {
		return err
	}
	took := time.Since(sent)
	e.offset.set(theirs.Sub(sent.Add(took / 2)).Seconds())
	return nil
}

// One update in sampleApply is measured; one event in sampleExemplar, and each late one, has an exemplar.
const (
	sampleApply    = 64
	sampleExemplar = 1024
	late           = time.Second
)

// Handler returns a handler that measures each record after next has handled it. next may be nil.
func (e *Exchange) Handler(next binance.Handler) binance.Handler {
	return func(ctx context.Context, rec *marketprism.Record) error {
		if next != nil {
			if err := next(ctx, rec); err != nil {
				return err
			}
		}
		e.measure(rec)
		return nil
	}
}

func (e *Exchange) measure(rec *marketprism.Record) {
	n := e.handled.Add(1)
	switch {
	case rec.Trade != nil:
		e.traded(rec)
	case rec.Update != nil:
		if n%sampleApply == 0 {
			e.applyTook.Observe(time.Since(rec.ReceivedAt).Seconds())
		}
	default:
		return // the other kinds have no exchange time
	}
	if rec.EventTime.IsZero() {
		return
	}
	lag := max(0, rec.ReceivedAt.Sub(rec.EventTime)) // the clocks differ by ClockOffset
	if lag >= late || n%sampleExemplar == 0 {
		if with, ok := e.lag.(prometheus.ExemplarObserver); ok {
			with.ObserveWithExemplar(lag.Seconds(), prometheus.Labels{"symbol": rec.Instrument.Symbol})
			return
		}
	}
	e.lag.Observe(lag.Seconds())
}

func (e *Exchange) traded(rec *marketprism.Record) {
	if rec.Trade.Aggregate {
		return // duplicates of the single trades
	}
	e.trades.inc()
	if volumes := e.volumes.Load(); volumes != nil {
		if n := (*volumes)[rec.Instrument.Symbol]; n != nil {
			n.add(rec.Trade.Price.Float64() * rec.Trade.Quantity.Float64())
		}
	}
}

// A SymbolMode selects the symbols with their own series.
type SymbolMode uint8

// The modes.
const (
	AllSymbols    SymbolMode = iota // all, up to Max symbols
	ListedSymbols                   // those of List
	NoSymbols                       // none
)

// A SymbolPolicy bounds the number of series of symbols: four per symbol, five more for chosen ones.
type SymbolPolicy struct {
	Mode SymbolMode
	List []string // of ListedSymbols, and of AllSymbols once there are more than Max
	Max  int      // 0 means 2000

	// Chosen are the symbols with prices, depth and volume. Nil means List, or the first 20.
	Chosen []string

	// Limited is called once, when AllSymbols has more than Max. It may be nil.
	Limited func(symbols int)
}

// maxChosen bounds the chosen symbols if the policy names none.
const maxChosen = 20

func (p SymbolPolicy) withDefaults() SymbolPolicy {
	setDefault(&p.Max, 2000)
	return p
}

// shown returns the symbols with their own series. limited reports that these are not all because there are too many.
func (p *SymbolPolicy) shown(all []string) (shown []string, limited bool) {
	switch {
	case p.Mode == NoSymbols:
		return nil, false
	case p.Mode == AllSymbols && len(all) <= p.Max:
		return all, false
	}
	return intersect(all, p.List, p.Max), p.Mode == AllSymbols
}

// chosen returns the symbols with prices.
func (p *SymbolPolicy) chosen(all []string) []string {
	if p.Mode == NoSymbols && p.Chosen == nil {
		return nil
	}
	for _, list := range [][]string{p.Chosen, p.List} {
		if list != nil {
			return intersect(all, list, p.Max)
		}
	}
	return all[:min(len(all), maxChosen)]
}

// intersect returns at most n of the symbols in both lists, in the order of all.
func intersect(all, list []string, n int) (both []string) {
	wanted := make(map[string]bool, len(list))
	for _, s := range list {
		wanted[s] = true
	}
	for _, s := range all {
		if wanted[s] && len(both) < n {
			both = append(both, s)
		}
	}
	return both
}
