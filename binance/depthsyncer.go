package binance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
)

// stopGrace is how long the handler may go on after Run's context has ended.
const stopGrace = 5 * time.Second

// A DepthSyncer keeps the order books of many symbols in step with the exchange. Its methods are safe
// for concurrent use.
type DepthSyncer struct {
	client    *Client
	cfg       DepthConfig
	symbols   *symbolTable
	snapshots *snapshotFetcher

	depthSuffix string         // ending of the depth streams' names
	routes      []routeStreams // what each symbol has on which route

	changing sync.Mutex   // held while the symbols change, and their places on the feeds
	launch   func(*shard) // runs a new feed; nil while Run does not
	listing  atomic.Bool  // AllTrading has been answered

	handling      chan struct{} // holds a token while the handler runs
	handlerFailed bool          // guarded by handling

	mu      sync.Mutex
	feeds   []*shard // a new slice with each change
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
		symbols: newSymbolTable(),
		routes:  cfg.routesOf(c.market, depth), depthSuffix: depth,
		handling:  make(chan struct{}, 1),
		news:      make(chan struct{}),
		snapshots: newSnapshotFetcher(c, &cfg),
	}
	return d, d.add(cfg.Symbols, true)
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
	err := d.begin(ctx)
	if err == nil {
		err = d.runShards(ctx)
	}
	if d.client.httpOwned {
		d.client.CloseIdleConnections()
	}
	d.stop(err)
	return err
}

func (d *DepthSyncer) runShards(ctx context.Context) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	handling, endHandling := withGrace(ctx, stopGrace)
	defer endHandling()

	fetches, endFetches := context.WithCancel(context.WithoutCancel(ctx))
	defer endFetches()
	var fetching, feeding sync.WaitGroup
	d.snapshots.begin()
	fetching.Go(func() { d.snapshots.run(fetches) })
	errs := make(chan error, 1) // the handler's
	launch := func(f *shard) {
		feeding.Go(func() {
			var failed *handlerError
			if errors.As(f.run(running, handling), &failed) {
				errs <- failed.err // the handler is not called again, so it is alone
			}
			cancel()
		})
	}
	d.changing.Lock()
	d.launch = launch
	for _, f := range d.allShards() {
		launch(f)
	}
	d.changing.Unlock()
	feeding.Go(func() { d.poll(running) })

	<-running.Done()
	d.changing.Lock()
	d.launch = nil
	d.changing.Unlock()
	feeding.Wait()
	d.snapshots.end(d.symbols.all())
	endFetches()
	fetching.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return ctx.Err()
	}
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
