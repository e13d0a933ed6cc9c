package pipeline

import (
	"context"
	"fmt"

	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/sink"
)

// durable is where the archive's consumers keep their place on the server. One archiver at a time uses it.
const durable = "archive"

// maxAttempts is how often a batch is written that fails for no known reason, before it is parted.
const maxAttempts = 5

// batchRecords is how many records one INSERT may have. At the load of a whole exchange the library's 1000
// would be several INSERTs a second for each table, whose fixed costs exceed those of the rows.
const batchRecords = 8192

// An archiver is the way from the bus to the store.
type archiver struct {
	consumers  []*natsbus.Consumer
	advisories *deadletter.AdvisoryWatch
	redriver   *deadletter.Redriver // nil if dead letters are left to people
	into       sink.Sink
}

// streamNames are the streams of market data, in the order of the consumers.
func streamNames() []string { return []string{natsbus.BooksStream(""), natsbus.TradesStream("")} }

func (p *Pipeline) newArchiver() (*archiver, error) {
	log := p.watch.logger("archiver")
	a := &archiver{into: p.watch.archive.Storing(p.tally.storing(p.archive.Store))}
	for _, stream := range streamNames() {
		meter := p.watch.bus.Consumer(stream, durable)
		c, err := natsbus.NewConsumer(p.bus.JS, natsbus.ConsumerConfig{
			Stream: stream, Durable: durable,
			Batch: batchRecords, DeadLetters: true, MaxAttempts: maxAttempts,
			DrainTimeout: p.cfg.Drain,
			Hooks:        natsbus.TeeHooks(meter.Hooks(), natsbus.LogHooks(log.With("stream", stream, "consumer", durable))),
		})
		if err != nil {
			return nil, err
		}
		meter.Observe(c)
		a.consumers = append(a.consumers, c)
	}
	var err error
	a.advisories, err = deadletter.NewAdvisoryWatch(p.bus.JS, deadletter.AdvisoryConfig{Hooks: deadletter.LogHooks(log)})
	if err != nil {
		return nil, err
	}
	if p.cfg.Redrive {
		cfg := deadletter.RedriverConfig{Hooks: deadletter.LogHooks(log)}
		if a.redriver, err = deadletter.NewRedriver(p.letters.work, cfg); err != nil {
			return nil, err
		}
	}
	p.watch.archive.Observe(p.archive.Store, a.consumers...)
	return a, nil
}

func (a *archiver) stages() []stageFunc {
	stages := []stageFunc{a.advisories.Run}
	if a.redriver != nil {
		stages = append(stages, a.redriver.Run)
	}
	for _, c := range a.consumers {
		stages = append(stages, func(ctx context.Context) error { return c.Run(ctx, a.into) })
	}
	return stages
}

// stats are those of the consumers.
func (a *archiver) stats() []natsbus.ConsumerStats {
	var all []natsbus.ConsumerStats
	for _, c := range a.consumers {
		all = append(all, c.Stats())
	}
	return all
}

// behind is how many messages wait to be stored, as far as the consumers know.
func (a *archiver) behind() uint64 {
	var n uint64
	for _, s := range a.stats() {
		n += s.Behind + uint64(s.InFlight)
	}
	return n
}

// waitAllStored waits until all that the streams hold is stored, for the time that is allowed.
func (p *Pipeline) waitAllStored(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Drain)
	defer cancel()
	for i, stream := range streamNames() {
		if err := waitStored(ctx, p.bus.JS, stream, p.archiver.consumers[i]); err != nil {
			return fmt.Errorf("storing what stream %s holds: %w", stream, err)
		}
	}
	return nil
}
