package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Archive returns the part of an archiver of that name, whose Store has that prefix before its tables.
// Call it once.
func (m *Metrics) Archive(archiver, tablePrefix string) *Archive {
	a := &Archive{
		m: m, archiver: archiver, prefix: tablePrefix, begun: time.Now(), up: m.number(StoreStatus),
		lag: make(map[string]prometheus.Observer), took: make(map[string]prometheus.Observer),
		rows: make(map[string]prometheus.Observer), answered: make(map[string]prometheus.Observer),
	}
	for _, t := range tables {
		a.lag[t], a.took[t], a.rows[t] = m.histogram(ArchiverLag, t), m.histogram(StoreInsert, t), m.histogram(ArchiverBatch, t)
	}
	for _, op := range storeOps() {
		a.answered[op] = m.histogram(StoreQuery, op)
	}
	m.source(a.collect)
	m.poll(poll{what: "store", ask: a.ping})
	m.poll(poll{what: "sizes of the store", seldom: true, ask: a.measure})
	return a
}

// Bus returns the part of the connection to NATS. Call it once.
func (m *Metrics) Bus() *Bus {
	b := &Bus{m: m, errors: m.closed(BusErrors)}
	m.source(func(give emit) {
		b.mu.Lock()
		defer b.mu.Unlock()
		var reconnects uint64
		if b.conn != nil {
			reconnects = b.conn.Stats().Reconnects
		}
		give(BusStatus, truth(b.conn != nil && b.conn.IsConnected()))
		give(BusReconnects, float64(reconnects))
	})
	return b
}

// Spill returns the part of the program's disk queue. Call it once.
func (m *Metrics) Spill() *Spill {
	s := new(Spill)
	m.source(s.collect)
	return s
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
