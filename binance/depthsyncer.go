package binance

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bookset"
)

// A DepthSyncer keeps the order books of many symbols in step with the exchange. Its methods are safe
// for concurrent use.
type DepthSyncer struct {
	client    *Client
	cfg       DepthConfig
	books     *bookset.Set[string, Status, *symbolBook]
	snapshots *snapshotFetcher

	depthSuffix string         // ending of the depth streams' names
	routes      []routeStreams // what each symbol has on which route

	changing sync.Mutex   // held while the symbols change, and their places on the feeds
	launch   func(*shard) // runs a new feed; nil while Run does not
	listing  atomic.Bool  // AllTrading has been answered

	mu    sync.Mutex
	feeds []*shard // a new slice with each change
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
		books:  newBooks(),
		routes: cfg.routesOf(c.market, depth), depthSuffix: depth,
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
	if !d.books.Start() {
		return ErrRunning
	}
	err := d.begin(ctx)
	if err == nil {
		err = d.runShards(ctx)
	}
	if d.client.httpOwned {
		d.client.CloseIdleConnections()
	}
	d.books.Stop(err)
	return err
}

func (d *DepthSyncer) runShards(ctx context.Context) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	handling, endHandling := bookset.WithGrace(ctx)
	defer endHandling()

	fetches, endFetches := context.WithCancel(context.WithoutCancel(ctx))
	defer endFetches()
	var fetching, feeding sync.WaitGroup
	d.snapshots.begin()
	fetching.Go(func() { d.snapshots.run(fetches) })
	errs := make(chan error, 1) // the handler's
	launch := func(f *shard) {
		feeding.Go(func() {
			var failed *bookset.HandlerError
			if errors.As(f.run(running, handling), &failed) {
				errs <- failed.Err // the handler is not called again, so it is alone
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
	d.snapshots.end(d.books.All())
	endFetches()
	fetching.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return ctx.Err()
	}
}

// handle calls the handler with a record, one call at a time among all connections.
func (d *DepthSyncer) handle(ctx context.Context, rec *marketprism.Record) error {
	return d.books.Handle(ctx, d.cfg.Handler, rec)
}
