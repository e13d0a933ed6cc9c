package natsbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A DepthFeed keeps order books from what collectors publish, without a request to the exchange: each
// begins with the last snapshot on the bus and goes on with the updates after it, through the
// orderbook.Syncer that collectors use. Its methods are safe for concurrent use.
//
// Copies of one change from several collectors, also with other borders between updates, are applied
// once. A collector that ends, a hole in the ids and a bus that is away all show in Status; the book
// comes back by itself.
type DepthFeed struct {
	cfg   DepthFeedConfig
	js    jetstream.JetStream
	books map[marketprism.Instrument]*feedBook

	handling chan struct{} // holds a token while the handler runs

	mu      sync.Mutex
	running bool
	ended   error         // why Run has returned; nil before and while it runs
	news    chan struct{} // closed when a book became known, or Run has returned
}

// The states of a DepthFeed that a caller may ask for with errors.Is. ErrRunning is another one.
var (
	// ErrNotSynced says that an instrument's book is not known at present. It comes as a *NotSyncedError.
	ErrNotSynced = errors.New("natsbus: book is not synced")
	// ErrUnknownInstrument says that an instrument is not one of those a DepthFeed follows.
	ErrUnknownInstrument = errors.New("natsbus: instrument is not followed")
	// ErrStopped says that a DepthFeed's Run has returned.
	ErrStopped = errors.New("natsbus: DepthFeed has stopped")
)

// A NotSyncedError is the ErrNotSynced of one instrument.
type NotSyncedError struct {
	Instrument marketprism.Instrument
	State      orderbook.State
}

func (e *NotSyncedError) Error() string {
	return fmt.Sprintf("natsbus: book of %s is not synced: %v", e.Instrument, e.State)
}

// Unwrap returns ErrNotSynced.
func (e *NotSyncedError) Unwrap() error { return ErrNotSynced }

// NewDepthFeed returns a DepthFeed on the connection of js, which the caller opens and closes. It fails
// if cfg is contradictory; whether the stream is there shows in Run.
func NewDepthFeed(js jetstream.JetStream, cfg DepthFeedConfig) (*DepthFeed, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &DepthFeed{
		cfg: cfg, js: js,
		books:    make(map[marketprism.Instrument]*feedBook),
		handling: make(chan struct{}, 1),
		news:     make(chan struct{}),
	}
	for _, instrument := range cfg.Instruments {
		b, err := newFeedBook(instrument, cfg.Sync)
		if err != nil {
			return nil, err
		}
		f.books[instrument] = b
	}
	return f, nil
}

// Run reads the bus and keeps every book in step until ctx ends, whose cause it then returns. It waits
// for a server that is away. Before it returns, every known book ends with a Gap record, and nothing
// of it is left running. It returns earlier if the handler fails, with the handler's error; if there is
// nothing to wait for, as when the stream was never made, with a *StreamError; and with ErrRunning if it runs
// already. It may be called again afterwards.
func (f *DepthFeed) Run(ctx context.Context) error {
	if err := f.start(); err != nil {
		return err
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var following sync.WaitGroup
	for _, b := range f.books {
		following.Go(func() {
			if err := newFollower(f, b).run(running); err != nil {
				cancel(err)
			}
		})
	}
	following.Wait()
	err := context.Cause(running)
	f.stop(err)
	return err
}

func (f *DepthFeed) start() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running {
		return ErrRunning
	}
	f.running, f.ended = true, nil
	return nil
}

func (f *DepthFeed) stop(err error) {
	f.mu.Lock()
	f.running, f.ended = false, fmt.Errorf("%w: %w", ErrStopped, err)
	f.mu.Unlock()
	f.changed()
}

// changed wakes whoever waits in Ready.
func (f *DepthFeed) changed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.news)
	f.news = make(chan struct{})
}

// stopGrace is how long the handler may go on after Run's context has ended.
const stopGrace = 5 * time.Second

// handle gives a record to the handler, alone among all instruments.
func (f *DepthFeed) handle(ctx context.Context, rec *marketprism.Record) error {
	if f.cfg.Handler == nil {
		return nil
	}
	select {
	case f.handling <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-f.handling }()
	return f.cfg.Handler(ctx, rec)
}
