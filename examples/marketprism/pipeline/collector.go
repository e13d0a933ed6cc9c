package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/marketprism/page"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// A collector is the way from the exchange to the bus.
type collector struct {
	client    *binance.Client
	books     *binance.DepthSyncer
	buffer    *sink.Buffer
	spill     *sink.Spill
	publisher *natsbus.Publisher
	page      *page.Page // nil if it is off
	links     links
}

func (p *Pipeline) newCollector(downstream context.Context) (*collector, error) {
	c := &collector{}
	if err := p.connectBus(c); err != nil {
		return nil, err
	}
	if err := p.connectExchange(downstream, c); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// connectBus makes what records pass on their way to the bus.
func (p *Pipeline) connectBus(c *collector) error {
	meter := p.watch.bus.Publisher()
	var err error
	c.publisher, err = natsbus.NewPublisher(p.bus.JS, natsbus.PublisherConfig{
		Hooks: natsbus.TeeHooks(meter.Hooks(), natsbus.LogHooks(p.watch.logger("publisher"))),
	})
	if err != nil {
		return err
	}
	meter.Observe(c.publisher)
	c.spill, err = sink.NewSpill(p.countPublished(c.publisher), sink.SpillConfig{
		Dir:    filepath.Join(p.dir, "spill"),
		Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord,
		SyncInterval: spillSync,
		Hooks:        sink.LogSpillHooks(p.watch.logger("spill")),
	})
	if err != nil {
		return errors.Join(err, c.close())
	}
	var into sink.Sink = c.spill
	if p.cfg.SnapshotEvery > 0 {
		if into, err = bookfeed.NewSnapshots(c.spill, bookfeed.SnapshotsConfig{Every: p.cfg.SnapshotEvery}); err != nil {
			return errors.Join(err, c.close())
		}
	}
	c.buffer, err = sink.NewBuffer(into, sink.BufferConfig{
		DrainTimeout: p.cfg.Drain, Hooks: sink.LogHooks(p.watch.logger("buffer")),
	})
	if err != nil {
		return errors.Join(err, c.close())
	}
	return nil
}

// connectExchange makes what follows the exchange. Records reach the buffer under downstream, so that
// none is lost when the collection ends.
func (p *Pipeline) connectExchange(downstream context.Context, c *collector) error {
	market := marketprism.Market(p.cfg.Market)
	meter := p.watch.metrics.Exchange(market)
	cfg := p.source.config
	cfg.Market = market
	cfg.HTTPClient = meter.HTTPClient(cfg.DialContext)
	cfg.Hooks = binance.TeeHooks(meter.Hooks(), binance.LogHooks(p.watch.logger("collector")), c.links.hooks())
	var err error
	if c.client, err = binance.NewClient(cfg); err != nil {
		return err
	}
	var one [1]marketprism.Record
	depth := binance.DepthConfig{
		Symbols: p.source.symbols,
		Trades:  true, AggTrades: true, Tickers: true,
		Redundancy: p.cfg.Redundancy,
		Handler: meter.Handler(func(_ context.Context, rec *marketprism.Record) error {
			if p.live != nil {
				p.live.apply(rec)
			}
			if c.page != nil {
				c.page.Observe(rec)
			}
			one[0] = *rec
			p.tally.add(received, one[:])
			return c.buffer.Write(downstream, one[:])
		}),
	}
	if p.source.symbols == nil {
		depth.AllTrading = &binance.SymbolFilter{}
	}
	if c.books, err = binance.NewDepthSyncer(c.client, depth); err != nil {
		return err
	}
	meter.Observe(c.client, c.books)
	return p.newPage(c)
}

// downstream are the stages behind the handler, which outlive the collection.
func (c *collector) downstream() []stageFunc { return []stageFunc{c.buffer.Run, c.spill.Run} }

func (c *collector) close() error {
	var err error
	if c.spill != nil {
		err = c.spill.Close()
	}
	if c.publisher != nil {
		c.publisher.Close()
	}
	if c.client != nil {
		c.client.CloseIdleConnections()
	}
	return err
}

// countPublished counts records at published when they are given to the bus, at acked when it has
// confirmed them. Snapshots that were added on the way are not counted: nobody received them.
func (p *Pipeline) countPublished(publisher sink.Sink) sink.Sink {
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		p.tally.add(published, recs)
		err := publisher.Write(ctx, recs)
		if err != nil {
			p.tally.remove(published, recs) // they will be written again
			return err
		}
		p.tally.add(acked, recs)
		return nil
	})
}

// collect follows the source until ctx or its time ends, or it has no more to give, or a later stage
// fails.
func (p *Pipeline) collect(ctx, downstream context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	collecting := start(ctx, cancel, p.collector.books.Run)
	defer collecting.stop()
	err := p.watchUntilEnd(ctx, downstream, p.source)
	collecting.stop()
	return errors.Join(err, collecting.err())
}

// flush waits until everything received is on the bus, for the time that is allowed. What is not is in
// the spill queue, which a collector on the same folder goes on with.
func (p *Pipeline) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Drain)
	defer cancel()
	if err := p.collector.buffer.Flush(ctx); err != nil {
		return fmt.Errorf("publishing what was received: %w", err)
	}
	if err := p.collector.spill.Flush(ctx); err != nil {
		left := p.collector.spill.Stats().Queued
		if p.cfg.Data != "" {
			return fmt.Errorf("publishing what was received: %d records are left in %s, start the collector again with this folder: %w",
				left, filepath.Join(p.dir, "spill"), err)
		}
		return fmt.Errorf("publishing what was received: %d records are lost, since there is no --data to keep them in: %w", left, err)
	}
	return nil
}

// synced counts the books that can be trusted.
func (c *collector) synced() (synced, all int) {
	symbols := c.books.Symbols()
	for _, symbol := range symbols {
		if s, _ := c.books.Status(symbol); s.State == orderbook.Synced {
			synced++
		}
	}
	return synced, len(symbols)
}
