package binance_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
)

// A simSetup is what a seed decides before a run begins. Books are small and the exchange is slow, so
// that many seeds fit into a minute; the driver does not mind either.
type simSetup struct {
	server binancetest.Config
	client binance.Config
	budget binance.BudgetConfig
	depth  binance.DepthConfig

	chaos    binancetest.ChaosConfig
	faulty   time.Duration // how long there are faults
	actEvery time.Duration // mean time between two things that the program does, or the rarer faults
	slow     int64         // chance, in a thousand records, of a handler that is slow to dawdle
	patience time.Duration // bound of the time from the last fault until all is live
	mortal   bool          // connections end in calm too
	tight    bool          // request weight is scarce
	restarts bool          // the exchange's ids may go back
	armed    []string      // faults that are a matter of configuration
}

func (c *simSetup) String() string {
	return fmt.Sprintf("server %+v\nbudget %+v\ndepth %+v\nchaos %+v", c.server, c.budget, c.depth, c.chaos)
}

// pick returns one of the choices.
func pick[T any](r *rand.Rand, choices ...T) T { return choices[r.IntN(len(choices))] }

func rollSetup(market marketprism.Market, seed uint64) simSetup {
	r := rand.New(rand.NewPCG(seed, marketNumber(market)))
	one := func(in int) bool { return r.IntN(in) == 0 }
	c := simSetup{
		patience: 150 * time.Second,
		faulty:   time.Duration(10+r.IntN(15)) * time.Second,
		actEvery: pick(r, time.Second, 2*time.Second, 5*time.Second),
		slow:     pick[int64](r, 2, 10, 50),
		restarts: one(8),
	}
	c.client.Market = market

	c.server = binancetest.Config{
		Market: market, Seed: seed, Network: binancetest.InMemory(), History: 2048,
		Tick: pick[time.Duration](r, 100, 250, 250, 500) * time.Millisecond,
	}
	names := []string{"AAAUSDT", "BBBUSDT", "CCCUSDT"}[:1+r.IntN(3)]
	if one(4) {
		names = append(names, "币安人生USDT")
		c.armed = append(c.armed, "F26")
	}
	for _, name := range names {
		c.server.Symbols = append(c.server.Symbols, smallSymbol(r, name))
	}
	if one(4) {
		c.server.SendQueue = 1024
		c.armed = append(c.armed, "F36")
	}
	if one(3) {
		c.server.AlternateBatches = true
		c.armed = append(c.armed, "F38")
	}

	c.depth = binance.DepthConfig{
		Seed: seed, Symbols: names,
		SnapshotLimit: pick(r, 5, 10, 20, 50, 100), Redundancy: 1 + r.IntN(2),
		Trades: one(3), AggTrades: one(4), Tickers: one(3), TopLevels: pick(r, 0, 0, 3),
		StreamTimeout: 20 * time.Second, AckTimeout: pick[time.Duration](r, 2, 5, 10) * time.Second, MaxConnAge: -1,
		ReconnectMin: 100 * time.Millisecond, ReconnectMax: pick[time.Duration](r, 1, 3) * time.Second,
		PollEvery: pick[time.Duration](r, 5, 10) * time.Second,
		MaxStale:  20, MaxDepth: -1, RetryMax: pick[time.Duration](r, 1, 4) * time.Second, SnapshotTimeout: pick[time.Duration](r, 2, 10) * time.Second,
	}
	if c.depth.SnapshotLimit > 5 && one(2) {
		c.depth.FirstLimit = 5
	}
	if one(3) {
		c.depth.RefreshDepth = -1
	}
	if one(3) {
		c.depth.RefreshEvery = time.Duration(2+r.IntN(6)) * time.Second
	}
	if one(4) {
		c.depth.MaxBuffered = 4 + r.IntN(20)
	}
	if one(3) {
		c.depth.QueueFrames = 48 + r.IntN(64) // the frames of one moment fit
	}
	if one(3) {
		c.depth.StreamsPerConn = 4
	}
	if one(4) {
		c.depth.AllTrading = &binance.SymbolFilter{Statuses: []string{"TRADING", "HALT", "BREAK", "CANCEL_ONLY", "AUCTION_OF_TOMORROW"}}
	}
	if market == marketprism.Spot && one(4) {
		c.client.SBE, c.client.APIKey, c.depth.AggTrades = true, "key", false
	}
	c.rollLimits(r)
	c.rollChaos(r, seed)
	return c
}

// rollLimits decides what the exchange allows, and how long connections live.
func (c *simSetup) rollLimits(r *rand.Rand) {
	if r.IntN(5) == 0 {
		c.server.WeightLimit = 200 + r.IntN(300)
		c.patience += 3 * time.Minute
		c.tight = true
	}
	if r.IntN(8) == 0 {
		c.server.ConnectLimit = 12 + r.IntN(20)
		c.budget.Connects = c.server.ConnectLimit
		c.patience += 6 * time.Minute
	}
	switch r.IntN(5) {
	case 0: // rotated in time
		c.depth.MaxConnAge = time.Duration(8+r.IntN(10)) * time.Second
		c.server.Lifetime = c.depth.MaxConnAge + 90*time.Second
	case 1: // too late
		c.server.Lifetime = time.Duration(10+r.IntN(20)) * time.Second
		c.mortal = true
		c.armed = append(c.armed, "F21")
	}
}

// rollChaos selects the faults of a run: few in each, so that every fault also occurs without most
// others, which could hide what it does.
func (c *simSetup) rollChaos(r *rand.Rand, seed uint64) {
	c.chaos = binancetest.ChaosConfig{Seed: seed, Every: pick[time.Duration](r, 200, 500, 1500) * time.Millisecond, Longest: 5 * time.Second}
	share := pick(r, 2, 4, 8)
	for _, f := range binancetest.ChaosFaults() {
		// An exchange whose clock is wrong does not tell when its minute of request weight ends.
		if f != "F31" && !(f == "F40" && c.tight) && r.IntN(share) == 0 {
			c.chaos.Faults = append(c.chaos.Faults, f)
		}
	}
	if c.chaos.Faults == nil {
		c.chaos.Faults = []string{"F1"}
	}
}

// marketNumber numbers the markets, so that a seed makes something else of each.
func marketNumber(market marketprism.Market) uint64 {
	return map[marketprism.Market]uint64{marketprism.Spot: 11, marketprism.USDM: 12, marketprism.COINM: 13}[market]
}

// smallSymbol is a symbol with few levels.
func smallSymbol(r *rand.Rand, name string) binancetest.Symbol {
	return binancetest.Symbol{Name: name, Levels: 4 + r.IntN(60), Rate: 4 + 30*r.Float64()}
}
