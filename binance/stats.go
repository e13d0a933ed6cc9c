package binance

import (
	"sync"
	"sync/atomic"
	"time"
)

// Stats are the counters of a DepthSyncer since it was made.
type Stats struct {
	Connects    uint64 // connections opened, the first ones included
	Disconnects uint64 // connections ended
	Rotations   uint64 // connections replaced without a gap

	Frames           uint64 // read from the connections
	Bytes            uint64 // of these frames
	Dropped          uint64 // frames dropped since the queue to the books was full for too long
	QueueWaits       uint64 // times that the reader of a connection waited since its queue to the books was full
	Pauses           uint64 // times that a shard went on late, since the process was stopped or the Handler took long
	Undecoded        uint64 // frames that could not be decoded
	Unknown          uint64 // frames of a kind or of a symbol that was not subscribed
	TradeGaps        uint64 // missing ranges of trade ids, which no connection brought
	TradesBackfilled uint64 // trades fetched for them
	Watchdogs        uint64 // findings of watchdogs
	Capped           uint64 // levels received whose quantity is orderbook.MaxFixed: this or more
	Refused          uint64 // refusals of a name in a subscription or a snapshot, see Hooks.Refused
	Duplicates       uint64 // events that another connection had brought before

	// OtherTrades counts futures trades outside the market, which are no records, by type (Binance X): INSURANCE_FUND, ADL, NA,
	// and others to come. From the 17th type on they are "other". Those in a missing range are in no type.
	OtherTrades map[string]uint64

	// Events of the subscribed streams as they came: also those of a second connection, and those that
	// became no record.
	DepthEvents, TradeEvents, TickerEvents uint64

	LastEvent time.Time // local clock of the latest of these, UTC; zero if there was none

	Unread  int // rows of the latest listing that cannot be used, see ExchangeInfo
	LeftOut int // symbols that AllTrading chooses and SymbolFilter.Max leaves out

	Queued, QueueFrames int // frames queued for their books now, and the room of all queues

	// Records made.
	Updates, Snapshots, Gaps, Trades, Tickers uint64

	Audits      uint64 // refreshes that ended
	Unaudited   uint64 // refreshes that ended without a comparison
	Differences uint64 // levels found to differ from a fresh snapshot

	Checks     uint64 // comparisons of a book with a bookTicker
	Mismatches uint64 // comparisons that found a difference

	SnapshotRequests, SnapshotFailures uint64 // depth requests that ended, and those without a snapshot
}

// counters are the Stats of one shard.
type counters struct {
	tradeGaps, tradesBackfilled                             atomic.Uint64
	connects, disconnects, rotations, duplicates, watchdogs atomic.Uint64
	frames, dropped, undecoded, unknown, capped             atomic.Uint64
	waits, pauses                                           atomic.Uint64
	updates, snapshots, gaps, trades, tickers               atomic.Uint64
	requests, failures, refused                             atomic.Uint64
	audits, unaudited, differences                          atomic.Uint64
	checks, mismatches                                      atomic.Uint64
	bytes, depths, deals, bests                             atomic.Uint64
	lastEvent                                               atomic.Int64 // ns since 1970; 0 if there was none
	others                                                  typeCounts
}

// typeCounts are counts by a type that the exchange names.
type typeCounts struct {
	mu     sync.Mutex
	counts map[string]uint64
}

// maxTypes bounds the types that are counted by name.
const maxTypes = 16

func (tc *typeCounts) add(name string) {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	if tc.counts == nil {
		tc.counts = make(map[string]uint64)
	}
	if _, known := tc.counts[name]; !known && len(tc.counts) >= maxTypes {
		name = "other"
	}
	tc.counts[name]++
}

func (tc *typeCounts) addTo(sum *map[string]uint64) {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	if *sum == nil {
		*sum = make(map[string]uint64)
	}
	for name, n := range tc.counts {
		(*sum)[name] += n
	}
}

func (c *counters) addTo(s *Stats) {
	s.Connects += c.connects.Load()
	s.Disconnects += c.disconnects.Load()
	s.Rotations += c.rotations.Load()
	s.TradeGaps += c.tradeGaps.Load()
	s.TradesBackfilled += c.tradesBackfilled.Load()
	s.Watchdogs += c.watchdogs.Load()
	s.Duplicates += c.duplicates.Load()
	s.Frames += c.frames.Load()
	s.Bytes += c.bytes.Load()
	s.DepthEvents += c.depths.Load()
	s.TradeEvents += c.deals.Load()
	s.TickerEvents += c.bests.Load()
	if ns := c.lastEvent.Load(); ns > 0 {
		if at := time.Unix(0, ns).UTC(); at.After(s.LastEvent) {
			s.LastEvent = at
		}
	}
	s.Dropped += c.dropped.Load()
	s.QueueWaits += c.waits.Load()
	s.Pauses += c.pauses.Load()
	s.Undecoded += c.undecoded.Load()
	s.Unknown += c.unknown.Load()
	s.Capped += c.capped.Load()
	c.others.addTo(&s.OtherTrades)
	s.Updates += c.updates.Load()
	s.Snapshots += c.snapshots.Load()
	s.Gaps += c.gaps.Load()
	s.Trades += c.trades.Load()
	s.Tickers += c.tickers.Load()
	s.Audits += c.audits.Load()
	s.Unaudited += c.unaudited.Load()
	s.Differences += c.differences.Load()
	s.Checks += c.checks.Load()
	s.Mismatches += c.mismatches.Load()
	s.SnapshotRequests += c.requests.Load()
	s.SnapshotFailures += c.failures.Load()
	s.Refused += c.refused.Load()
}

// heard counts one event of a subscribed stream.
func (c *counters) heard(t MessageType, at time.Time) {
	switch t {
	case MessageDepth:
		c.depths.Add(1)
	case MessageTrade:
		c.deals.Add(1)
	case MessageTicker:
		c.bests.Add(1)
	}
	c.lastEvent.Store(at.UnixNano())
}
