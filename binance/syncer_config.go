package binance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/orderbook"
)

// A Handler receives every record of every symbol, one call at a time. The record and what it points
// to are valid until it returns. While it runs, frames wait in the queues of the connections. It may call
// any method. View and Status show the book with all records of one change: after a snapshot, with the
// updates that were pending for it. An error it returns stops Run, but it must not wait for the end of Run.
//
// ctx has the values of Run's and ends five seconds after it, so that the handler can finish the current
// record and take the Gap records that end every synced book.
type Handler func(ctx context.Context, rec *marketprism.Record) error

// A DepthConfig configures a DepthSyncer. Only Symbols or AllTrading has to be set.
type DepthConfig struct {
	// Symbols are as the exchange spells them: "BTCUSDT". Where many books wait for their snapshots, those that the
	// program has asked for since they were last synced (View, Top, Watch, or Ready by name) come first, then the
	// others in the order in which they were added: Symbols as they are here, then those of AllTrading. When a symbol is delisted, StatusChanged is
	// called with To == "". It stays until Remove, and its snapshot is requested every RetryMax.
	Symbols []string

	// AllTrading adds all symbols that the filter chooses to Symbols, and adds and removes symbols as they
	// are listed, halted and delisted. Nil means none.
	AllTrading *SymbolFilter

	// PollEvery is how often the exchange is asked for the status of its symbols, a request of weight 20
	// on spot. 0 means 5 minutes, or one with AllTrading; negative means never after the start. After an answer
	// that is no listing, or that lacks symbols, it is asked again in seconds, then with a delay that doubles up to
	// PollEvery. A symbol is delisted when two answers in a row lack it.
	PollEvery time.Duration

	// Interval is the speed of the depth stream; 0 means the fastest: 100 ms, or 20 ms of spot's SBE streams, which
	// have no other. Spot also has 1 s, the futures markets 250 and 500 ms.
	Interval time.Duration

	SnapshotLimit int // levels a side to which each book is known, if the exchange has them; 0 means 1000

	// FirstLimit is the levels a side of the snapshot that first syncs a book, which a refresh then deepens
	// to SnapshotLimit without an interruption. 0 means 100 where the deep snapshots of all symbols take
	// more than half of a minute's request weight, and SnapshotLimit otherwise.
	FirstLimit int

	// RefreshEvery is the time from a sync or the end of a refresh to the next refresh, which is also an
	// audit. 0 or negative means never. Refreshes wait for request weight before they begin.
	RefreshEvery time.Duration

	// RefreshDepth refreshes a book when the best so many levels of a side are no longer known: at once
	// after a sync, at the earliest RetryMax after another refresh. 0 means half of SnapshotLimit, and at
	// least one more than a shallow first snapshot has; negative means never.
	RefreshDepth int

	// MaxDepth bounds the levels of a side of a book, which is pruned when it exceeds that by an eighth. It must be
	// more than RefreshDepth, whose default it bounds. 0 means ten times SnapshotLimit, negative means no bound.
	MaxDepth int

	// MaxBuffered and MaxBufferedBytes bound the updates of a symbol that wait for a snapshot. 0 means 4096
	// updates and 16 MiB. Beyond, the book gets a Gap of the reason GapOverflow.
	MaxBuffered, MaxBufferedBytes int

	// MaxStale is how many updates in a row may lie before the book's id until the exchange's ids are taken
	// to have gone back. 0 means 512, negative means any number.
	MaxStale int

	// SnapshotTimeout bounds a snapshot request from when it is sent: the time it waits for request weight
	// does not count. 0 means 20 s; negative, and more than Config.RequestTimeout, mean RequestTimeout.
	SnapshotTimeout time.Duration

	// RetryMin and RetryMax bound the delay before the next snapshot request of a symbol after one that
	// failed or was too old: it doubles from the first to the second. 0 means 250 ms and 30 s, or RetryMin
	// if that is more.
	RetryMin, RetryMax time.Duration

	// Trades, AggTrades and Tickers add these streams of every symbol.
	Trades, AggTrades, Tickers bool

	Handler Handler // nil means none

	// TopLevels is how many of the best levels a side of each book are published for Top and Watch.
	// 0 means none, which saves a copy with each change.
	TopLevels int

	// QueueFrames and QueueBytes bound what is queued between one connection and its books. 0 means 131,072
	// frames and 64 MiB, which are used only while the books are behind. Beyond, the connection is not read
	// further: its socket and the exchange hold the rest, as long as pings can still be answered in time, 50 s
	// on spot. Then the frames of a few streams are dropped, of more the longer it lasts: their symbols get a Gap
	// of the reason GapOverflow, and start over when the connection has caught up.
	QueueFrames, QueueBytes int

	// StreamsPerConn is how many streams a connection carries, at most 1024. 0 means 1024, and 200 on COIN-M,
	// where one page of the exchange's documents says 200 and another 1024.
	StreamsPerConn int

	// Redundancy is how many connections carry each stream; 0 means 1, the most is 2. With 2 either may
	// end at any moment without a gap: the first to bring an event wins.
	Redundancy int

	// MaxConnAge is the age at which a connection is replaced, up to an eighth less so that they are not
	// all replaced at once. 0 means 23 h, an hour before the exchange ends it; negative means that it is
	// kept until the exchange ends it, or announces that it will.
	MaxConnAge time.Duration

	// StreamTimeout is how long a stream may be silent while others of its connection are not; then it is
	// subscribed again and its book refreshed. It is also how long a connection may bring no event at all;
	// then it is replaced. 0 means 15 minutes; negative means any time.
	StreamTimeout time.Duration

	// MaxTradeBackfill is how many trades are fetched at most for one missing range of ids; a longer one
	// is only reported, as are an 18th range of a stream while 17 are being fetched or wait for it, and one that
	// could not be fetched within an hour. 0 means 5000, negative means that none are fetched. The requests
	// that wait are in Usage.Queued, at PriorityTrades.
	MaxTradeBackfill int

	// ReconnectMin and ReconnectMax bound the random delay before a reconnect: its upper bound doubles
	// from the first to the second with each connection that lasted less than the second. 0 means
	// 500 ms and 30 s.
	ReconnectMin, ReconnectMax time.Duration

	// Seed makes random choices repeatable, for simulations: each connection draws its delays and its
	// ages from the Seed and from its number, independently of the others. 0 means other numbers in every
	// run, as it should be in production: programs with one Seed would reconnect at the same moment.
	Seed uint64

	// AckTimeout is how long the exchange may take to acknowledge a subscription, from when the request was
	// written and again from each answer to another one. 0 means 10 s.
	AckTimeout time.Duration

	// SkipSymbolCheck leaves out the first listing, of weight 20 on spot, which checks that the exchange
	// lists the symbols. A symbol that it does not list is then not synced, and the others are: where the
	// exchange refuses it, in a subscription or a snapshot, Hooks.Refused is called, and it is asked for again after
	// RetryMax, then less often, up to 32 times that for a subscription; where it says nothing, nothing comes.
	SkipSymbolCheck bool
}

const (
	defaultSnapshotLimit = 1000

	// As orderbook.SyncerConfig has them.
	defaultRetryMin = 250 * time.Millisecond
	defaultRetryMax = 30 * time.Second
)

// random returns the random source of the connection of that number.
func (cfg *DepthConfig) random(number uint64) *rand.Rand {
	seed := cfg.Seed
	if seed == 0 {
		seed = rand.Uint64() // #nosec G404 -- spreads attempts and lifetimes
	}
	return rand.New(rand.NewPCG(seed, number)) // #nosec G404 -- spreads attempts and lifetimes
}

// withDefaults validates cfg and fills in what is zero.
func (cfg DepthConfig) withDefaults(m *market) (DepthConfig, error) {
	defaults.Set(&cfg.QueueFrames, 1<<17)
	defaults.Set(&cfg.QueueBytes, 64<<20)
	defaults.Set(&cfg.StreamsPerConn, m.usualStreams)
	defaults.Set(&cfg.Redundancy, 1)
	defaults.Set(&cfg.StreamTimeout, 15*time.Minute)
	defaults.Set(&cfg.MaxTradeBackfill, 5000)
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
	defaults.Set(&cfg.SnapshotTimeout, 20*time.Second)
	if cfg.SnapshotTimeout < 0 {
		cfg.SnapshotTimeout = math.MaxInt64
	}

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

// maxSymbol bounds a symbol in bytes, far above the exchange's: the name of a stream has to fit into a request.
const maxSymbol = 256

// checkSymbol returns an error for a symbol that cannot be one.
func checkSymbol(symbol string) error {
	if symbol == "" || len(symbol) > maxSymbol {
		return fmt.Errorf("binance: symbol of %d bytes: want 1 to %d", len(symbol), maxSymbol)
	}
	return nil
}

func checkSymbols(cfg *DepthConfig) error {
	if len(cfg.Symbols) == 0 && cfg.AllTrading == nil {
		return errors.New("binance: DepthConfig.Symbols is empty, and AllTrading is not set")
	}
	seen := make(map[string]bool, len(cfg.Symbols))
	for _, s := range cfg.Symbols {
		if err := checkSymbol(s); err != nil {
			return fmt.Errorf("%w, in DepthConfig.Symbols", err)
		}
		if seen[s] {
			return fmt.Errorf("binance: DepthConfig.Symbols: %q is named twice", s)
		}
		seen[s] = true
	}
	return nil
}

// checkDepths fills in and validates how deep books are.
func (cfg *DepthConfig) checkDepths(m *market) error {
	defaults.Set(&cfg.SnapshotLimit, defaultSnapshotLimit)
	defaults.Set(&cfg.RetryMin, defaultRetryMin)
	defaults.Set(&cfg.RetryMax, max(defaultRetryMax, cfg.RetryMin))
	defaults.Set(&cfg.MaxDepth, 10*cfg.SnapshotLimit)
	if cfg.RefreshDepth == 0 {
		cfg.RefreshDepth = max(1, cfg.SnapshotLimit/2)
		if first := cmp.Or(cfg.FirstLimit, shallowLimit); first < cfg.SnapshotLimit {
			cfg.RefreshDepth = max(cfg.RefreshDepth, first+1)
		}
		if cfg.MaxDepth > 0 {
			cfg.RefreshDepth = min(cfg.RefreshDepth, cfg.MaxDepth-1)
		}
	}
	if err := m.checkDepth(cfg.SnapshotLimit); err != nil {
		return err
	}
	if cfg.FirstLimit != 0 {
		if err := m.checkDepth(cfg.FirstLimit); err != nil {
			return err
		}
	}
	if cfg.MaxDepth > 0 && cfg.RefreshDepth >= cfg.MaxDepth {
		return fmt.Errorf("binance: RefreshDepth %d, MaxDepth %d: a pruned book would be refreshed again and again", cfg.RefreshDepth, cfg.MaxDepth)
	}
	if cfg.FirstLimit > cfg.SnapshotLimit || cfg.RefreshDepth > cfg.SnapshotLimit {
		return fmt.Errorf("binance: FirstLimit %d, RefreshDepth %d: want at most the SnapshotLimit, %d", cfg.FirstLimit, cfg.RefreshDepth, cfg.SnapshotLimit)
	}
	return nil
}

// syncer returns the configuration of a book's Syncer. The snapshotFetcher bounds each request from when
// it is sent, and the refresher schedules refreshes, since they wait for request weight.
func (cfg *DepthConfig) syncer(m *market) orderbook.SyncerConfig {
	return orderbook.SyncerConfig{
		Continuity:  m.name.Continuity(),
		MaxBuffered: cfg.MaxBuffered, MaxBufferedBytes: cfg.MaxBufferedBytes,
		MaxDepth: cfg.MaxDepth, MaxStale: cfg.MaxStale,
		RetryMin: cfg.RetryMin, RetryMax: cfg.RetryMax,
		SnapshotTimeout: -1,
	}
}

// RouteSymbols returns a Handler that gives each record to the Handler of its symbol, spelled as the
// exchange does, and that of all other symbols to rest. A nil Handler ignores its records. The map is
// copied: later changes of it have no effect.
//
// Order, goroutine and errors are those of DepthConfig.Handler: one call at a time among all symbols, on
// the goroutine of a shard (see Hooks), so a slow one delays the others; an error stops Run. A symbol's last
// record after DepthSyncer.Remove is the Gap of the reason GapRemoved, if its book was synced; its route
// stays, and gets its records if the symbol is added again. Routing allocates nothing.
func RouteSymbols(routes map[string]Handler, rest Handler) Handler {
	routes = maps.Clone(routes)
	return func(ctx context.Context, rec *marketprism.Record) error {
		h, ok := routes[rec.Instrument.Symbol]
		if !ok {
			h = rest
		}
		if h == nil {
			return nil
		}
		return h(ctx, rec)
	}
}
