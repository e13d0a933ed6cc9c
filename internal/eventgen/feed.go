package eventgen

import (
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A Config says what to make up.
type Config struct {
	Symbol string // "" means BTCUSDT
	Levels int    // of each side of the book, at the start and, within a few percent, all the time; 0 means 1000
	Events int    // 0 means 1024
	Seed   uint64 // every value is a seed
}

// A Feed is a snapshot and the updates that follow it without a hole.
type Feed struct {
	Symbol   string
	Snapshot orderbook.Snapshot
	Updates  []orderbook.Update
}

const (
	firstID  = 60_000_000_000
	interval = 100 * time.Millisecond

	minChanges, maxChanges = 20, 60 // levels of one event
)

// New makes up a feed. Equal configurations give equal feeds.
func New(cfg Config) *Feed {
	if cfg.Events == 0 {
		cfg.Events = 1024
	}
	s := NewStream(cfg)
	f := &Feed{Symbol: s.Symbol, Snapshot: s.Snapshot}
	for range cfg.Events {
		f.Updates = append(f.Updates, s.Next())
	}
	return f
}

// A Stream is a feed without an end, made up one update at a time, for what does not fit in memory.
type Stream struct {
	Symbol   string
	Snapshot orderbook.Snapshot // what the first update follows

	market *market
	now    time.Time
	id     int64
}

// NewStream makes up a stream: its first updates are those of the feed of the same configuration,
// whose Events it does not heed.
func NewStream(cfg Config) *Stream {
	if cfg.Symbol == "" {
		cfg.Symbol = "BTCUSDT"
	}
	if cfg.Levels == 0 {
		cfg.Levels = 1000
	}
	m := newMarket(cfg.Levels, rand.New(rand.NewPCG(cfg.Seed, 0)))
	return &Stream{
		Symbol:   cfg.Symbol,
		Snapshot: orderbook.Snapshot{LastID: firstID, Bids: m.bids.snapshot(), Asks: m.asks.snapshot()},
		market:   m, now: time.UnixMilli(1_770_000_000_000).UTC(), id: firstID,
	}
}

// Next makes up the next update, which is the caller's.
func (s *Stream) Next() orderbook.Update {
	m := s.market
	n := minChanges + m.rand.IntN(maxChanges-minChanges+1)
	ofBids := n/4 + m.rand.IntN(n/2+1)
	u := orderbook.Update{
		FirstID:   s.id + 1,
		LastID:    s.id + int64(n+m.rand.IntN(n)),
		EventTime: s.now.Add(time.Duration(m.rand.IntN(5)) * time.Millisecond),
		Bids:      m.change(&m.bids, ofBids),
		Asks:      m.change(&m.asks, n-ofBids),
	}
	s.id = u.LastID
	s.now = s.now.Add(interval)
	return u
}
