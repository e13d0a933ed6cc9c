package binance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// stopGrace is how long the handler may go on after Run's context has ended.
const stopGrace = 5 * time.Second

// A DepthSyncer keeps the order books of many symbols in step with the exchange. Its methods are safe
// for concurrent use.
type DepthSyncer struct {
	client  *Client
	cfg     DepthConfig
	symbols map[string]*followed
	feeds   []*feed
	fetcher *fetcher

	handling      chan struct{} // holds a token while the handler runs
	handlerFailed bool          // guarded by handling

	mu      sync.Mutex
	running bool
	ended   error         // why Run has returned; nil before and while it runs
	news    chan struct{} // closed when a book became known, or Run has returned
}

var errNilClient = errors.New("binance: NewDepthSyncer needs a Client")

// NewDepthSyncer returns a DepthSyncer for the symbols of cfg. It fails if cfg is contradictory. It
// does not connect: Run does.
func NewDepthSyncer(c *Client, cfg DepthConfig) (*DepthSyncer, error) {
	if c == nil {
		return nil, errNilClient
	}
	cfg, err := cfg.withDefaults(c.market)
	if err != nil {
		return nil, err
	}
	depth, err := c.market.depthSuffix(cfg.Interval)
	if err != nil {
		return nil, err
	}
	d := &DepthSyncer{
		client: c, cfg: cfg,
		symbols:  make(map[string]*followed, len(cfg.Symbols)),
		handling: make(chan struct{}, 1),
		news:     make(chan struct{}),
		fetcher:  newFetcher(c, &cfg),
	}
	syncing := cfg.Sync
	syncing.SnapshotTimeout = -1 // the fetcher bounds each request from when it is sent
	for _, symbol := range cfg.Symbols {
		s, err := orderbook.NewSyncer(syncing)
		if err != nil {
			return nil, err
		}
		d.symbols[symbol] = &followed{instrument: c.Instrument(symbol), syncer: s}
	}
	d.layOut(depth)
	return d, nil
}

// layOut spreads the streams evenly over as few connections as will do. All streams of a symbol that
// share a route share a connection.
func (d *DepthSyncer) layOut(depth string) {
	m := d.client.market
	routes := map[route][]string{m.bookRoute(): {depth}}
	if d.cfg.Tickers {
		routes[m.bookRoute()] = append(routes[m.bookRoute()], "@bookTicker")
	}
	if d.cfg.Trades {
		routes[m.bookRoute()] = append(routes[m.bookRoute()], "@trade")
	}
	if d.cfg.AggTrades {
		routes[m.aggRoute()] = append(routes[m.aggRoute()], "@aggTrade")
	}
	for _, r := range [...]route{routeAll, routePublic, routeMarket} {
		suffixes := routes[r]
		if len(suffixes) == 0 {
			continue
		}
		symbols := d.cfg.Symbols
		perConn := d.cfg.StreamsPerConn / len(suffixes)
		conns := (len(symbols) + perConn - 1) / perConn
		for i := range conns {
			f := newFeed(len(d.feeds), d, r)
			for _, symbol := range symbols[i*len(symbols)/conns : (i+1)*len(symbols)/conns] {
				for _, suffix := range suffixes {
					f.add(d.symbols[symbol], suffix, suffix == depth)
				}
			}
			d.feeds = append(d.feeds, f)
		}
	}
}

// Run connects and keeps every book in step until ctx ends, whose error it then returns. It reconnects
// as often as needed. Before it returns, every known book ends with a Gap record, and nothing of it is
// left running. It returns earlier if the handler fails, with the handler's error; if the exchange
// does not list a symbol, with an *UnknownSymbolsError; if the exchange refuses to tell its symbols,
// with an *APIError; and with ErrRunning if it runs already. It may be called again afterwards.
func (d *DepthSyncer) Run(ctx context.Context) error {
	if err := d.start(); err != nil {
		return err
	}
	err := d.checkListed(ctx)
	if err == nil {
		err = d.runFeeds(ctx)
	}
	if d.client.httpOwned {
		d.client.CloseIdleConnections()
	}
	d.stop(err)
	return err
}

func (d *DepthSyncer) runFeeds(ctx context.Context) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	handling, endHandling := withGrace(ctx, stopGrace)
	defer endHandling()

	var fetching, feeding sync.WaitGroup
	fetching.Go(func() { d.fetcher.run(running) })
	errs := make([]error, len(d.feeds))
	for i, f := range d.feeds {
		feeding.Go(func() {
			errs[i] = f.run(running, handling)
			cancel()
		})
	}
	feeding.Wait()
	fetching.Wait()

	var failed *handlerError
	if errors.As(errors.Join(errs...), &failed) {
		return failed.err
	}
	return ctx.Err()
}

// withGrace returns a context that ends d after ctx does.
func withGrace(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	timer := time.AfterFunc(math.MaxInt64, cancel)
	stop := context.AfterFunc(ctx, func() { timer.Reset(d) })
	return late, func() {
		stop()
		timer.Stop()
		cancel()
	}
}

// A handlerError is an error of the handler on its way to Run's caller.
type handlerError struct{ err error }

func (e *handlerError) Error() string { return "binance: handler: " + e.err.Error() }
func (e *handlerError) Unwrap() error { return e.err }

// handle gives a record to the handler, alone among all connections.
func (d *DepthSyncer) handle(ctx context.Context, rec *marketprism.Record) error {
	if d.cfg.Handler == nil {
		return nil
	}
	d.handling <- struct{}{}
	defer func() { <-d.handling }()
	if d.handlerFailed {
		return context.Canceled // another connection's call has failed, and all are about to stop
	}
	if err := d.cfg.Handler(ctx, rec); err != nil {
		d.handlerFailed = true
		return &handlerError{err}
	}
	return nil
}

func (d *DepthSyncer) start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running {
		return ErrRunning
	}
	d.running, d.ended, d.handlerFailed = true, nil, false
	return nil
}

func (d *DepthSyncer) stop(err error) {
	d.mu.Lock()
	d.running, d.ended = false, fmt.Errorf("%w: %w", ErrStopped, err)
	d.mu.Unlock()
	d.changed()
}

// changed wakes whoever waits in Ready.
func (d *DepthSyncer) changed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.news)
	d.news = make(chan struct{})
}
