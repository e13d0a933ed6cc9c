package binance

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/internal/bookset"
)

// A DepthSyncer keeps the order books of many symbols equal to the exchange's. Its methods are safe for
// concurrent use.
type DepthSyncer struct {
	client    *Client
	cfg       DepthConfig
	books     *bookset.Set[string, Status, *symbolBook]
	snapshots *snapshotFetcher

	depthSuffix string         // of the depth streams' names
	routes      []routeStreams // the streams of each symbol by their routes

	changing sync.Mutex   // held while the symbols change, and the members of the shards
	launch   func(*shard) // runs a new shard; nil while Run does not run
	listed   atomic.Bool  // the symbols of AllTrading are known

	mu     sync.Mutex
	shards []*shard // a new slice with each change
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
		snapshots: newSnapshotFetcher(c, cfg.SnapshotTimeout),
	}
	return d, d.add(cfg.Symbols, true)
}

// Run connects and keeps every book synced until ctx ends, and reconnects as often as needed. It blocks,
// and returns nil when ctx has ended and every synced book has ended with a Gap record that the Handler
// accepted. Nothing of it is left running then. It returns an error earlier if the Handler fails, the
// Handler's own; if the exchange does not list a symbol, an *UnknownSymbolsError; if the exchange refuses
// to list its symbols, an *APIError; and ErrRunning if it runs already. It may be called again afterwards.
func (d *DepthSyncer) Run(ctx context.Context) error {
	if !d.books.RunBegan() {
		return ErrRunning
	}
	err := d.firstListing(ctx)
	switch {
	case err == nil:
		err = d.runShards(ctx)
	case ctx.Err() != nil:
		err = nil
	}
	if d.client.httpOwned {
		d.client.CloseIdleConnections()
	}
	d.books.RunEnded(err)
	return err
}

// runShards returns nil once ctx has ended and all shards have, or the Handler's error.
func (d *DepthSyncer) runShards(ctx context.Context) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	handling, endHandling := bookset.WithGrace(ctx)
	defer endHandling()

	fetching, endFetching := context.WithCancel(context.WithoutCancel(ctx))
	defer endFetching()
	var fetcher, shards sync.WaitGroup
	d.snapshots.begin()
	fetcher.Go(func() { d.snapshots.run(fetching) })
	errs := make(chan error, 1) // the Handler's
	d.changing.Lock()
	d.launch = func(s *shard) {
		s.begin(time.Now())
		shards.Go(func() {
			var failed *bookset.HandlerError
			if errors.As(s.run(running, handling), &failed) {
				errs <- failed.Err // the only one: the Handler is not called again
			}
			cancel()
		})
	}
	for _, s := range d.allShards() {
		d.launch(s)
	}
	d.changing.Unlock()
	shards.Go(func() { d.poll(running) })

	<-running.Done()
	d.changing.Lock()
	d.launch = nil
	d.changing.Unlock()
	shards.Wait()
	d.snapshots.end(d.books.All())
	endFetching()
	fetcher.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// Rotate replaces every connection by a new one, without a resync and without a gap: each old
// connection is closed once its replacement carries every stream. It returns at once; Hooks.Rotated
// is called for each. A connection whose replacement is on its way is left as it is. While Run does not
// run, Rotate does nothing.
func (d *DepthSyncer) Rotate() {
	for _, s := range d.allShards() {
		s.tasks.post(func(_ context.Context, now time.Time) error {
			for _, slot := range s.conns.slots {
				s.rotateSlot(now, slot, RotateRequest)
			}
			return nil
		})
	}
}
