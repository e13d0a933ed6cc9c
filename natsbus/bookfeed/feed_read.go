package bookfeed

import (
	"context"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A Status is the status of one instrument's book.
type Status struct {
	State orderbook.State // the book can be trusted only if Synced

	LastID    int64         // update id of the book; the last one known if it is not Synced
	EventTime time.Time     // exchange clock of the book's last change; zero if it had none with a time
	UpdatedAt time.Time     // local clock of the same, UTC; zero if the book was never synced
	LastGap   orderbook.Gap // the latest; Reason is 0 if there was none

	Sequence uint64 // in the stream, of the last message of the instrument that was read; 0 if none
	Behind   uint64 // messages of the instrument that were waiting behind it

	Sync orderbook.SyncerStats // as Joiner.Stats has it
}

// Age returns the time since the book's last change, by the local clock. The book of a quiet instrument
// may be old and correct.
func (s Status) Age() time.Duration { return time.Since(s.UpdatedAt) }

// View calls view with the instrument's book while nothing changes it. The book must not be used after
// view has returned, and view must return soon and not call View or Status. The error is
// ErrUnknownInstrument, or a *NotSyncedError while the book is not synced; view is not called then.
func (f *Feed) View(instrument marketprism.Instrument, view func(b *orderbook.Book, s Status)) error {
	return f.books.View(instrument, view)
}

// Status returns the status of the instrument's book, and whether the Feed has the instrument.
func (f *Feed) Status(instrument marketprism.Instrument) (Status, bool) {
	return f.books.Status(instrument)
}

// Instruments returns the instruments in the order of the configuration.
func (f *Feed) Instruments() []marketprism.Instrument { return slices.Clone(f.books.Keys()) }

// Ready blocks until the books of the instruments, of all if none is named, are synced at once. The
// error is ErrUnknownInstrument; ErrStopped with the error of Run if that has returned; or that of ctx
// with an instrument that is not synced. It may be called before Run.
func (f *Feed) Ready(ctx context.Context, instruments ...marketprism.Instrument) error {
	return f.books.Ready(ctx, nil, instruments...)
}
