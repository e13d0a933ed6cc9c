package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/examples/marketprism/page"
	"github.com/marketprism/marketprism/examples/plain"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// spillSync is the longest time before spilled records are synced to disk, and so the most that a power cut loses.
const spillSync = 100 * time.Millisecond

// spillBytes bounds the disk queue.
const spillBytes = 1 << 30

// A record waits up to bufferDelay for others on its way to the bus, and up to flushEvery for others to be stored with.
// The second wait is the longer one: a few more messages at a time save little, while each INSERT costs ClickHouse about
// 5 ms of CPU, whatever its rows, and its part is merged. With the library's 100 and 250 ms the time from the event
// to ClickHouse is about the same, for 37 to 40 µs of ClickHouse's CPU a record in place of 29 at 3,000 records/s.
const (
	bufferDelay = 25 * time.Millisecond
	flushEvery  = 350 * time.Millisecond
)

func (p *Pipeline) openSource(ctx context.Context) (err error) {
	p.source, err = openSource(ctx, p.cfg)
	return err
}

func (p *Pipeline) openBus(ctx context.Context) (err error) {
	hooks := natsbus.TeeConnHooks(p.watch.bus.ConnHooks(), natsbus.LogConnHooks(p.watch.logger("bus")))
	if p.cfg.NATS == "" && p.embedded {
		p.bus, err = engines.EmbedBus(ctx, p.dir, hooks)
	} else {
		var options []nats.Option
		if options, err = engines.BusOptions(p.cfg.Access); err == nil {
			p.bus, err = engines.OpenBus(ctx, p.cfg.NATS, hooks, options...)
		}
	}
	if err == nil {
		err = natsbus.EnsureStreams(ctx, p.bus.JS, p.cfg.Streams())
	}
	if err == nil {
		p.watch.bus.Observe(p.bus.Conn)
		p.watch.bus.Streams(p.bus.JS, streamNames()...)
		p.letters = newLetters(p.bus.JS)
		p.watch.bus.DeadLetters(p.bus.JS, p.letters.stream, p.letters.work)
	}
	return err
}

func (p *Pipeline) openArchive(ctx context.Context) (err error) {
	dir := p.cfg.Data
	if p.embedded {
		dir = p.dir
	}
	p.watch.archive = p.watch.metrics.Archive(durable, "")
	cfg := p.cfg.Store()
	cfg.Hooks = chstore.TeeHooks(p.watch.archive.Hooks(), chstore.LogHooks(p.watch.logger("store")))
	p.archive, err = engines.OpenArchive(ctx, p.cfg.ClickHouse, engines.Embedded{Dir: dir, Temporary: p.cfg.Data == "", Analysts: p.cfg.ClickHouseListen}, cfg, p.cfg.ClickHouseCA)
	if err == nil {
		p.onAbort(p.archive.Crash)
	}
	if err == nil && p.archive.Addr != "" && os.Geteuid() == 0 {
		p.watch.logger("store").Warn("the embedded ClickHouse runs as root: run this program as a user of its own")
	}
	if err == nil {
		err = p.archive.Store.Migrate(ctx)
	}
	return err
}

// A collector moves records from the exchange to the bus.
type collector struct {
	client    *binance.Client
	books     *binance.DepthSyncer
	buffer    *sink.Buffer
	spill     *sink.Spill
	publisher *natsbus.Publisher
	page      *page.Page // nil if it is off
	conns     connections
	waiting   map[string]string // at the end of the collection, why each book was not synced
	gaps      uint64            // Gaps received before the collection ended
}

func (p *Pipeline) newCollector(ctx context.Context) (*collector, error) {
	c := &collector{}
	if err := p.connectBus(c); err != nil {
		return nil, err
	}
	if err := p.connectExchange(ctx, c); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// connectBus creates the stages from the buffer to the bus.
func (p *Pipeline) connectBus(c *collector) error {
	meter := p.watch.bus.Publisher()
	signer, err := engines.Signer(p.cfg.SignKey)
	if err != nil {
		return err
	}
	c.publisher, err = natsbus.NewPublisher(p.bus.JS, natsbus.PublisherConfig{
		Signer: signer,
		Hooks:  natsbus.TeeHooks(meter.Hooks(), natsbus.LogHooks(p.watch.logger("publisher"))),
	})
	if err != nil {
		return err
	}
	meter.Observe(c.publisher)
	c.spill, err = sink.NewSpill(countedPublisher{c.publisher, &p.tally}, sink.SpillConfig{
		Dir:    filepath.Join(p.dir, "spill"),
		Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord, Peek: peek,
		MaxBytes:     spillBytes,
		SyncInterval: spillSync,
		Hooks:        sink.LogSpillHooks(p.watch.logger("spill")),
	})
	if err != nil {
		return errors.Join(err, c.close())
	}
	p.watch.spill.Observe(c.spill, spillBytes)
	var into sink.Sink = c.spill
	if p.cfg.SnapshotEvery > 0 {
		log := p.watch.logger("snapshots")
		into, err = bookfeed.NewSnapshots(c.spill, bookfeed.SnapshotsConfig{
			Every: p.cfg.SnapshotEvery,
			Refused: func(i sink.RefusedInfo) {
				log.Error("added snapshot refused", "key", i.Record.Key(), "err", i.Err)
			},
		})
		if err != nil {
			return errors.Join(err, c.close())
		}
	}
	c.buffer, err = sink.NewBuffer(into, sink.BufferConfig{
		MaxDelay: bufferDelay, DrainTimeout: p.cfg.Drain, Hooks: sink.LogHooks(p.watch.logger("buffer")),
	})
	if err != nil {
		return errors.Join(err, c.close())
	}
	return nil
}

// connectExchange creates the driver. It writes records to the buffer without the end of its context: the buffer, which
// ends later, may be full while the collection ends.
func (p *Pipeline) connectExchange(ctx context.Context, c *collector) error {
	downstream := context.WithoutCancel(ctx)
	market := marketprism.Market(p.cfg.Market)
	meter := p.watch.metrics.Exchange(market)
	cfg := p.source.config
	cfg.Market = market
	cfg.Hooks = binance.TeeHooks(meter.Hooks(), binance.LogHooks(p.watch.logger("collector")), c.conns.hooks())
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

// collecting returns the stages from the exchange to the bus.
func (p *Pipeline) collecting() []sink.Stage {
	c := p.collector
	return []sink.Stage{
		{Name: "driver", Run: asPart("driver", p.collect)},
		{Name: "publisher", Run: asPart("publisher", c.buffer.Run), Flush: p.flush},
		{Name: "disk queue", Run: asPart("disk queue", c.spill.Run)},
	}
}

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

// peek decodes a record of the disk queue without its levels.
func peek(data []byte, r *marketprism.Record) error {
	d := natsbus.Decoder{SkipLevels: true}
	return d.Decode("", data, r)
}

// A countedPublisher counts records as published when they are sent to the bus, and as acked when it has acknowledged
// them. Added snapshots are not counted.
type countedPublisher struct {
	publisher *natsbus.Publisher
	tally     *tally
}

// Write implements sink.Sink.
func (c countedPublisher) Write(ctx context.Context, recs []marketprism.Record) error {
	return c.WriteEncoded(ctx, recs, nil)
}

// WriteEncoded implements sink.EncodedSink.
func (c countedPublisher) WriteEncoded(ctx context.Context, recs []marketprism.Record, bodies [][]byte) error {
	c.tally.add(published, recs)
	if err := c.publisher.WriteEncoded(ctx, recs, bodies); err != nil {
		c.tally.remove(published, recs) // they are written again
		return err
	}
	c.tally.add(acked, recs)
	return nil
}

// collect keeps the books until ctx ends, and counts the Gaps that end them.
func (p *Pipeline) collect(ctx context.Context) error {
	err := p.collector.books.Run(ctx)
	p.tally.closing.Store(p.tally.count(received, marketprism.KindGap) - p.collector.gaps)
	return err
}

// unsynced returns the cause for every followed book that never was synced.
func (p *Pipeline) unsynced() map[marketprism.Instrument]string {
	causes := make(map[marketprism.Instrument]string)
	for symbol, cause := range p.collector.waiting {
		inst := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Market(p.cfg.Market), Symbol: symbol}
		if b := p.live[inst]; b == nil || !b.synced {
			causes[inst] = cause
		}
	}
	for inst, b := range p.live {
		if _, wanted := p.collector.waiting[inst.Symbol]; !wanted && !b.synced {
			causes[inst] = "the exchange lists it no more"
		}
	}
	return causes
}

// waits returns for every followed book why it is not synced, "" if it is.
func (c *collector) waits() map[string]string {
	waiting := make(map[string]string)
	for _, symbol := range c.books.Symbols() {
		status, _ := c.books.Status(symbol)
		text := status.Wait.String()
		if status.Listing != "" && status.Listing != "TRADING" {
			text = "the exchange lists it as " + status.Listing
		}
		waiting[symbol] = plain.Text(text)
	}
	return waiting
}

// noBooks says why no book is followed.
func (c *collector) noBooks() string {
	if err := c.conns.listingErr(); err != nil {
		return plain.Text(err.Error())
	}
	return "the exchange lists no symbol that trades"
}

// flush blocks until every received record is on the bus, for at most the drain time. The rest is in the spill queue,
// with which a collector on the same folder continues.
func (p *Pipeline) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Drain)
	defer cancel()
	if err := p.collector.buffer.Flush(ctx); err != nil {
		return fmt.Errorf("publishing received records: %w", err)
	}
	if err := p.collector.spill.Flush(ctx); err != nil {
		left := p.collector.spill.Stats().Queued
		if p.cfg.Data != "" {
			return fmt.Errorf("publishing received records: %d records are left in %s, start the collector again with this folder: %w",
				left, filepath.Join(p.dir, "spill"), err)
		}
		return fmt.Errorf("publishing received records: %d records are lost, since there is no --data folder for them: %w", left, err)
	}
	return nil
}

// synced returns the number of synced and of all books.
func (c *collector) synced() (synced, all int) {
	symbols := c.books.Symbols()
	for _, symbol := range symbols {
		if s, _ := c.books.Status(symbol); s.State == orderbook.Synced {
			synced++
		}
	}
	return synced, len(symbols)
}

// durable is the name of the archive's durable consumers. One archiver at a time uses them.
const durable = "archive"

// maxAttempts is the number of writes of a batch that fails for an unknown reason, before it is split.
const maxAttempts = 5

// batchRecords is the maximum number of records of one INSERT. At the load of a whole exchange the library's 1000
// would mean several INSERTs a second per table, whose fixed costs exceed those of the rows.
const batchRecords = 8192

// An archiver moves records from the bus to the store.
type archiver struct {
	consumers  []*natsbus.Consumer
	advisories *deadletter.AdvisoryWatch
	redriver   *deadletter.Redriver // nil if --redrive is off
	into       sink.Sink
}

// streamNames returns the streams of market data, in the order of the consumers.
func streamNames() []string { return []string{natsbus.BooksStream(""), natsbus.TradesStream("")} }

func (p *Pipeline) newArchiver() (*archiver, error) {
	log := p.watch.logger("archiver")
	store := sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		return asPart("store client", func(ctx context.Context) error { return p.archive.Store.Write(ctx, recs) })(ctx)
	})
	verifier, err := engines.Verifier(p.cfg.TrustedKeys)
	if err != nil {
		return nil, err
	}
	a := &archiver{into: p.watch.archive.Storing(p.tally.storing(store))}
	for _, stream := range streamNames() {
		meter := p.watch.bus.Consumer(stream, durable)
		c, err := natsbus.NewConsumer(p.bus.JS, natsbus.ConsumerConfig{
			Stream: stream, Durable: durable,
			Batch: batchRecords, FlushEvery: flushEvery, DeadLetters: true, MaxAttempts: maxAttempts,
			DrainTimeout: p.cfg.Drain,
			Verifier:     verifier,
			Hooks:        natsbus.TeeHooks(meter.Hooks(), natsbus.LogHooks(log.With("stream", stream, "consumer", durable))),
		})
		if err != nil {
			return nil, err
		}
		meter.Observe(c)
		a.consumers = append(a.consumers, c)
	}
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

// storing returns the stages from the bus to the archive. flush, which may be nil, is that of each consumer.
func (p *Pipeline) storing(flush func(ctx context.Context, stream string, c *natsbus.Consumer) error) []sink.Stage {
	a := p.archiver
	stages := make([]sink.Stage, 0, 4)
	for i, c := range a.consumers {
		stream := streamNames()[i]
		stage := sink.Stage{Name: "consumer of " + stream, Run: asPart("consumer", func(ctx context.Context) error { return c.Run(ctx, a.into) })}
		if flush != nil {
			stage.Flush = func(ctx context.Context) error { return flush(ctx, stream, c) }
		}
		stages = append(stages, stage)
	}
	stages = append(stages, sink.Stage{Name: "advisories", Run: a.advisories.Run})
	if a.redriver != nil {
		stages = append(stages, sink.Stage{Name: "redriver", Run: a.redriver.Run})
	}
	return stages
}

// stats returns the stats of the consumers.
func (a *archiver) stats() []natsbus.ConsumerStats {
	var all []natsbus.ConsumerStats
	for _, c := range a.consumers {
		all = append(all, c.Stats())
	}
	return all
}

// behind returns the number of messages not yet stored, as the consumers last saw it.
func (a *archiver) behind() uint64 {
	var n uint64
	for _, s := range a.stats() {
		n += s.Behind + uint64(s.InFlight)
	}
	return n
}

// waitStored blocks until every message of a stream is stored, for at most the drain time.
func (p *Pipeline) waitStored(ctx context.Context, stream string, c *natsbus.Consumer) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Drain)
	defer cancel()
	if err := waitStored(ctx, p.bus.JS, stream, c); err != nil {
		return fmt.Errorf("storing the messages of stream %s: %w", stream, err)
	}
	return nil
}
