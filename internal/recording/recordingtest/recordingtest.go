// Package recordingtest makes records of recordings of the exchange, for the tests of what stores or writes records.
package recordingtest

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/recording"
	"github.com/marketprism/marketprism/orderbook"
)

// Collect calls emit with each record that a collector makes of the recording at path, which may be kept. synced is the
// Syncer's book after the last record of a frame or a snapshot, until emit returns; nil for all other records. The test
// is skipped if there is no recording, and fails at a Gap.
func Collect(t testing.TB, market marketprism.Market, path string, emit func(rec marketprism.Record, synced *orderbook.Book)) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no recordings of the exchange beside the repository: %v", err)
	}
	r, err := recording.Open(path)
	require.NoError(t, err)
	defer r.Close()
	c := &collector{t: t, market: market, emit: emit, syncers: make(map[string]*orderbook.Syncer), fetches: make(map[string]orderbook.FetchID)}
	var d binance.Decoder
	for line, err := range r.Lines() {
		require.NoError(t, err)
		if symbol, ok := line.DepthSymbol(); ok {
			var snap orderbook.Snapshot
			_, err := d.DecodeSnapshot(line.Body, &snap)
			require.NoError(t, err)
			s := c.syncer(symbol, line.ReceivedAt)
			c.apply(symbol, line.ReceivedAt, s.Snapshot(line.ReceivedAt, c.fetches[symbol], snap.Clone()))
			continue
		}
		var m binance.Message // not used again: records keep what it points to
		require.NoError(t, d.Decode(line.Frame, &m))
		rec := c.record(m.Symbol, line.ReceivedAt)
		rec.EventTime = m.EventTime
		switch m.Type {
		case binance.MessageDepth:
			c.apply(m.Symbol, line.ReceivedAt, c.syncer(m.Symbol, line.ReceivedAt).Update(line.ReceivedAt, m.Update.Clone()))
			continue
		case binance.MessageTrade:
			rec.Trade = &m.Trade
		case binance.MessageTicker:
			rec.Ticker = &m.Ticker
		default:
			continue
		}
		emit(rec, nil)
	}
}

// A collector is what Collect keeps of each symbol.
type collector struct {
	t       testing.TB
	market  marketprism.Market
	emit    func(marketprism.Record, *orderbook.Book)
	syncers map[string]*orderbook.Syncer
	fetches map[string]orderbook.FetchID
}

func (c *collector) record(symbol string, at time.Time) marketprism.Record {
	return marketprism.Record{Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: c.market, Symbol: symbol}, ReceivedAt: at}
}

func (c *collector) syncer(symbol string, at time.Time) *orderbook.Syncer {
	if c.syncers[symbol] == nil {
		s, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: c.market.Continuity()})
		require.NoError(c.t, err)
		c.syncers[symbol] = s
		c.fetches[symbol] = s.Connected(at).Fetch
	}
	return c.syncers[symbol]
}

// apply emits the events of a Syncer.
func (c *collector) apply(symbol string, at time.Time, out orderbook.Output) {
	for i, event := range out.Events {
		rec := c.record(symbol, at)
		switch {
		case event.Snapshot != nil:
			rec.Snapshot, rec.EventTime = event.Snapshot.Clone(), event.Snapshot.EventTime
		case event.Update != nil:
			rec.Update, rec.EventTime = event.Update.Clone(), event.Update.EventTime
		default:
			c.t.Fatalf("%s: %v", symbol, event.Gap)
		}
		var synced *orderbook.Book
		if i == len(out.Events)-1 {
			synced = c.syncers[symbol].Book()
		}
		c.emit(rec, synced)
	}
}
