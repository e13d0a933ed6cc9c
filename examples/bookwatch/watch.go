package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/examples/plain"
	"github.com/marketprism/marketprism/orderbook"
)

type options struct {
	symbols   []string
	levels    int
	refresh   time.Duration
	blocks    int
	sim       bool
	endpoints binance.Endpoints // of the exchange, unless sim; zero fields mean Binance's

	terminal *terminal // nil means that lines are printed
	waiting  io.Writer // gets what is waited for before the first block; nil means that it is not shown
}

// interval returns the time between two pictures.
func (o *options) interval() time.Duration {
	if o.terminal != nil {
		return max(o.refresh, leastRefresh)
	}
	return o.refresh
}

const (
	leastRefresh = 100 * time.Millisecond // of a terminal
	keptTrades   = 64                     // of each symbol
	waitNotice   = 2 * time.Second        // after which it is shown what is waited for
)

// watch maintains the books of the symbols and draws them until ctx ends or all pictures are drawn.
func watch(ctx context.Context, opt options, out io.Writer) error {
	if opt.levels < 1 || opt.refresh <= 0 {
		return fmt.Errorf("-levels %d, -refresh %v: both must be positive", opt.levels, opt.refresh)
	}
	for i, symbol := range opt.symbols {
		if symbol == "" || slices.Contains(opt.symbols[:i], symbol) {
			return fmt.Errorf("-symbol %s: want different symbols, separated by commas", strings.Join(opt.symbols, ","))
		}
	}
	cfg, closeExchange, err := exchange(ctx, opt)
	if err != nil {
		return err
	}
	defer closeExchange()

	client, err := binance.NewClient(cfg)
	if err != nil {
		return err
	}
	v := &viewer{opt: opt, out: out, tapes: make(map[string]*tape)}
	for _, symbol := range opt.symbols {
		v.tapes[symbol] = &tape{}
	}
	v.books, err = binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: opt.symbols, Trades: true, Handler: v.record})
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(v.books.Run(ctx))
	}()
	defer func() { cancel(nil); <-done }()

	if opt.terminal != nil {
		return v.interact(ctx)
	}
	if err := v.ready(ctx); err != nil {
		return err
	}
	return v.print(ctx)
}

// A viewer shows the books of some symbols.
type viewer struct {
	opt    options
	out    io.Writer
	books  *binance.DepthSyncer
	chosen int // of the symbols; used by interact alone
	tapes  map[string]*tape
}

// A tape holds the last trades of a symbol, and the latency of its last update.
type tape struct {
	mu      sync.Mutex
	trades  []marketprism.Trade // oldest first
	latency time.Duration
}

// record is the Handler of the books.
func (v *viewer) record(_ context.Context, rec *marketprism.Record) error {
	t := v.tapes[rec.Instrument.Symbol]
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case rec.Trade != nil:
		if len(t.trades) == keptTrades {
			t.trades = slices.Delete(t.trades, 0, 1)
		}
		t.trades = append(t.trades, *rec.Trade)
	case rec.Update != nil && !rec.EventTime.IsZero():
		t.latency = rec.ReceivedAt.Sub(rec.EventTime)
	}
	return nil
}

// ready blocks until all books are synced, and shows meanwhile what they wait for.
func (v *viewer) ready(ctx context.Context) error {
	shown := make(map[string]marketprism.Wait)
	for {
		soon, cancel := context.WithTimeout(ctx, waitNotice)
		err := v.books.Ready(soon)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, symbol := range v.opt.symbols {
			status, _ := v.books.Status(symbol)
			wait := status.Wait
			if wait.Next = (time.Time{}); v.opt.waiting == nil || wait == shown[symbol] {
				continue // only the time to the next attempt is another
			}
			shown[symbol] = wait
			fmt.Fprintf(v.opt.waiting, "%s %s\n", plain.Cell(symbol), oneLine(status.Wait.String()))
		}
	}
}

// print prints a block of each symbol at each refresh.
func (v *viewer) print(ctx context.Context) error {
	tick := time.NewTicker(v.opt.interval())
	defer tick.Stop()
	for n := 1; ; n++ {
		var page []byte
		for i := range v.opt.symbols {
			page = v.picture(i, v.opt.levels).appendText(page)
		}
		if _, err := v.out.Write(page); err != nil {
			return err
		}
		if n == v.opt.blocks {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// interact draws the chosen symbol on the terminal at each refresh, and does what keys say.
func (v *viewer) interact(ctx context.Context) error {
	tick := time.NewTicker(v.opt.interval())
	defer tick.Stop()
	t := v.opt.terminal
	for n := 1; ; n++ {
		width, height := t.size()
		if err := t.draw(v.picture(v.chosen, v.opt.levels).draw(width, height, t.coloured)); err != nil {
			return err
		}
		if n == v.opt.blocks {
			return nil
		}
		for drawn := true; drawn; {
			select {
			case <-tick.C:
				drawn = false
			case k := <-t.keys:
				if v.press(k) {
					return nil
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// press does what a key says, for the next picture, and reports whether it ends the program.
func (v *viewer) press(k key) (quit bool) {
	count := len(v.opt.symbols)
	switch {
	case k == keyQuit:
		return true
	case k == keyNext:
		v.chosen = (v.chosen + 1) % count
	case k == keyPrevious:
		v.chosen = (v.chosen + count - 1) % count
	case k == keyMore:
		v.opt.levels++
	case k == keyLess:
		v.opt.levels = max(1, v.opt.levels-1)
	case int(k-keySymbol) < count:
		v.chosen = int(k - keySymbol)
	}
	return false
}

// picture returns what there is to show of a symbol.
func (v *viewer) picture(chosen, levels int) *picture {
	symbol := v.opt.symbols[chosen]
	p := &picture{symbols: v.opt.symbols, chosen: chosen, simulated: v.opt.sim}
	status, known := v.books.Status(symbol)
	err := v.books.View(symbol, func(b *orderbook.Book, s binance.Status) {
		status, known = s, true
		p.bids, p.asks, p.measures = b.AppendBids(nil, levels), b.AppendAsks(nil, levels), measure(b, levels)
	})
	p.state, p.id, p.age = status.State, status.LastID, status.Age()
	switch {
	case status.Wait.For != "":
		p.note = status.Wait.String()
	case err != nil && !known:
		p.note = err.Error()
	case status.Listing != "" && status.Listing != "TRADING":
		p.note = "the exchange lists it as " + status.Listing
	}
	if g := status.LastGap; g.Reason != 0 {
		p.gap = fmt.Sprintf("last gap: %v", g.Reason)
		if g.Err != nil {
			p.gap += ": " + g.Err.Error()
		}
	}
	t := v.tapes[symbol]
	t.mu.Lock()
	defer t.mu.Unlock()
	p.latency = t.latency
	for _, trade := range slices.Backward(t.trades) {
		p.trades = append(p.trades, trade)
	}
	return p
}

// exchange returns the configuration of Binance, or of a simulated exchange that runs until ctx ends.
func exchange(ctx context.Context, opt options) (cfg binance.Config, stop func(), err error) {
	if !opt.sim {
		return binance.Config{Endpoints: opt.endpoints}, func() {}, nil
	}
	sim, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols(opt.symbols...), Seed: 1})
	if err != nil {
		return binance.Config{}, nil, err
	}
	go sim.Run(ctx) // ends with ctx, or when the exchange is closed
	return binance.Config{Endpoints: sim.Endpoints()}, func() { sim.Close() }, nil
}
