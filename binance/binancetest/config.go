package binancetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/orderbook"
)

// Config configures New. Only Symbols or Playback is required.
type Config struct {
	Market  marketprism.Market // "" means marketprism.Spot
	Symbols []Symbol           // listed at the start; Playback adds the recording's symbols
	Seed    uint64             // of the generated books and the random walk; equal seeds give equal exchanges
	Network Network            // nil means Loopback()

	// Hosts are names under which a proxy or a hosts file reaches the server. Requests to any other name but those of
	// loopback are refused with 421: a web page that points its own name to this machine is to read nothing. nil means none.
	Hosts []string

	// Tick is the interval of the fastest depth stream, <symbol>@depth@100ms; slower streams keep
	// their proportion to it. 0 means 100 ms. Negative means no clock: Server.Tick ends each interval.
	Tick time.Duration

	WeightLimit  int           // request weight per clock minute; 0 means the market's (6000 or 2400), negative means none
	BanAfter     int           // requests answered 429 before the 418 ban; 0 means 10, negative means never
	MessageLimit int           // messages a second a connection may send; 0 means the market's (5 or 10), negative means none
	StreamLimit  int           // streams of a connection; 0 means 1024, or 200 on COIN-M, where pages say either; negative means none
	ConnectLimit int           // websocket connections opened in any 5 minutes; 0 means 300, negative means no limit
	Lifetime     time.Duration // of a websocket connection; 0 means 24 h, negative means no end
	SendBuffer   int           // bytes waiting for a slow reader, beyond its socket, before it is cut off; 0 means 16 MiB: the exchange's bound is not documented
	TradeHistory int           // trades of a symbol that REST can return; 0 means 1000, negative means none
	History      int           // interval borders that BookAt and StaleSnapshots reach back; 0 means 256, negative means none

	// MidBatchSnapshots makes snapshots show the current book, with changes that no depth event has
	// carried yet, so that an event can straddle the snapshot. False means the book at the last border.
	MidBatchSnapshots bool

	// AlternateBatches ends the depth events of every second connection (even IDs) at every second border,
	// so that two connections carry the same changes in different events. It has no effect on a playback.
	AlternateBatches bool

	// Playback replays a recording of the real exchange; nil means none.
	Playback *Playback
}

// A Symbol is one listed instrument.
type Symbol struct {
	Name        string // upper case, as in "BTCUSDT"; need not be ASCII
	Base, Quote string // assets; "" means split from Name at a well-known quote asset
	Status      string // "" means TRADING

	// Price is the middle of the generated book. 0 means about that of the real one, such as 100,000 for BTCUSDT and 0.000012 for
	// SHIBUSDT, one drawn by Config.Seed from 0.01 to 1000 for an unknown asset, and the best price of Bids or Asks.
	Price    orderbook.Fixed
	TickSize orderbook.Fixed // price step; 0 means one that suits the price: 0.01 for BTCUSDT, 0.1 on futures
	StepSize orderbook.Fixed // quantity step; 0 means one worth 0.1 to 1 dollars: 0.00001 for BTCUSDT, 0.001 on futures; or 1 unless BasePrecision is 8

	// BasePrecision is how many decimals the base asset has, from 1 to 8; 0 means 8. With fewer, a quantity of
	// orderbook.MaxFixed is sent as the largest of the asset: 922337203685477580.7 with
	// one decimal. The random walk then draws some.
	BasePrecision int

	// Levels is the number of levels generated on each side; 0 means 500, negative means none. Bids
	// and Asks, in any order, replace the generated book if either is set.
	Levels     int
	Bids, Asks []orderbook.Level

	// LastID is the first update id of the book; 0 means 1,000,000. -1 is how the exchange shows a listing
	// without orders: the book is empty and snapshots have id -1 until the first change, id 1.
	LastID int64
	// TradeID is the id of the first trade, and of the first aggregate; 0 means 1.
	TradeID int64
	Rate    float64 // changes a second the random walk makes; 0 means 50, negative means none
}

// Symbols returns a Symbol for each name, with every other field at its default.
func Symbols(names ...string) []Symbol {
	symbols := make([]Symbol, len(names))
	for i, name := range names {
		symbols[i].Name = name
	}
	return symbols
}

// The errors of the package, wrapped with the value at fault.
var (
	ErrConfig        = errors.New("binancetest: invalid configuration")
	ErrUnknownSymbol = errors.New("binancetest: symbol is not listed")
	ErrNoBook        = errors.New("binancetest: no book at this update id")
	ErrClosed        = errors.New("binancetest: server is closed")
	ErrRecording     = errors.New("binancetest: recording cannot be played")
	ErrPlayback      = errors.New("binancetest: only the recording changes the books")
)

// Stats are the counts of a Server since New.
type Stats struct {
	Connections int // websockets opened
	Open        int // of these open at the moment
	Messages    int // text messages, pings and pongs received

	Requests   map[string]int // REST requests by path, rejected ones included
	WeightUsed int            // request weight in the current minute

	// The limits that clients broke, and the consequences.
	WeightViolations  int // REST requests answered 429 or 418 for their weight
	EarlyRequests     int // other REST requests more than 100 ms after a 429 or 418 and before its Retry-After was over
	Bans              int // bans of an address
	MessageViolations int // connections closed for more messages in a second than allowed
	StreamViolations  int // connections closed for more streams than allowed
	ConnectViolations int // connections rejected for more in five minutes than allowed
	StalledMessages   int // messages of more than 4,088 bytes, which stalled their connection
	PongTimeouts      int // connections closed because a ping was not answered in time
	SlowConsumers     int // connections cut because their buffer was full
}

// Violations returns the number of limits broken, of every kind: 0 for a well-behaved client.
func (s Stats) Violations() int {
	return s.WeightViolations + s.EarlyRequests + s.MessageViolations + s.StreamViolations + s.ConnectViolations +
		s.StalledMessages + s.PongTimeouts + s.SlowConsumers
}

const (
	defaultTick       = 100 * time.Millisecond
	defaultBanAfter   = 10
	defaultConnects   = 300
	defaultLifetime   = 24 * time.Hour
	defaultSendBuffer = 16 << 20
	defaultHistory    = 256
	defaultTrades     = 1000
	defaultLevels     = 500
	defaultStatus     = "TRADING"
	defaultLastID     = 1_000_000
	defaultRate       = 50
)

// withDefaults returns cfg with its defaults, or ErrConfig.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.Market == "" {
		cfg.Market = marketprism.Spot
	}
	if _, ok := rulesOf(cfg.Market); !ok {
		return cfg, fmt.Errorf("%w: unknown market %q", ErrConfig, cfg.Market)
	}
	if cfg.Network == nil {
		cfg.Network = Loopback()
	}
	defaults.Set(&cfg.Tick, defaultTick)
	defaults.Set(&cfg.BanAfter, defaultBanAfter)
	defaults.Set(&cfg.ConnectLimit, defaultConnects)
	defaults.Set(&cfg.Lifetime, defaultLifetime)
	defaults.Set(&cfg.SendBuffer, defaultSendBuffer)
	defaults.Set(&cfg.History, defaultHistory)
	defaults.Set(&cfg.TradeHistory, defaultTrades)
	if cfg.SendBuffer < 0 {
		return cfg, fmt.Errorf("%w: SendBuffer %d: a queue needs a bound", ErrConfig, cfg.SendBuffer)
	}
	if cfg.Playback != nil && cfg.Playback.Speed < 0 {
		return cfg, fmt.Errorf("%w: playback speed %v", ErrConfig, cfg.Playback.Speed)
	}
	return cfg, nil
}

// withDefaults returns sym with its defaults in a market, or ErrConfig.
func (sym Symbol) withDefaults(market marketprism.Market, seed uint64) (Symbol, error) {
	if sym.Name == "" || strings.ContainsAny(sym.Name, "@/?&\"\\ ") || sym.Name != upper(sym.Name) {
		return sym, fmt.Errorf("%w: symbol %q: a name is upper case and has no @ / ? & quote or space", ErrConfig, sym.Name)
	}
	if sym.Base == "" && sym.Quote == "" {
		sym.Base, sym.Quote = splitAssets(sym.Name)
	}
	if sym.Status == "" {
		sym.Status = defaultStatus
	}
	sym = withPrices(sym, market, seed)
	defaults.Set(&sym.BasePrecision, orderbook.FractionDigits)
	defaults.Set(&sym.Levels, defaultLevels)
	sym.Levels = max(sym.Levels, 0)
	defaults.Set(&sym.LastID, defaultLastID)
	defaults.Set(&sym.TradeID, 1)
	defaults.Set(&sym.Rate, defaultRate)
	switch {
	case sym.TradeID < 1:
		return sym, fmt.Errorf("%w: symbol %s: trade id %d", ErrConfig, sym.Name, sym.TradeID)
	case sym.LastID < newborn:
		return sym, fmt.Errorf("%w: symbol %s: update id %d", ErrConfig, sym.Name, sym.LastID)
	case sym.Price < 0 || sym.TickSize < 0 || sym.StepSize < 0:
		return sym, fmt.Errorf("%w: symbol %s: negative price or step", ErrConfig, sym.Name)
	case sym.BasePrecision < 1 || sym.BasePrecision > orderbook.FractionDigits || decimalsOf(sym.StepSize) > sym.BasePrecision:
		return sym, fmt.Errorf("%w: symbol %s: base precision %d, quantity step %s", ErrConfig, sym.Name, sym.BasePrecision, sym.StepSize)
	case sym.Price%sym.TickSize != 0:
		return sym, fmt.Errorf("%w: symbol %s: price %s is not a multiple of the tick size %s", ErrConfig, sym.Name, sym.Price, sym.TickSize)
	}
	for _, l := range append(append([]orderbook.Level(nil), sym.Bids...), sym.Asks...) {
		if l.Price <= 0 || l.Quantity <= 0 {
			return sym, fmt.Errorf("%w: symbol %s: level %s x %s", ErrConfig, sym.Name, l.Price, l.Quantity)
		}
	}
	return sym, nil
}

// splitAssets splits a symbol's name before a well-known quote asset; a name without one is all base.
func splitAssets(name string) (base, quote string) {
	pair, _, _ := strings.Cut(name, "_")
	for _, q := range [...]string{"USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "TRY", "BTC", "ETH", "BNB"} {
		if base, ok := strings.CutSuffix(pair, q); ok && base != "" {
			return base, q
		}
	}
	return pair, ""
}

// lower makes ASCII letters lower case and keeps all others: stream names of non-ASCII symbols keep their
// spelling.
func lower(s string) string { return mapASCII(s, 'A', 'Z', 'a'-'A') }

func upper(s string) string { return mapASCII(s, 'a', 'z', -('a' - 'A')) }

func mapASCII(s string, from, to rune, shift rune) string {
	return strings.Map(func(r rune) rune {
		if r >= from && r <= to {
			return r + shift
		}
		return r
	}, s)
}
