package bookfeed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
)

// A Feed keeps order books from what collectors publish, without a request to the exchange: each
// begins with the last snapshot on the bus and continues with the updates after it, through an
// orderbook.Joiner. Its methods are safe for concurrent use.
//
// Copies of one change from several collectors, also with other borders between updates, are applied
// once. A collector that ends, a hole in the ids and a bus that is away all show in Status; the book
// comes back by itself.
type Feed struct {
	cfg   Config
	js    jetstream.JetStream
	books map[marketprism.Instrument]*feedBook

	handling chan struct{} // holds a token while the handler runs

	mu      sync.Mutex
	running bool
	ended   error         // why Run has returned; nil before and while it runs
	news    chan struct{} // closed when a book became known, or Run has returned
}

// The states of a Feed that a caller may ask for with errors.Is. natsbus.ErrRunning is another one.
var (
	// ErrNotSynced says that an instrument's book is not known at present. It comes as a *NotSyncedError.
	ErrNotSynced = errors.New("bookfeed: book is not synced")
	// ErrUnknownInstrument says that an instrument is not one of those a Feed follows.
	ErrUnknownInstrument = errors.New("bookfeed: instrument is not followed")
	// ErrStopped says that a Feed's Run has returned.
	ErrStopped = errors.New("bookfeed: feed has stopped")
)

// A NotSyncedError is the ErrNotSynced of one instrument.
type NotSyncedError struct {
	Instrument marketprism.Instrument
	State      orderbook.State
}

func (e *NotSyncedError) Error() string {
	return fmt.Sprintf("bookfeed: book of %s is not synced: %v", e.Instrument, e.State)
}

// Unwrap returns ErrNotSynced.
func (e *NotSyncedError) Unwrap() error { return ErrNotSynced }

// New returns a Feed on the connection of js, which the caller opens and closes. It fails
// if cfg is contradictory; whether the stream is there shows in Run.
func New(js jetstream.JetStream, cfg Config) (*Feed, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &Feed{
		cfg: cfg, js: js,
		books:    make(map[marketprism.Instrument]*feedBook),
		handling: make(chan struct{}, 1),
		news:     make(chan struct{}),
	}
	for _, instrument := range cfg.Instruments {
		b, err := newFeedBook(instrument, cfg)
		if err != nil {
			return nil, err
		}
		f.books[instrument] = b
	}
	return f, nil
}

// Run reads the bus and keeps every book current. It blocks until ctx ends and then returns nil, after every
// synced book has ended with a Gap record; nothing is left running. While the server is away it waits.
//
// It returns earlier, with an error, if the handler fails, with a *natsbus.StreamError if the stream cannot be read
// and never will be, and with natsbus.ErrRunning if it is running already. It may be called again afterwards.
func (f *Feed) Run(ctx context.Context) error {
	if err := f.start(); err != nil {
		return err
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failures := make(chan error, len(f.books))
	var following sync.WaitGroup
	for _, b := range f.books {
		following.Go(func() {
			if err := newFollower(f, b).run(running); err != nil {
				failures <- err
				cancel(err)
			}
		})
	}
	following.Wait()
	var err error
	if len(failures) > 0 {
		err = <-failures
	}
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = nil // the handler reports the end of ctx
	}
	f.stop(err)
	return err
}

func (f *Feed) start() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running {
		return natsbus.ErrRunning
	}
	f.running, f.ended = true, nil
	return nil
}

func (f *Feed) stop(err error) {
	ended := ErrStopped
	if err != nil {
		ended = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	f.mu.Lock()
	f.running, f.ended = false, ended
	f.mu.Unlock()
	f.changed()
}

// changed wakes whoever waits in Ready.
func (f *Feed) changed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.news)
	f.news = make(chan struct{})
}

// stopGrace is how long the handler may go on after Run's context has ended.
const stopGrace = 5 * time.Second

// handle gives a record to the handler, alone among all instruments.
func (f *Feed) handle(ctx context.Context, rec *marketprism.Record) error {
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
