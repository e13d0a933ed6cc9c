// Package pipeline implements the roles of the marketprism program: a collector that publishes the data of an
// exchange, an archiver that stores the records of the bus, and both in one process.
//
//	DepthSyncer ▶ Buffer ▶ Snapshots ▶ Spill ▶ Publisher ══ JetStream ══▶ Consumer ▶ Store
//
// It consists of library parts; this package starts and ends them in order and shows their state.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/examples/marketprism/gate"
	"github.com/marketprism/marketprism/examples/marketprism/page"
	"github.com/marketprism/marketprism/examples/plain"
	"github.com/marketprism/marketprism/sink"
)

// ErrInterrupted means that ctx ended before the work was done. A role that had started, and ended in order, is no error.
var ErrInterrupted = errors.New("interrupted")

// A Pipeline is one run of one role.
type Pipeline struct {
	cfg   config.Config
	dir   string // of embedded servers and the spill queue
	out   *screen
	watch *observation

	door      *page.Door // serves the page, also before it is there; nil if it is off
	pageGate  gate.Config
	closePage func() error
	embedded  bool   // servers without an address run inside
	started   func() // called when all parts of transport run; may be nil

	tally tally
	live  liveBooks // used by the collector's handler, and after its end; nil if nothing is verified

	source    *source // the parts of the role, nil where it has none
	bus       *engines.Bus
	letters   *letters
	archive   *engines.Archive
	collector *collector
	archiver  *archiver
	progress  progress        // of the archiver; used by the main loop only
	enough    <-chan struct{} // closed to end the collection in order; may be nil

	aborting sync.Mutex
	cleaning []func() // what Abort does, last first; guarded by aborting
}

// New returns the Pipeline of a role, "marketprism", "collector" or "archiver". It writes the status to out and
// logs to logTo.
func New(role, version string, cfg config.Config, out *os.File, logTo io.Writer) (*Pipeline, error) {
	shown := newScreen(out)
	watch, err := newObservation(role, version, cfg, shown.beside(logTo))
	if err != nil {
		return nil, err
	}
	return &Pipeline{cfg: cfg, out: shown, watch: watch}, nil
}

// Run runs everything in one process: it collects, stores, and at the end rebuilds every book from the archive
// and compares it with the live one. The end of ctx ends only the collection: what was received is stored and compared.
// The error is ErrInterrupted if that was before every book was synced.
func (p *Pipeline) Run(ctx context.Context) error {
	p.live, p.embedded = make(liveBooks), true
	return p.inFolder(ctx, func(ctx context.Context) error {
		err := p.runAll(ctx)
		return errors.Join(err, p.close())
	})
}

func (p *Pipeline) runAll(ctx context.Context) error {
	if err := p.open(ctx, p.openArchive, p.openBus); err != nil {
		return err
	}
	p.printEmbedded()
	if err := p.transport(ctx); err != nil {
		return err
	}
	if ctx.Err() == nil {
		printTally(&p.tally, p.out)
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.Drain)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(interruptedVerify, cancel) })
	defer stop()
	found := verify(late, p.live, p.unsynced(), p.archive.Store)
	if ctx.Err() != nil {
		return found.conclude(&p.tally, p.out)
	}
	err := found.report(p.out)
	if errors.Is(err, errNoBooks) {
		err = fmt.Errorf("%w: %s", err, p.collector.noBooks())
	}
	p.printNext()
	return err
}

// printEmbedded prints how embedded servers can be reached.
func (p *Pipeline) printEmbedded() {
	if p.bus.Addr != "" {
		fmt.Fprintf(p.out, "embedded NATS at %s, for dlq and status while this runs: --data %s\n", p.bus.Addr, p.dir)
	}
	switch {
	case p.archive.Addr == "":
	case p.archive.Analysts == "":
		fmt.Fprintf(p.out, "embedded ClickHouse at %s, for this program alone; --clickhouse-listen lets analysts in\n", p.archive.Addr)
	default:
		fmt.Fprintf(p.out, "embedded ClickHouse, for analysts: %s\n", p.archive.Analysts)
	}
}

// printNext prints commands for the archive of a run.
func (p *Pipeline) printNext() {
	switch {
	case p.archive.Addr == "":
		fmt.Fprintf(p.out, "next: marketprism check --clickhouse ADDRESS --database %s\n", p.cfg.Database)
	case p.cfg.Data == "":
		fmt.Fprintln(p.out, "next: --data FOLDER keeps the archive, for marketprism check, book-at and replay; --source live --for 0 follows Binance")
	default:
		fmt.Fprintf(p.out, "next: marketprism check --data %s\n", p.cfg.Data)
		for instrument, b := range p.live { // any; a moment before now would soon be after the end
			fmt.Fprintf(p.out, "next: marketprism book-at %s --market %s --at %s --data %s\n",
				plain.Cell(instrument.Symbol), instrument.Market, b.at.UTC().Format(time.RFC3339Nano), p.cfg.Data)
			break
		}
	}
}

// transport moves records from the source to the archive. At the end of the collection it empties each stage before
// it stops the next one.
func (p *Pipeline) transport(ctx context.Context) error {
	var err error
	if p.collector, err = p.newCollector(ctx); err != nil {
		return err
	}
	defer p.collector.close()
	if p.archiver, err = p.newArchiver(); err != nil {
		return err
	}
	return p.runStages(ctx, slices.Concat(p.collecting(), p.storing(p.waitStored)))
}

// runStages shows the status and runs stages, and beside them the services, until ctx or the configured time ends, the source
// ends, or a stage fails.
func (p *Pipeline) runStages(ctx context.Context, stages []sink.Stage) error {
	services, err := p.services()
	if err != nil {
		return err
	}
	all := slices.Concat([]sink.Stage{{Name: "status", Run: p.watchUntilEnd}}, stages, services)
	for i := range all {
		all[i].Timeout = p.cfg.Drain + endPatience
	}
	return stageErrors(sink.RunStages(ctx, all...))
}

// endPatience is what a stage may take to end beyond the drain time.
const endPatience = 10 * time.Second

// stageErrors leaves out the names of stages whose errors say what has failed.
func stageErrors(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var errs []error
	for _, err := range joined.Unwrap() {
		if failed, ok := err.(*sink.StageError); ok && !failed.Overran {
			err = failed.Err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Collect publishes the source's data until ctx ends.
func (p *Pipeline) Collect(ctx context.Context) error {
	return p.inFolder(ctx, func(ctx context.Context) error {
		err := p.open(ctx, p.openBus)
		if err == nil {
			err = p.runCollector(ctx)
		}
		if err == nil && ctx.Err() != nil {
			fmt.Fprintf(p.out, "interrupted: %d records received and %d published\n", p.tally.total(received), p.tally.total(acked))
		}
		return errors.Join(err, p.close())
	})
}

func (p *Pipeline) runCollector(ctx context.Context) error {
	var err error
	if p.collector, err = p.newCollector(ctx); err != nil {
		return err
	}
	defer p.collector.close()
	return p.runStages(ctx, p.collecting())
}

// Archive stores the records of the bus until ctx ends, and then finishes the delivered batches.
func (p *Pipeline) Archive(ctx context.Context) error {
	return p.inFolder(ctx, func(ctx context.Context) error {
		err := p.openServers(ctx, p.openArchive, p.openBus)
		if err == nil {
			p.printEmbedded()
			err = p.runArchiver(ctx)
		}
		if err == nil && ctx.Err() != nil {
			fmt.Fprintf(p.out, "interrupted: %d records stored\n", p.tally.total(stored))
		}
		return errors.Join(err, p.close())
	})
}

func (p *Pipeline) runArchiver(ctx context.Context) error {
	var err error
	if p.archiver, err = p.newArchiver(); err != nil {
		return err
	}
	return p.runStages(ctx, p.storing(nil))
}

// inFolder runs a role with the configured folder, or with a temporary one that it removes afterwards. The context of run
// also ends when its output is closed.
func (p *Pipeline) inFolder(ctx context.Context, run func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.out.closed = cancel
	if p.dir = p.cfg.Data; p.dir != "" {
		return run(ctx)
	}
	dir, err := os.MkdirTemp("", "marketprism-")
	if err != nil {
		return err
	}
	p.dir = dir
	p.onAbort(func() { _ = os.RemoveAll(dir) })
	return errors.Join(run(ctx), os.RemoveAll(dir))
}

// EndWhen makes the collection end in order when done is closed, as it does after --for, and says so by the name of that event.
// Call it before Run.
func (p *Pipeline) EndWhen(event string, done <-chan struct{}) {
	p.enough = done
	fmt.Fprintf(p.out, "%s ends this in order, and so does Ctrl-C\n", event)
}

// onAbort adds what Abort does, before the earlier ones.
func (p *Pipeline) onAbort(clean func()) {
	p.aborting.Lock()
	defer p.aborting.Unlock()
	p.cleaning = append(p.cleaning, clean)
}

// Abort kills embedded servers and removes a temporary folder, for a program that exits at once. It is safe for concurrent use.
func (p *Pipeline) Abort() {
	p.aborting.Lock()
	defer p.aborting.Unlock()
	for _, clean := range slices.Backward(p.cleaning) {
		clean()
	}
}

// open opens the page and the source, and then the servers.
func (p *Pipeline) open(ctx context.Context, servers ...func(context.Context) error) error {
	if err := p.openPage(); err != nil {
		return err
	}
	if err := p.openSource(ctx); err != nil {
		return err
	}
	return p.openServers(ctx, servers...)
}

// openServers opens servers side by side. An error of one ends the others.
func (p *Pipeline) openServers(ctx context.Context, servers ...func(context.Context) error) error {
	opening, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	var all sync.WaitGroup
	for _, open := range servers {
		all.Go(func() {
			if err := open(opening); err != nil {
				failed(err)
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("%w before it had started", ErrInterrupted)
	}
	return context.Cause(opening)
}

// close closes the opened parts in reverse order, and last the page, which shows until then what is known.
func (p *Pipeline) close() error {
	var err error
	if p.bus != nil {
		err = p.bus.Close()
	}
	if p.archive != nil {
		err = errors.Join(err, p.archive.Close())
	}
	if p.source != nil {
		err = errors.Join(err, p.source.close())
	}
	if p.closePage != nil {
		err = errors.Join(err, p.closePage())
	}
	return err
}

// watchUntilEnd shows the status until the collection ends: by its time, the source, or ctx, which also ends when a stage
// fails. It is the first stage, so that its end begins that of the others.
func (p *Pipeline) watchUntilEnd(ctx context.Context) error {
	if p.started != nil {
		p.started()
	}
	defer func() {
		if p.collector != nil {
			p.collector.waiting, p.collector.gaps = p.collector.waits(), p.tally.count(received, marketprism.KindGap)
		}
	}()
	var timeUp <-chan time.Time
	if p.cfg.For > 0 {
		timer := time.NewTimer(p.cfg.For)
		defer timer.Stop()
		timeUp = timer.C
	}
	var played <-chan struct{}
	if p.source != nil {
		played = p.source.done
	}
	p.watch.notify(daemon.SdNotifyReady)
	defer p.watch.notify(daemon.SdNotifyStopping)
	status := newStatus(p)
	defer p.out.leave()
	tick := time.NewTicker(status.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.beat()
			status.show()
		case <-timeUp:
			return nil
		case <-p.enough:
			return nil
		case <-ctx.Done(): // interrupted, or a stage has failed and returns its error
			return nil
		case <-played:
			if err := p.source.err(); err != nil {
				return err
			}
			return p.waitQuiet(ctx)
		}
	}
}
