package eventgen

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A Config configures a feed.
type Config struct {
	Symbol string // "" means BTCUSDT
	Levels int    // of each side of the book, at the start and later within a few percent; 0 means 1000
	Events int    // 0 means 1024
	Seed   uint64
}

// A Feed is a snapshot and the updates that follow it without a gap.
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

// New generates a feed. Equal configurations give equal feeds.
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

// A Stream is an endless feed that generates one update at a time.
type Stream struct {
	Symbol   string
	Snapshot orderbook.Snapshot // the state before the first update

	market *market
	now    time.Time
	id     int64
}

// NewStream returns a stream. Its first updates are those of the feed of the same configuration. It ignores
// Config.Events.
func NewStream(cfg Config) *Stream {
	if cfg.Symbol == "" {
		cfg.Symbol = "BTCUSDT"
	}
	if cfg.Levels == 0 {
		cfg.Levels = 1000
	}
	m := newMarket(cfg.Levels, rand.New(rand.NewPCG(cfg.Seed, 0))) // #nosec G404 -- simulated, by a seed
	return &Stream{
		Symbol:   cfg.Symbol,
		Snapshot: orderbook.Snapshot{LastID: firstID, Bids: m.bids.snapshot(), Asks: m.asks.snapshot()},
		market:   m, now: time.UnixMilli(1_770_000_000_000).UTC(), id: firstID,
	}
}

// Next generates the next update. The caller owns it.
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

// SnapshotJSON returns the snapshot as the answer of Binance spot's REST depth endpoint.
func (f *Feed) SnapshotJSON() []byte {
	b := fmt.Appendf(nil, `{"lastUpdateId":%d,"bids":`, f.Snapshot.LastID)
	b = AppendLevels(b, f.Snapshot.Bids)
	b = append(b, `,"asks":`...)
	b = AppendLevels(b, f.Snapshot.Asks)
	return append(b, '}')
}

// RawFrames returns each update as Binance spot sends it on a raw connection.
func (f *Feed) RawFrames() [][]byte {
	frames := make([][]byte, len(f.Updates))
	for i := range f.Updates {
		frames[i] = AppendUpdate(nil, f.Symbol, &f.Updates[i])
	}
	return frames
}

// CombinedFrames returns each update as Binance spot sends it on a combined connection.
func (f *Feed) CombinedFrames() [][]byte {
	frames := make([][]byte, len(f.Updates))
	for i := range f.Updates {
		b := fmt.Appendf(nil, `{"stream":"%s@depth@100ms","data":`, strings.ToLower(f.Symbol))
		frames[i] = append(AppendUpdate(b, f.Symbol, &f.Updates[i]), '}')
	}
	return frames
}

// AppendUpdate appends an update as Binance spot sends it on a raw connection.
func AppendUpdate(b []byte, symbol string, u *orderbook.Update) []byte {
	b = fmt.Appendf(b, `{"e":"depthUpdate","E":%d,"s":"%s","U":%d,"u":%d,"b":`,
		u.EventTime.UnixMilli(), symbol, u.FirstID, u.LastID)
	b = AppendLevels(b, u.Bids)
	b = append(b, `,"a":`...)
	b = AppendLevels(b, u.Asks)
	return append(b, '}')
}

// AppendLevels appends levels as Binance spot writes them, with eight decimals.
func AppendLevels(b []byte, levels []orderbook.Level) []byte {
	b = append(b, '[')
	for i, l := range levels {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `["%d.%08d","%d.%08d"]`,
			l.Price/orderbook.One, l.Price%orderbook.One, l.Quantity/orderbook.One, l.Quantity%orderbook.One)
	}
	return append(b, ']')
}
