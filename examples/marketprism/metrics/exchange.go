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

// An Exchange is what is measured of one market of an exchange.
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
	sums     orderbook.SyncerStats            // of all that ever happened, symbols removed since included
	previous binance.Stats
}

// Exchange returns the part of a market of Binance; the same one each time.
func (m *Metrics) Exchange(market marketprism.Market) *Exchange {
	m.mu.Lock()
	e := m.exchanges[string(market)]
	m.mu.Unlock()
	if e != nil {
		return e
	}
	e = &Exchange{m: m, venue: []string{marketprism.Binance, string(market)}}
	e.reconnects = m.closed(Reconnects, e.venue...)
	e.resyncs = m.closed(Resyncs, e.venue...)
	e.snapshots = m.closed(Snapshots, e.venue...)
	e.undecoded = m.closed(DecodeErrors, e.venue...)
	e.lag = m.histogram(EventLag, e.venue...)
	e.resyncTook = m.histogram(ResyncDuration, e.venue...)
	e.applyTook = m.histogram(ApplyDuration, e.venue...)
	e.trades = m.number(Trades, e.venue...)
	e.offset = m.number(ClockOffset, e.venue...)
	e.rest, e.restTook = make(map[string]closedSet), make(map[string]prometheus.Observer)
	for _, endpoint := range endpoints {
		e.rest[endpoint] = m.closed(RestRequests, append(e.venue[:2:2], endpoint)...)
		e.restTook[endpoint] = m.histogram(RestDuration, append(e.venue[:2:2], endpoint)...)
	}
	e.counted = make(map[string]orderbook.SyncerStats)
	m.mu.Lock()
	m.exchanges[string(market)] = e
	m.mu.Unlock()
	m.source(e.collect)
	m.poll(poll{what: "clock of " + string(market), seldom: true, ask: e.measureClock})
	return e
}

// Observe tells what is to be read at each scrape. It replaces what it was told before.
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

// One update in sampleApply is measured, and one event in sampleExemplar leaves an exemplar beside
// those that are late.
const (
	sampleApply    = 64
	sampleExemplar = 1024
	late           = time.Second
)

// Handler returns a handler that measures each record once next has taken it; nil for none.
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
		return // of the others the exchange does not tell the time, or nothing has happened there
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
		return // the same trades once more
	}
	e.trades.inc()
	if volumes := e.volumes.Load(); volumes != nil {
		if n := (*volumes)[rec.Instrument.Symbol]; n != nil {
			n.add(rec.Trade.Price.Float64() * rec.Trade.Quantity.Float64())
		}
	}
}
