package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
)

// A pipeline is one run, from the exchange to the archive and back.
type pipeline struct {
	opt   options
	out   *os.File
	tally tally
	live  liveBooks // used by the collector's handler, and after it has ended
}

func newPipeline(opt options, out *os.File) *pipeline {
	return &pipeline{opt: opt, out: out, live: make(liveBooks)}
}

// run opens the engines, collects, drains and verifies. Interrupting ctx ends the collection only.
func (p *pipeline) run(ctx context.Context) error {
	source, err := openSource(ctx, p.opt)
	if err != nil {
		return err
	}
	defer source.close()
	bus, err := openBus(ctx, p.opt)
	if err != nil {
		return err
	}
	defer bus.close()
	archive, err := openArchive(ctx, p.opt)
	if err != nil {
		return err
	}
	defer archive.stop()

	if err := p.transport(ctx, source, bus, archive); err != nil {
		return err
	}
	printTally(&p.tally, p.out)

	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.opt.drain)
	defer cancel()
	return verify(late, p.live, archive.store, p.out)
}

// transport moves records from the source to the archive: collector, buffer, publisher, bus,
// consumers, store. When the collection ends each stage is emptied before the next is stopped.
func (p *pipeline) transport(ctx context.Context, source *source, bus *bus, archive *archive) error {
	publisher, err := natsbus.NewPublisher(bus.js, natsbus.PublisherConfig{})
	if err != nil {
		return err
	}
	defer publisher.Close()
	buffer, err := sink.NewBuffer(p.countPublished(publisher), sink.BufferConfig{DrainTimeout: p.opt.drain})
	if err != nil {
		return err
	}
	consumers, err := newConsumers(bus)
	if err != nil {
		return err
	}

	// Downstream outlives ctx: what was received before the end is still stored.
	downstream, stopDownstream := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopDownstream(nil)
	publishing := start(downstream, stopDownstream, buffer.Run)
	var storing []*stageRun
	for _, c := range consumers {
		storing = append(storing, start(downstream, stopDownstream, func(ctx context.Context) error {
			return c.Run(ctx, p.tally.counting(stored, archive.store))
		}))
	}

	err = p.collect(ctx, downstream, source, buffer)
	err = errors.Join(err, p.drain(downstream, buffer, bus, consumers))
	publishing.stop()
	for _, s := range storing {
		s.stop()
	}
	err = errors.Join(err, publishing.err())
	for _, s := range storing {
		err = errors.Join(err, s.err())
	}
	return err
}

// streamNames are the streams of market data, in the order of the consumers.
func streamNames() []string { return []string{natsbus.BooksStream(""), natsbus.TradesStream("")} }

// newConsumers returns one consumer for each stream of market data.
func newConsumers(bus *bus) ([]*natsbus.Consumer, error) {
	var consumers []*natsbus.Consumer
	for _, stream := range streamNames() {
		c, err := natsbus.NewConsumer(bus.js, natsbus.ConsumerConfig{Stream: stream, Durable: "archive"})
		if err != nil {
			return nil, err
		}
		consumers = append(consumers, c)
	}
	return consumers, nil
}

// countPublished counts records at published when they are given to the bus, at acked when it has
// confirmed them.
func (p *pipeline) countPublished(publisher sink.Sink) sink.Sink {
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
// fails. Records reach the buffer under downstream, so that none is lost when ctx ends.
func (p *pipeline) collect(ctx, downstream context.Context, source *source, buffer *sink.Buffer) error {
	client, err := binance.NewClient(source.config)
	if err != nil {
		return err
	}
	symbols, err := source.listed(ctx, client)
	if err != nil {
		return err
	}
	var one [1]marketprism.Record
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{
		Symbols: symbols,
		Trades:  true, AggTrades: true, Tickers: true,
		Handler: func(_ context.Context, rec *marketprism.Record) error {
			p.live.apply(rec)
			one[0] = *rec
			p.tally.add(received, one[:])
			return buffer.Write(downstream, one[:])
		},
	})
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	collecting := start(ctx, cancel, books.Run)
	defer collecting.stop()
	progress := newProgress(p, books, symbols)
	err = p.watch(ctx, downstream, source, progress)
	progress.end()
	collecting.stop()
	return errors.Join(err, collecting.err())
}

// watch shows the progress until the collection is to end.
func (p *pipeline) watch(ctx, downstream context.Context, source *source, progress *progress) error {
	var timeUp <-chan time.Time
	if p.opt.duration > 0 {
		timer := time.NewTimer(p.opt.duration)
		defer timer.Stop()
		timeUp = timer.C
	}
	tick := time.NewTicker(progress.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			progress.show()
		case <-timeUp:
			return nil
		case <-ctx.Done(): // interrupted, or the collector has failed and will say why
			return nil
		case <-downstream.Done():
			return context.Cause(downstream)
		case <-source.done:
			if err := source.err(); err != nil {
				return err
			}
			return p.waitQuiet(ctx)
		}
	}
}

// drain waits until everything received is stored, for the time that is allowed.
func (p *pipeline) drain(ctx context.Context, buffer *sink.Buffer, bus *bus, consumers []*natsbus.Consumer) error {
	ctx, cancel := context.WithTimeout(ctx, p.opt.drain)
	defer cancel()
	if err := buffer.Flush(ctx); err != nil {
		return fmt.Errorf("publishing what was received: %w", err)
	}
	for i, stream := range streamNames() {
		if err := waitStored(ctx, bus.js, stream, consumers[i]); err != nil {
			return fmt.Errorf("storing what stream %s holds: %w", stream, err)
		}
	}
	return nil
}
