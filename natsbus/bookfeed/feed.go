package bookfeed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bookset"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
)

// A Feed keeps order books from the records of collectors, without a request to the exchange: each book begins with the
// last snapshot on the bus and continues with the updates after it, through an orderbook.Joiner. Its methods are safe for
// concurrent use.
//
// Copies of one change from several collectors, also with other borders between updates, are applied once. The end of a
// collector, missing ids and an outage of the bus show in Status; the book comes back by itself.
type Feed struct {
	cfg   Config
	js    jetstream.JetStream
	id    string // in the names of its consumers, so that two feeds do not share one
	books *bookset.Set[marketprism.Instrument, Status, *feedBook]
}

// The states of a Feed, for errors.Is. natsbus.ErrRunning is another one.
var (
	// ErrNotSynced: the instrument's book is not synced at present. The error is a *NotSyncedError.
	ErrNotSynced = errors.New("bookfeed: book is not synced")
	// ErrUnknownInstrument: the Feed does not have the instrument.
	ErrUnknownInstrument = errors.New("bookfeed: unknown instrument")
	// ErrStopped: Run has returned.
	ErrStopped = errors.New("bookfeed: feed has stopped")
	// ErrReentrant: Ready was called by the Handler or a hook, whose goroutine it would wait for.
	ErrReentrant = errors.New("bookfeed: Ready in a Handler or hook would wait for itself")
)

// A NotSyncedError is the ErrNotSynced of one instrument.
type NotSyncedError struct {
	Instrument marketprism.Instrument
	State      orderbook.State
	Wait       marketprism.Wait // why, and what is tried next
}

func (e *NotSyncedError) Error() string {
	text := fmt.Sprintf("bookfeed: book of %s is not synced: %v", e.Instrument, e.State)
	if e.Wait.For != "" {
		text += ", " + e.Wait.String()
	}
	return text
}

// Unwrap returns ErrNotSynced.
func (e *NotSyncedError) Unwrap() error { return ErrNotSynced }

// New returns a Feed on the connection of js, which the caller opens and closes. It fails if cfg is contradictory; a
// missing stream shows in Run.
func New(js jetstream.JetStream, cfg Config) (*Feed, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &Feed{
		cfg: cfg, js: js, id: rand.Text(),
		books: bookset.New[marketprism.Instrument, Status, *feedBook](reflect.TypeFor[Feed]().PkgPath(), bookset.Errors[marketprism.Instrument, Status]{
			Unknown: func(i marketprism.Instrument) error { return fmt.Errorf("%w: %s", ErrUnknownInstrument, i) },
			NotSynced: func(i marketprism.Instrument, s Status) error {
				return &NotSyncedError{Instrument: i, State: s.State, Wait: s.Wait}
			},
			Stopped:   ErrStopped,
			Reentrant: ErrReentrant,
		}),
	}
	books := make([]*feedBook, len(cfg.Instruments))
	for i, instrument := range cfg.Instruments {
		if books[i], err = newFeedBook(instrument, cfg); err != nil {
			return nil, err
		}
	}
	f.books.Add(books...)
	return f, nil
}

// Run reads the bus and keeps every book current. It blocks until ctx ends and then returns nil, after every
// synced book has ended with a Gap record; nothing is left running. While the server is away it waits.
//
// It returns earlier, with an error, if the handler fails, with a *marketprism.HandlerError, also while the books end; with a *natsbus.StreamError if the stream cannot be read
// and never will be, and with natsbus.ErrRunning if it is running already. It may be called again afterwards.
func (f *Feed) Run(ctx context.Context) error {
	if !f.books.RunBegan() {
		return natsbus.ErrRunning
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	handling, endHandling := bookset.WithGrace(running)
	defer endHandling()
	var first error
	var once sync.Once
	failed := func(err error) {
		if err != nil {
			once.Do(func() { first = err; cancel(err) })
		}
	}
	books := f.books.All()
	workers := newWorkers(running, len(books), f.cfg, failed)
	followers := make([]*follower, len(books))
	for i, b := range books {
		followers[i] = &follower{feed: f, book: b, worker: workers[i%len(workers)], ctx: handling}
	}
	var working sync.WaitGroup
	for _, k := range workers {
		working.Go(k.run)
	}
	failed(newReader(f, followers).run(running))
	for _, k := range workers {
		close(k.queue)
	}
	working.Wait()
	err := f.books.Failure()
	var unread *natsbus.StreamError
	if err == nil || errors.As(first, &unread) {
		err = errors.Join(first, err)
	}
	f.books.RunEnded(err)
	return err
}

// A Status is the status of one instrument's book.
type Status struct {
	State orderbook.State // the book can be trusted only if Synced

	LastID    int64         // update id of the book; the last one known if it is not Synced
	EventTime time.Time     // exchange clock of the book's last change; zero if it had none with a time
	UpdatedAt time.Time     // local clock of the same, UTC; zero if the book was never synced
	LastGap   orderbook.Gap // the latest; Reason is 0 if there was none

	Sequence uint64 // in the stream, of the last message of the instrument that was read; 0 if none
	Behind   uint64 // messages of the instruments that share its consumer that were waiting behind it

	Wait marketprism.Wait // why the book is not synced, and what is tried next; zero if it is synced

	Sync orderbook.SyncerStats // as Joiner.Stats has it
}

// Age returns the time since the book's last change, by the local clock. The book of a quiet instrument
// may be old and correct.
func (s Status) Age() time.Duration { return time.Since(s.UpdatedAt) }

// View calls view with the instrument's book and its status, neither of which changes while view runs. The book must not
// be used after view has returned. view may call any method, and the feed does not wait for it: a change that comes
// meanwhile is made in a copy of the book. The error is ErrUnknownInstrument, or a *NotSyncedError while the book is not
// synced; view is not called then.
func (f *Feed) View(instrument marketprism.Instrument, view func(b *orderbook.Book, s Status)) error {
	return f.books.View(instrument, view)
}

// Best returns the best bid and ask of the instrument's book; one is the zero Level where its side is empty. The error is that
// of View.
func (f *Feed) Best(instrument marketprism.Instrument) (bid, ask orderbook.Level, err error) {
	err = f.books.View(instrument, func(b *orderbook.Book, _ Status) {
		bid, _ = b.BestBid()
		ask, _ = b.BestAsk()
	})
	return bid, ask, err
}

// Status returns the status of the instrument's book, and whether the Feed has the instrument.
func (f *Feed) Status(instrument marketprism.Instrument) (Status, bool) {
	return f.books.Status(instrument)
}

// Instruments returns the instruments in the order of the configuration.
func (f *Feed) Instruments() []marketprism.Instrument { return slices.Clone(f.books.Keys()) }

// Ready blocks until the books of the instruments, of all if none is named, are synced at once. The
// error is ErrUnknownInstrument; ErrStopped with the error of Run if that has returned; or that of ctx
// with the *NotSyncedError of an instrument, which says why. It may be called before Run. In the Handler and in a hook it does not wait, since
// the books may need their goroutine: the error is then ErrReentrant with an instrument that is not synced.
func (f *Feed) Ready(ctx context.Context, instruments ...marketprism.Instrument) error {
	return f.books.Ready(ctx, nil, instruments...)
}
