package binance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A Handler receives every record of every symbol, one call at a time. The record and what it points
// to are valid until it returns. While it runs, frames wait in the queues of the connections. It
// may call View and Status, which show the book with all that came together: after a snapshot, with the
// updates that waited for it. An error it returns stops Run.
//
// ctx is Run's, except for the Gap records that end every known book when Run stops: they come with a
// context that ends a few seconds later.
type Handler func(ctx context.Context, rec *marketprism.Record) error

// A DepthConfig says what a DepthSyncer follows. Only Symbols has to be set.
type DepthConfig struct {
	Symbols []string // as the exchange spells them: "BTCUSDT"

	// Interval is the speed of the depth stream; 0 means 100 ms. Spot also has 1 s, the futures
	// markets 250 and 500 ms.
	Interval time.Duration

	SnapshotLimit int // levels a side in a snapshot; 0 means 1000

	// Trades, AggTrades and Tickers add these streams of every symbol. They come out as records.
	Trades, AggTrades, Tickers bool

	// Sync sets the bounds of each book's Syncer. Its Continuity is the Market's, whatever it says;
	// its SnapshotTimeout bounds a request from when it is sent, so that time spent waiting for
	// request weight does not count.
	Sync orderbook.SyncerConfig

	Handler Handler // nil means none

	// QueueFrames and QueueBytes bound what waits between one connection and its books. 0 means 4096
	// frames and 64 MiB. Beyond, frames are dropped: the symbols concerned get a Gap with the reason
	// GapOverflow and are resynced, and pings are answered all the same.
	QueueFrames, QueueBytes int

	SnapshotWorkers int // snapshots requested at a time; 0 means 4
	StreamsPerConn  int // streams on one connection; 0 means the market's limit

	// ReconnectMin and ReconnectMax bound the random delay before a reconnect: its upper bound doubles
	// from the first to the second with each connection that lasted less than the second. 0 means
	// 500 ms and 30 s.
	ReconnectMin, ReconnectMax time.Duration

	AckTimeout time.Duration // for the exchange to acknowledge a subscription; 0 means 10 s

	// SkipSymbolCheck leaves out the question, of weight 20 on spot, whether the exchange lists the
	// symbols. One that it does not list is then never synced, and nothing else tells.
	SkipSymbolCheck bool
}

const defaultSnapshotLimit = 1000

// withDefaults validates cfg and fills in what is zero.
func (cfg DepthConfig) withDefaults(m *market) (DepthConfig, error) {
	setDefault(&cfg.SnapshotLimit, defaultSnapshotLimit)
	setDefault(&cfg.QueueFrames, 4096)
	setDefault(&cfg.QueueBytes, 64<<20)
	setDefault(&cfg.SnapshotWorkers, 4)
	setDefault(&cfg.StreamsPerConn, m.maxStreams)
	setDefault(&cfg.ReconnectMin, 500*time.Millisecond)
	setDefault(&cfg.ReconnectMax, max(30*time.Second, cfg.ReconnectMin))
	setDefault(&cfg.AckTimeout, 10*time.Second)
	setDefault(&cfg.Sync.SnapshotTimeout, 20*time.Second)
	if cfg.Sync.SnapshotTimeout < 0 {
		cfg.Sync.SnapshotTimeout = math.MaxInt64
	}
	cfg.Sync.Continuity = m.continuity

	perSymbol := 1
	for _, on := range [...]bool{cfg.Trades, cfg.AggTrades, cfg.Tickers} {
		if on {
			perSymbol++
		}
	}
	switch {
	case cfg.QueueFrames < 1 || cfg.QueueBytes < 1:
		return cfg, fmt.Errorf("binance: QueueFrames %d, QueueBytes %d: want positive bounds", cfg.QueueFrames, cfg.QueueBytes)
	case cfg.SnapshotWorkers < 1:
		return cfg, fmt.Errorf("binance: SnapshotWorkers %d: want at least 1", cfg.SnapshotWorkers)
	case cfg.StreamsPerConn < perSymbol || cfg.StreamsPerConn > m.maxStreams:
		return cfg, fmt.Errorf("binance: StreamsPerConn %d: want %d to %d", cfg.StreamsPerConn, perSymbol, m.maxStreams)
	case cfg.ReconnectMin < 0 || cfg.ReconnectMax < cfg.ReconnectMin:
		return cfg, fmt.Errorf("binance: ReconnectMin %v, ReconnectMax %v: want 0 < ReconnectMin <= ReconnectMax", cfg.ReconnectMin, cfg.ReconnectMax)
	case cfg.AckTimeout < 0:
		return cfg, fmt.Errorf("binance: AckTimeout %v: want a positive time", cfg.AckTimeout)
	}
	if err := m.checkDepth(cfg.SnapshotLimit); err != nil {
		return cfg, err
	}
	return cfg, checkSymbols(cfg.Symbols)
}

func checkSymbols(symbols []string) error {
	if len(symbols) == 0 {
		return errors.New("binance: DepthConfig.Symbols is empty")
	}
	seen := make(map[string]bool, len(symbols))
	for _, s := range symbols {
		if s == "" || seen[s] {
			return fmt.Errorf("binance: DepthConfig.Symbols: %q is empty or named twice", s)
		}
		seen[s] = true
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
