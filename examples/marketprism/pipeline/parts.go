package pipeline

import (
	"context"
	"time"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/natsbus"
)

// spillSync is how long spilled records may wait to be forced to the disk: what a power cut may cost.
const spillSync = 100 * time.Millisecond

func (p *Pipeline) openSource(ctx context.Context) (err error) {
	p.source, err = openSource(ctx, p.cfg)
	return err
}

func (p *Pipeline) openBus(ctx context.Context) (err error) {
	hooks := natsbus.TeeConnHooks(p.watch.bus.ConnHooks(), natsbus.LogConnHooks(p.watch.logger("bus")))
	if p.cfg.NATS == "" && p.embedded {
		p.bus, err = engines.EmbedBus(ctx, p.dir, hooks)
	} else {
		p.bus, err = engines.OpenBus(ctx, p.cfg.NATS, hooks)
	}
	if err == nil {
		err = natsbus.EnsureStreams(ctx, p.bus.JS, p.streams())
	}
	if err == nil {
		p.watch.bus.Observe(p.bus.Conn)
		p.watch.bus.Streams(p.bus.JS, streamNames()...)
		p.letters = newLetters(p.bus.JS)
		p.watch.bus.DeadLetters(p.bus.JS, p.letters.stream, p.letters.work)
	}
	return err
}

// streams are those of the library, within the bounds that are configured.
func (p *Pipeline) streams() natsbus.StreamsConfig {
	return natsbus.StreamsConfig{
		Books:  natsbus.StreamConfig{MaxBytes: p.cfg.BusBytes, MaxAge: p.cfg.BusAge},
		Trades: natsbus.StreamConfig{MaxBytes: p.cfg.BusBytes / 2, MaxAge: p.cfg.BusAge},

		Replicas: p.cfg.BusReplicas,
	}
}

func (p *Pipeline) openArchive(ctx context.Context) (err error) {
	dir := p.cfg.Data
	if p.embedded {
		dir = p.dir
	}
	p.watch.archive = p.watch.metrics.Archive(durable, "")
	cfg := p.cfg.Store()
	cfg.Hooks = chstore.TeeHooks(p.watch.archive.Hooks(), chstore.LogHooks(p.watch.logger("store")))
	p.archive, err = engines.OpenArchive(ctx, p.cfg.ClickHouse, dir, cfg)
	if err == nil {
		err = p.archive.Store.Migrate(ctx)
	}
	return err
}
