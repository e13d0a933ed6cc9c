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
	if cfg.Symbol == "" {
		cfg.Symbol = "BTCUSDT"
	}
	if cfg.Levels == 0 {
		cfg.Levels = 1000
	}
	if cfg.Events == 0 {
		cfg.Events = 1024
	}
	m := newMarket(cfg.Levels, rand.New(rand.NewPCG(cfg.Seed, 0)))
	now := time.UnixMilli(1_770_000_000_000).UTC()
	id := int64(firstID)
	f := &Feed{Symbol: cfg.Symbol, Snapshot: orderbook.Snapshot{
		LastID: id, Bids: m.bids.snapshot(), Asks: m.asks.snapshot(),
	}}
	for range cfg.Events {
		n := minChanges + m.rand.IntN(maxChanges-minChanges+1)
		ofBids := n/4 + m.rand.IntN(n/2+1)
		u := orderbook.Update{
			FirstID:   id + 1,
			LastID:    id + int64(n+m.rand.IntN(n)),
			EventTime: now.Add(time.Duration(m.rand.IntN(5)) * time.Millisecond),
			Bids:      m.change(&m.bids, ofBids),
			Asks:      m.change(&m.asks, n-ofBids),
		}
		f.Updates = append(f.Updates, u)
		id = u.LastID
		now = now.Add(interval)
	}
	return f
}
