package bookfeed

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bookset"
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
	books *bookset.Set[marketprism.Instrument, Status, *feedBook]
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
		books: bookset.New[marketprism.Instrument, Status, *feedBook](bookset.Errors[marketprism.Instrument]{
			Unknown: func(i marketprism.Instrument) error { return fmt.Errorf("%w: %s", ErrUnknownInstrument, i) },
			NotSynced: func(i marketprism.Instrument, state orderbook.State) error {
				return &NotSyncedError{Instrument: i, State: state}
			},
			Stopped: ErrStopped,
		}),
	}
	for _, instrument := range cfg.Instruments {
		b, err := newFeedBook(instrument, cfg)
		if err != nil {
			return nil, err
		}
		f.books.Add(b)
	}
	return f, nil
}

// Run reads the bus and keeps every book current. It blocks until ctx ends and then returns nil, after every
// synced book has ended with a Gap record; nothing is left running. While the server is away it waits.
//
// It returns earlier, with an error, if the handler fails, with a *natsbus.StreamError if the stream cannot be read
// and never will be, and with natsbus.ErrRunning if it is running already. It may be called again afterwards.
func (f *Feed) Run(ctx context.Context) error {
	if !f.books.RunBegan() {
		return natsbus.ErrRunning
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	handling, endHandling := bookset.WithGrace(running)
	defer endHandling()
	books := f.books.All()
	failures := make(chan error, len(books))
	var following sync.WaitGroup
	for _, b := range books {
		following.Go(func() {
			if err := newFollower(f, b, handling).run(running); err != nil {
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
	var failed *bookset.HandlerError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = nil // the handler reports the end of ctx
	}
	f.books.RunEnded(err)
	return err
}

// handle calls the handler with a record, one call at a time among all instruments.
func (f *Feed) handle(ctx context.Context, rec *marketprism.Record) error {
	return f.books.Handle(ctx, f.cfg.Handler, rec)
}
