package binance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/orderbook"
)

// A Handler receives every record of every symbol, one call at a time. The record and what it points
// to are valid until it returns. While it runs, frames wait in the queues of the connections. It
// may call View and Status, which show the book with all that came together: after a snapshot, with the
// updates that waited for it. An error it returns stops Run.
//
// ctx has the values of Run's and ends five seconds after it, so that what is in hand then, and the Gap
// records that end every known book, can still be brought away.
type Handler func(ctx context.Context, rec *marketprism.Record) error

// A DepthConfig says what a DepthSyncer follows. Only Symbols or AllTrading has to be set.
type DepthConfig struct {
	// Symbols are as the exchange spells them: "BTCUSDT". Of one that it lists no longer StatusChanged tells, with a To
	// of "". It stays until Remove, and its snapshot is asked for again and again, every Sync.RetryMax.
	Symbols []string

	// AllTrading follows all symbols that the filter chooses besides Symbols, and keeps to that while
	// symbols are listed, halted and delisted. Nil means none.
	AllTrading *SymbolFilter

	// PollEvery is how often the exchange is asked for the status of its symbols, a request of weight 20
	// on spot. 0 means 5 minutes, or one with AllTrading; negative means never after the beginning.
	PollEvery time.Duration

	// Interval is the speed of the depth stream; 0 means the fastest: 100 ms, or 20 ms of spot's SBE streams, which
	// have no other. Spot also has 1 s, the futures markets 250 and 500 ms.
	Interval time.Duration

	SnapshotLimit int // levels a side that each book is known to, if the exchange has them; 0 means 1000

	// FirstLimit is the levels a side in the snapshot that makes a book known, which is then deepened to
	// SnapshotLimit without an interruption. 0 means 100 where the deep snapshots of all symbols take
	// more than half of a minute's request weight, and SnapshotLimit otherwise.
	FirstLimit int

	// Trades, AggTrades and Tickers add these streams of every symbol. They come out as records.
	Trades, AggTrades, Tickers bool

	// Sync sets the bounds of each book's Syncer. Its Continuity is the Market's, whatever it says;
	// its SnapshotTimeout bounds a request from when it is sent, so that time spent waiting for
	// request weight does not count. Refreshes wait for request weight as well, before they begin.
	// Its RefreshDepth of 0 means half of SnapshotLimit, and at least one more than a shallow first
	// snapshot has; negative means never. Its MaxDepth of 0 means ten times SnapshotLimit.
	Sync orderbook.SyncerConfig

	Handler Handler // nil means none

	// TopLevels is how many of the best levels a side of each book are published for Top and Watch.
	// 0 means none, which saves a copy with each change.
	TopLevels int

	// QueueFrames and QueueBytes bound what waits between one connection and its books. 0 means 4096
	// frames and 64 MiB. Beyond, frames are dropped: the symbols concerned get a Gap with the reason
	// GapOverflow and are resynced, and pings are answered all the same.
	QueueFrames, QueueBytes int

	StreamsPerConn int // streams on one connection; 0 means the market's limit

	// Redundancy is how many connections carry each stream; 0 means 1, the most is 2. With 2 either may
	// end at any moment without a gap: the first to bring an event wins.
	Redundancy int

	// MaxConnAge is the age at which a connection is replaced, up to an eighth less so that not all are
	// replaced at once. 0 means 23 h, an hour before the exchange ends it; negative means that it is
	// kept until the exchange ends it, or announces that it will.
	MaxConnAge time.Duration

	// StreamTimeout is how long a stream may be silent on a connection where others are not, and how long
	// a connection may bring no event at all, until that stream is subscribed again and its book
	// refreshed, or that connection replaced. 0 means 15 minutes; negative means for ever.
	StreamTimeout time.Duration

	// MaxTradeFill is how many trades are fetched for one hole in their ids at most; a longer hole is
	// reported as missed. 0 means 5000, negative means that none are fetched.
	MaxTradeFill int

	// ReconnectMin and ReconnectMax bound the random delay before a reconnect: its upper bound doubles
	// from the first to the second with each connection that lasted less than the second. 0 means
	// 500 ms and 30 s.
	ReconnectMin, ReconnectMax time.Duration

	// Seed makes what is left to chance repeat, for simulations: each connection draws its delays and its
	// ages from the Seed and from its number, whatever the others do. 0 means other numbers in every run,
	// as it should be in production: programs with one Seed would come back at one moment.
	Seed uint64

	AckTimeout time.Duration // for the exchange to acknowledge a subscription; 0 means 10 s

	// SkipSymbolCheck leaves out the question, of weight 20 on spot, whether the exchange lists the
	// symbols. One that it does not list is then never synced, and nothing else tells.
	SkipSymbolCheck bool
}

const defaultSnapshotLimit = 1000

// listing is the number from which the delays of the first question to the exchange are drawn.
const listing = math.MaxUint64

// random returns the source of chance for the connection of that number.
func (cfg *DepthConfig) random(number uint64) *rand.Rand {
	seed := cfg.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	return rand.New(rand.NewPCG(seed, number))
}

// withDefaults validates cfg and fills in what is zero.
func (cfg DepthConfig) withDefaults(m *market) (DepthConfig, error) {
	defaults.Set(&cfg.QueueFrames, 4096)
	defaults.Set(&cfg.QueueBytes, 64<<20)
	defaults.Set(&cfg.StreamsPerConn, m.maxStreams)
	defaults.Set(&cfg.Redundancy, 1)
	defaults.Set(&cfg.StreamTimeout, 15*time.Minute)
	defaults.Set(&cfg.MaxTradeFill, 5000)
	defaults.Set(&cfg.MaxConnAge, 23*time.Hour)
	defaults.Set(&cfg.ReconnectMin, 500*time.Millisecond)
	defaults.Set(&cfg.ReconnectMax, max(30*time.Second, cfg.ReconnectMin))
	switch {
	case cfg.AllTrading != nil:
		defaults.Set(&cfg.PollEvery, time.Minute)
	case cfg.SkipSymbolCheck:
		defaults.Set(&cfg.PollEvery, -1)
	default:
		defaults.Set(&cfg.PollEvery, 5*time.Minute)
	}
	defaults.Set(&cfg.AckTimeout, 10*time.Second)
	defaults.Set(&cfg.Sync.SnapshotTimeout, 20*time.Second)
	if cfg.Sync.SnapshotTimeout < 0 {
		cfg.Sync.SnapshotTimeout = math.MaxInt64
	}
	cfg.Sync.Continuity = m.name.Continuity()

	perSymbol := 1
	for _, on := range [...]bool{cfg.Trades, cfg.AggTrades, cfg.Tickers} {
		if on {
			perSymbol++
		}
	}
	switch {
	case cfg.QueueFrames < 1 || cfg.QueueBytes < 1:
		return cfg, fmt.Errorf("binance: QueueFrames %d, QueueBytes %d: want positive bounds", cfg.QueueFrames, cfg.QueueBytes)
	case cfg.TopLevels < 0:
		return cfg, fmt.Errorf("binance: TopLevels %d: want 0 or more", cfg.TopLevels)
	case cfg.StreamsPerConn < perSymbol || cfg.StreamsPerConn > m.maxStreams:
		return cfg, fmt.Errorf("binance: StreamsPerConn %d: want %d to %d", cfg.StreamsPerConn, perSymbol, m.maxStreams)
	case cfg.AggTrades && m.sbe:
		return cfg, errors.New("binance: AggTrades: the SBE streams have none")
	case cfg.Redundancy < 1 || cfg.Redundancy > 2:
		return cfg, fmt.Errorf("binance: Redundancy %d: want 1 or 2", cfg.Redundancy)
	case cfg.ReconnectMin < 0 || cfg.ReconnectMax < cfg.ReconnectMin:
		return cfg, fmt.Errorf("binance: ReconnectMin %v, ReconnectMax %v: want 0 < ReconnectMin <= ReconnectMax", cfg.ReconnectMin, cfg.ReconnectMax)
	case cfg.AckTimeout < 0:
		return cfg, fmt.Errorf("binance: AckTimeout %v: want a positive time", cfg.AckTimeout)
	}
	if err := cfg.checkDepths(m); err != nil {
		return cfg, err
	}
	return cfg, checkSymbols(&cfg)
}

func checkSymbols(cfg *DepthConfig) error {
	if len(cfg.Symbols) == 0 && cfg.AllTrading == nil {
		return errors.New("binance: DepthConfig.Symbols is empty, and AllTrading is not set")
	}
	seen := make(map[string]bool, len(cfg.Symbols))
	for _, s := range cfg.Symbols {
		if s == "" || seen[s] {
			return fmt.Errorf("binance: DepthConfig.Symbols: %q is empty or named twice", s)
		}
		seen[s] = true
	}
	return nil
}
