package binance_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

var (
	firstSeed = flag.Uint64("seed", 1, "the first seed of TestSimulation; without -seeds only that one is run, and -v shows what happened")
	seedCount = flag.Uint64("seeds", 40, "how many seeds TestSimulation runs for each market")
)

// TestSimulation runs the driver against the fake exchange in virtual time. Each seed makes an exchange,
// a configuration of the driver, and some twenty seconds of faults and of things the program does; then
// the faults end, and every book has to be live again. simOracle lists what must hold all the time.
//
// A seed repeats what it chooses: the exchange, the configuration, its faults and their times, the
// delays of the driver, and all times. It does not repeat the order of events at one moment in several
// goroutines, which is the Go scheduler's: for instance, which of two connections gets its frame first. So a replay usually shows the same failure at the same time, and if it does not,
// running the seed some more times does. The history printed with a failure is that of the failed run.
func TestSimulation(t *testing.T) {
	count := *seedCount
	if testing.Short() {
		count = min(count, 3)
	}
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	replay := given["seed"] && !given["seeds"]
	if replay {
		count = 1
	}
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		t.Run(string(market), func(t *testing.T) {
			t.Parallel()
			total := newSimTally()
			for seed := *firstSeed; seed < *firstSeed+count; seed++ {
				s := simulate(t, market, seed)
				if s.errs != nil {
					t.Fatalf("%s\n%s\nreplay: go test ./binance -run TestSimulation/%s -seed %d -v",
						strings.Join(s.errs, "\n"), strings.Join(s.history(), "\n"), market, seed)
				}
				if replay {
					t.Log(strings.Join(s.history(), "\n"))
				}
				total.add(&s.tally)
			}
			t.Logf("%d seeds\n%s", count, total)
			if count >= 100 {
				total.check(t, market != marketprism.Spot)
			}
		})
	}
}

// simulate makes one run.
func simulate(t *testing.T, market marketprism.Market, seed uint64) *sim {
	t.Helper()
	s := newSim(market, seed)
	tooLong := time.AfterFunc(time.Minute, func() { fmt.Fprintf(os.Stderr, "%s seed %d has been running for a minute\n", market, seed) })
	defer tooLong.Stop()
	ended := false
	defer func() {
		if !ended { // a deadlock of the bubble, or a Goexit
			fmt.Fprintf(os.Stderr, "%s seed %d did not end\n", market, seed)
		}
	}()
	synctest.Test(t, func(t *testing.T) { s.run(t.Context()) })
	ended = true
	return s
}

// A sim is one run.
type sim struct {
	simSetup
	simOracle
	roll *rand.Rand // of what the program does; only its goroutine uses it

	srv    *binancetest.Server
	syncer *binance.DepthSyncer
	begun  time.Time
	tally  simTally

	api      *binance.Client
	slowness atomic.Int64 // chance of the handler to dawdle, in a thousand records
	calls    chan simCall // at most one that the next callback makes
	stalled  bool         // the handler was, or will be
	stall    atomic.Int64 // nanoseconds for which the handler takes the next record
	listings int          // symbols listed; roll's goroutine's

	mu        sync.Mutex // guards the rest, the tally and the oracle
	restarted bool       // the exchange's ids have gone back
	unlisted  bool       // a symbol was delisted
	errs      []string
	events    []noted
}

func newSim(market marketprism.Market, seed uint64) *sim {
	s := &sim{simSetup: rollSetup(market, seed), tally: newSimTally(), calls: make(chan simCall, 1)}
	s.roll = rand.New(rand.NewPCG(seed, 2))
	for _, f := range s.armed {
		s.tally.faults[f]++
	}
	s.simOracle = simOracle{sim: s, books: make(map[string]*simBook), roll: rand.New(rand.NewPCG(seed, 3))}
	return s
}

// fail records a broken promise, up to a few.
func (s *sim) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(format, args...)
}

func (s *sim) failLocked(format string, args ...any) {
	if len(s.errs) < 5 {
		s.errs = append(s.errs, fmt.Sprintf("%v: ", time.Since(s.begun))+fmt.Sprintf(format, args...))
		s.events = append(s.events, noted{time.Now(), "FAILED " + fmt.Sprintf(format, args...)})
	}
}

func (s *sim) note(info any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, noted{time.Now(), info})
}

// history formats what happened.
func (s *sim) history() []string {
	lines := []string{s.simSetup.String()}
	for _, e := range s.events {
		what, ok := e.info.(string)
		if !ok {
			what = strings.TrimPrefix(fmt.Sprintf("%T%+v", e.info, e.info), "binance.")
		}
		lines = append(lines, fmt.Sprintf("%9.3f %s", e.at.Sub(s.begun).Seconds(), what))
	}
	return lines
}

// run makes the run, inside its bubble.
func (s *sim) run(ctx context.Context) {
	s.begun = time.Now()
	srv, err := binancetest.New(s.server)
	if err != nil {
		s.fail("%v", err)
		return
	}
	defer srv.Close()
	s.srv = srv
	srv.RefuseUnknownStreams(s.refuse)
	if s.misled != "" {
		if err := srv.MisleadListings(1, s.misled); err != nil {
			s.fail("%v", err)
		}
	}
	s.client.Endpoints = binance.Endpoints{REST: srv.RESTURL(), Stream: srv.StreamURL(), SBE: srv.StreamURL()}
	s.client.DialContext = srv.DialContext
	s.client.Hooks = s.hooks()
	if s.client.Budget, err = binance.NewBudget(s.budget); err != nil {
		s.fail("%v", err)
		return
	}
	client, err := binance.NewClient(s.client)
	if err != nil {
		s.fail("%v", err)
		return
	}
	s.api, s.depth.Handler = client, s.handle
	if s.syncer, err = binance.NewDepthSyncer(client, s.depth); err != nil {
		s.fail("%v", err)
		return
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { srv.Run(ctx) }) //nolint:errcheck // ends with ctx
	ended := make(chan error, 1)
	running.Go(func() { ended <- s.syncer.Run(ctx) })

	if s.misled != "" {
		time.Sleep(time.Second) // a symbol that is delisted before the first listing ends Run
	}
	s.trouble(ctx, &running)
	s.recover()

	stop()
	switch err := <-ended; {
	case s.unlisted && errors.As(err, new(*binance.UnknownSymbolsError)):
	case err != nil:
		s.fail("Run: %v", err)
	}
	client.CloseIdleConnections()
	s.finish()
}

// trouble lets faults happen, and the program do things, for a while.
func (s *sim) trouble(ctx context.Context, running *sync.WaitGroup) {
	ctx, cancel := context.WithTimeout(ctx, s.faulty)
	defer cancel()
	chaos := s.chaos
	chaos.Log = func(e binancetest.ChaosEvent) {
		s.note(e)
		if !strings.HasPrefix(e.Action, "nothing") {
			s.count(e.Fault)
		}
	}
	running.Go(func() {
		if err := s.srv.RunChaos(ctx, chaos); err != nil {
			s.fail("RunChaos: %v", err)
		}
	})
	for s.sleep(ctx, time.Duration(s.roll.ExpFloat64()*float64(s.actEvery))) {
		s.act(ctx)
	}
	<-ctx.Done()
	synctest.Wait() // chaos has taken back what it changed
	s.srv.Calm()
	s.srv.RefuseUnknownStreams(s.refuse)
	s.slowness.Store(0)
	select {
	case <-s.calls:
	default:
	}
	s.note("calm")
}

func (s *sim) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// recover waits until every symbol is live and stays so for some seconds, which has a bound.
func (s *sim) recover() {
	steady := 8 * time.Second
	if s.mortal {
		steady = 2 * time.Second
	}
	calm := time.Now()
	since, gaps := calm, s.gapCount()
	for time.Since(since) < steady {
		ids := s.exchangeIDs()
		time.Sleep(time.Second)
		synctest.Wait()
		behind, n := s.missing(ids), s.gapCount()
		if behind != "" || n != gaps {
			since, gaps = time.Now(), n
		}
		if time.Since(calm) > s.patience {
			s.fail("not live %v after the last fault: %s", s.patience, behind)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.recovery = max(s.tally.recovery, since.Sub(calm))
}

// exchangeIDs returns the update id of each listed symbol's true book.
func (s *sim) exchangeIDs() map[string]int64 {
	ids := make(map[string]int64)
	for _, symbol := range s.srv.Listed() {
		if snap, err := s.srv.Book(symbol); err == nil {
			ids[symbol] = snap.LastID
		}
	}
	return ids
}

// missing names a symbol whose book is not live: synced, and up to the id of a second ago.
func (s *sim) missing(ids map[string]int64) string {
	listed := s.srv.Listed()
	symbols := s.syncer.Symbols()
	for _, symbol := range symbols {
		if !slices.Contains(listed, symbol) {
			continue
		}
		status, ok := s.syncer.Status(symbol)
		if !ok || status.State != orderbook.Synced {
			return fmt.Sprintf("%s is %v", symbol, status.State)
		}
		s.mu.Lock()
		b := s.books[symbol]
		synced, at, unknown := b != nil && b.synced, int64(0), false
		if synced {
			known, limited := b.book.Known(orderbook.Bid)
			at, unknown = b.book.LastID(), limited && known == orderbook.MaxFixed
		}
		s.mu.Unlock()
		if unknown {
			return symbol + " is a new instrument, of which nothing is known after its first update"
		}
		if id, ok := ids[symbol]; !synced || ok && at < id {
			return fmt.Sprintf("%s (synced: %v) is at %d, the exchange at %d", symbol, synced, at, id)
		}
	}
	if s.depth.AllTrading != nil && ids != nil {
		for _, symbol := range listed {
			if !slices.Contains(symbols, symbol) {
				return symbol + " was not added"
			}
		}
	}
	return ""
}

// A simSetup is what a seed decides before a run begins. Books are small and the exchange is slow, so
// that many seeds fit into a minute.
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
	pongs    time.Duration // time that the exchange gives for a pong
	mortal   bool          // connections end in calm too
	tight    bool          // request weight is scarce
	restarts bool          // the exchange's ids may go back
	refuse   bool          // the exchange refuses names that it does not list
	misled   string        // how the first listing misleads; "" if it does not
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
		restarts: one(5),
		pongs:    10 * time.Minute,
	}
	if market == marketprism.Spot {
		c.pongs = time.Minute
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
	if n := rand.New(rand.NewPCG(seed, 100+marketNumber(market))); n.IntN(4) == 0 {
		few := &c.server.Symbols[n.IntN(len(c.server.Symbols))]
		few.BasePrecision = 1 + n.IntN(2) // an asset like BTTC or PEPE, with quantities beyond MaxFixed
	}
	if one(4) {
		c.server.SendBuffer = 1 << 20 // a huge event fits
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
		// Of a stalled handler:
		c.patience += c.pongs + time.Minute
		c.server.History = 8192
	}
	if one(3) {
		c.depth.StreamsPerConn = 4
	}
	if one(4) {
		c.depth.AllTrading = &binance.SymbolFilter{Statuses: []string{"TRADING", "HALT", "BREAK", "CANCEL_ONLY", "AUCTION_OF_TOMORROW"}}
	}
	if c.depth.AllTrading == nil && one(6) {
		c.depth.SkipSymbolCheck = true
		c.depth.Symbols = append([]string{noSuchSymbol}, names...)
		c.refuse = one(2)
	}
	if market == marketprism.Spot && one(4) {
		c.client.SBE, c.client.APIKey, c.depth.AggTrades = true, "key", false
	}
	c.rollLimits(r)
	c.rollChaos(r, seed)
	if market != marketprism.Spot && one(2) {
		c.client.APIKey = "key" // past trades of futures need one
	}
	if one(6) {
		c.misled = pick(r, binancetest.ListingFaults()...)
		c.armed = append(c.armed, "F41")
		// The first listing is asked for again, and one that is refused (403) ends Run.
		if c.chaos.Faults = slices.DeleteFunc(c.chaos.Faults, func(f string) bool { return f == "F16" }); len(c.chaos.Faults) == 0 {
			c.chaos.Faults = []string{"F1"}
		}
	}
	return c
}

// rollLimits chooses the limits of the exchange, and how long connections last.
func (c *simSetup) rollLimits(r *rand.Rand) {
	if r.IntN(5) == 0 {
		c.server.WeightLimit = 200 + r.IntN(300)
		c.patience += 3 * time.Minute
		c.tight = true
		if c.depth.SkipSymbolCheck { // no listing says it at once
			c.budget.Limit = c.server.WeightLimit
		}
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
		// The clock of the exchange is wrong, so the end of its minute of request weight is not known.
		if f != "F31" && !(f == "F40" && c.tight) && r.IntN(share) == 0 {
			c.chaos.Faults = append(c.chaos.Faults, f)
		}
	}
	if c.chaos.Faults == nil {
		c.chaos.Faults = []string{"F1"}
	}
}

// marketNumber numbers the markets, so that a seed makes another run of each.
func marketNumber(market marketprism.Market) uint64 {
	return map[marketprism.Market]uint64{marketprism.Spot: 11, marketprism.USDM: 12, marketprism.COINM: 13}[market]
}

// smallSymbol is a symbol with few levels.
func smallSymbol(r *rand.Rand, name string) binancetest.Symbol {
	return binancetest.Symbol{Name: name, Levels: 4 + r.IntN(60), Rate: 4 + 30*r.Float64()}
}

// An act is something that the program does, or that the exchange does and RunChaos does not.
type act struct {
	name  string
	share int
	do    func(s *sim, ctx context.Context, symbol string) (what string)
}

func acts() []act {
	return []act{
		{"slow handler", 3, func(s *sim, ctx context.Context, _ string) string {
			s.slowness.Store(s.slow)
			time.AfterFunc(time.Duration(1+s.roll.IntN(3))*time.Second, func() { s.slowness.Store(0) })
			return "some records take up to 2 s"
		}},
		{"stalled handler", 3, (*sim).stallHandler},
		{"rotate", 2, func(s *sim, _ context.Context, _ string) string { s.syncer.Rotate(); return "Rotate()" }},
		{"call back", 6, (*sim).callBack},
		{"refresh", 3, func(s *sim, _ context.Context, y string) string { return fmt.Sprint("Refresh: ", s.syncer.Refresh(y)) }},
		{"remove", 2, (*sim).remove},
		{"add", 3, (*sim).addAgain},
		{"storm", 2, (*sim).storm},
		{"list", 2, (*sim).list},
		{"delist", 1, (*sim).delist},
		{"malformed", 3, (*sim).malformed},
		{"shutdown", 1, func(s *sim, _ context.Context, _ string) string {
			s.srv.SendServerShutdown()
			s.count("F20")
			return "SendServerShutdown()"
		}},
		{"late snapshots", 2, func(s *sim, _ context.Context, _ string) string {
			n, delay := 1+s.roll.IntN(3), time.Duration(s.roll.Int64N(int64(4*time.Second)))
			s.srv.DelaySnapshots(n, delay)
			s.count("F5")
			return fmt.Sprintf("DelaySnapshots(%d, %v)", n, delay)
		}},
		{"trade ids", 1, (*sim).useTradeIDs},
		{"no pongs", 1, func(s *sim, _ context.Context, _ string) string {
			s.srv.IgnorePings(true)
			time.AfterFunc(5*time.Second, func() { s.srv.IgnorePings(false) })
			s.count("F17")
			return "IgnorePings for 5 s"
		}},
		{"huge event", 1, (*sim).huge},
		{"ids go back", 1, (*sim).goBack},
	}
}

// act does one thing.
func (s *sim) act(ctx context.Context) {
	listed := s.srv.Listed()
	if len(listed) == 0 {
		return
	}
	var all []act
	for _, a := range acts() {
		for range a.share {
			all = append(all, a)
		}
	}
	a := all[s.roll.IntN(len(all))]
	symbol := listed[s.roll.IntN(len(listed))]
	s.note(a.name + " " + symbol)
	if what := a.do(s, ctx, symbol); what != "" {
		s.note(what)
		s.did("act: " + a.name)
	}
}

// A simCall is a call that the program makes from inside a callback.
type simCall struct {
	name   string
	symbol string
	wait   int // callbacks to let pass before it
	call   func(ctx context.Context, s *sim, symbol string) error
}

// simCalls are those that can fail, with the errors that say why, or that change something.
func simCalls() []simCall {
	return []simCall{
		{name: "Refresh", call: func(_ context.Context, s *sim, y string) error { return s.syncer.Refresh(y) }},
		{name: "Rotate", call: func(_ context.Context, s *sim, _ string) error { s.syncer.Rotate(); return nil }},
		{name: "Ready", call: func(ctx context.Context, s *sim, _ string) error { return s.syncer.Ready(ctx) }},
		{name: "Run", call: func(ctx context.Context, s *sim, _ string) error { return s.syncer.Run(ctx) }},
		{name: "Add", call: func(ctx context.Context, s *sim, y string) error { return s.syncer.Add(ctx, y) }},
		{name: "Time", call: func(ctx context.Context, s *sim, _ string) error { _, err := s.api.Time(ctx); return err }},
		{name: "Remove", call: func(ctx context.Context, s *sim, y string) error { s.remove(ctx, y); return nil }},
		{name: "View", call: func(ctx context.Context, s *sim, y string) error {
			return s.syncer.View(y, func(b *orderbook.Book, st binance.Status) {
				s.syncer.Status(y)
				s.syncer.Refresh(y)                                        //nolint:errcheck // it may be lost by now
				s.syncer.View(y, func(*orderbook.Book, binance.Status) {}) //nolint:errcheck // the same
				s.remove(ctx, y)
				if b.LastID() != st.LastID {
					s.fail("the book of %s changed during its View", y)
				}
			})
		}},
	}
}

// callBack lets one of the next callbacks make a call.
func (s *sim) callBack(_ context.Context, symbol string) string {
	c := simCalls()[s.roll.IntN(len(simCalls()))]
	c.symbol, c.wait = symbol, s.roll.IntN(20)
	select {
	case s.calls <- c:
		return "in a callback soon"
	default:
		return ""
	}
}

// inCallback makes the call that is due, if there is one. where is the callback that runs.
func (s *sim) inCallback(where string) {
	var c simCall
	select {
	case c = <-s.calls:
	default:
		return
	}
	if c.wait > 0 {
		c.wait--
		select {
		case s.calls <- c:
		default:
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	start := time.Now()
	err := c.call(ctx, s, c.symbol)
	took := time.Since(start)
	s.note(fmt.Sprintf("in %s: %s(%s) after %v: %v", where, c.name, c.symbol, took, err))
	s.did("called back: " + c.name)
	waits := c.name == "Add" || c.name == "Time" || c.name == "Ready" && where == "Throttled"
	if took > 0 && !waits || c.name == "Run" && !errors.Is(err, binance.ErrRunning) {
		s.fail("in %s: %s took %v: %v", where, c.name, took, err)
	}
}

// stallHandler makes the handler of a driver with a short queue take one record for about as long as pings may
// wait, or for a part of that: pauses, waits and drops.
func (s *sim) stallHandler(context.Context, string) string {
	if s.depth.QueueFrames == 0 || s.stalled {
		return ""
	}
	s.stalled = true
	d := s.pongs - time.Duration(s.roll.IntN(30)-10)*time.Second
	if s.roll.IntN(3) == 0 {
		d = time.Duration(1+s.roll.IntN(40)) * time.Second
	}
	s.stall.Store(int64(d))
	return fmt.Sprint("one record takes ", d)
}

func (s *sim) remove(_ context.Context, symbol string) string {
	if len(s.syncer.Symbols()) < 2 {
		return ""
	}
	s.gone(symbol)
	return fmt.Sprint("Remove: ", s.syncer.Remove(symbol))
}

// gone notes that the book of a symbol may be another one from now on.
func (s *sim) gone(symbol string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at(symbol).gone = true
}

// addAgain adds a listed symbol that was removed.
func (s *sim) addAgain(ctx context.Context, _ string) string {
	symbols, listed := s.syncer.Symbols(), s.srv.Listed()
	s.roll.Shuffle(len(listed), func(i, j int) { listed[i], listed[j] = listed[j], listed[i] })
	for _, symbol := range listed {
		if !slices.Contains(symbols, symbol) {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			return fmt.Sprintf("Add(%s): %v", symbol, s.syncer.Add(ctx, symbol))
		}
	}
	return ""
}

// storm removes symbols, at times all, and adds them again in quick succession and in another order, so that
// they change their places; at times the handler is so slow that the books are behind.
func (s *sim) storm(ctx context.Context, _ string) string {
	rounds := 1 + s.roll.IntN(4)
	if s.tight { // each Add asks for the listing
		rounds = 1
	}
	if s.roll.IntN(2) == 0 {
		s.slowness.Store(200)
		time.Sleep(time.Second)
		defer s.slowness.Store(0)
	}
	removed, added := 0, 0
	for range rounds {
		symbols := s.syncer.Symbols()
		s.roll.Shuffle(len(symbols), func(i, j int) { symbols[i], symbols[j] = symbols[j], symbols[i] })
		symbols = symbols[:s.roll.IntN(len(symbols)+1)]
		for _, symbol := range symbols {
			s.gone(symbol)
			if s.syncer.Remove(symbol) == nil {
				removed++
			}
			time.Sleep(time.Duration(s.roll.IntN(2)) * time.Duration(s.roll.Int64N(int64(100*time.Millisecond))))
		}
		for range symbols {
			if strings.HasSuffix(s.addAgain(ctx, ""), "<nil>") {
				added++
			}
		}
	}
	return fmt.Sprintf("%d times Remove, %d times Add", removed, added)
}

// list lists a symbol, which is sometimes a newborn.
func (s *sim) list(ctx context.Context, _ string) string {
	listed := s.srv.Listed()
	if len(listed) > 5 {
		return ""
	}
	s.listings++
	symbol := smallSymbol(s.roll, fmt.Sprintf("NEW%dUSDT", s.listings))
	if s.roll.IntN(2) == 0 {
		symbol.LastID = -1
		s.count("F15")
	}
	if err := s.srv.List(symbol); err != nil {
		s.fail("List: %v", err)
	}
	return fmt.Sprintf("List(%s, %d), %s", symbol.Name, symbol.LastID, s.addAgain(ctx, ""))
}

func (s *sim) delist(_ context.Context, symbol string) string {
	if len(s.srv.Listed()) < 2 {
		return ""
	}
	s.gone(symbol)
	s.mu.Lock()
	s.unlisted = true
	s.mu.Unlock()
	s.count("F30")
	return fmt.Sprint("Delist: ", s.srv.Delist(symbol))
}

// malformed sends a frame that cannot be decoded, of a symbol's depth stream or of no stream.
func (s *sim) malformed(_ context.Context, symbol string) string {
	stream := binance.StreamName(symbol, "@depth@100ms")
	text := pick(s.roll,
		`{"stream":"`+stream+`","data":{"e":"depthUpdate","E":1,"s":"`+symbol+`","U":1,"u":`,
		`{"stream":"`+stream+`","data":{"e":"depthUpdate","E":1,"s":"`+symbol+`","U":1,"u":2,"b":[["x","1"]],"a":[]}}`,
		`{"stream":"`+stream+`","data":null}`, `{"stream":5}`, `null`, ``, `{}`, `[]`, "\x00\xff", `{"id":18446744073709551616,"result":null}`,
		`{"stream":"!somethingNew","data":{"e":"somethingNew","E":1}}`,
	)
	conns := s.srv.Connections()
	if len(conns) == 0 {
		return ""
	}
	s.srv.SendRawOne(conns[s.roll.IntN(len(conns))].ID, text)
	s.count("F24")
	return fmt.Sprintf("SendRawOne(%q)", text)
}

// useTradeIDs uses trade ids for what is no trade.
func (s *sim) useTradeIDs(_ context.Context, symbol string) string {
	s.count("F39")
	n := 1 + s.roll.IntN(5)
	if s.server.Market == marketprism.Spot || s.roll.IntN(4) == 0 {
		return fmt.Sprint("SkipTradeIDs, BreakAggregate: ", s.srv.SkipTradeIDs(symbol, n), s.srv.BreakAggregate(symbol))
	}
	kinds := make([]string, n)
	for i := range kinds {
		kinds[i] = pick(s.roll, "NA", "NA", "INSURANCE_FUND", "ADL", "SOMETHING_NEW")
	}
	return fmt.Sprintf("OtherTrades(%v): %v", kinds, s.srv.OtherTrades(symbol, kinds...))
}

// huge makes an event of some ten thousand levels, in few runs since it takes its time.
func (s *sim) huge(_ context.Context, symbol string) string {
	if s.roll.IntN(8) != 0 || s.depth.Tickers && s.server.SendBuffer > 0 { // each level may be a ticker, all at one moment
		return ""
	}
	bids := make([]orderbook.Level, 10_000)
	for i := range bids {
		bids[i] = orderbook.Level{Price: orderbook.Fixed(i+1) * orderbook.One / 1000, Quantity: orderbook.One}
	}
	if _, err := s.srv.Apply(symbol, bids, nil); err != nil {
		return ""
	}
	time.Sleep(time.Second)
	_, err := s.srv.EmptyBook(symbol)
	s.count("F27")
	return fmt.Sprint("Apply of 10,000 levels, EmptyBook: ", err)
}

// goBack restarts the exchange's ids, once at most: after a second time an id could name three books.
func (s *sim) goBack(_ context.Context, symbol string) string {
	if s.restarted || !s.restarts {
		return ""
	}
	s.mu.Lock()
	s.restarted = true
	for name, id := range s.exchangeIDs() {
		s.at(name).restartedAt = id
	}
	s.mu.Unlock()
	if s.roll.IntN(2) == 0 {
		s.count("F30")
		return fmt.Sprint("RestartIDs: ", s.srv.RestartIDs(symbol, 1000))
	}
	s.count("F31")
	return fmt.Sprint("Wipe: ", s.srv.Wipe())
}
