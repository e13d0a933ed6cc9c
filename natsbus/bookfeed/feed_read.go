package bookfeed

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A Status is how one instrument's book stands.
type Status struct {
	State orderbook.State // the book can be trusted only if Synced

	LastID    int64         // update id of the book; the last one known if it is not Synced
	EventTime time.Time     // exchange clock of the book's last change; zero if it had none with a time
	UpdatedAt time.Time     // local clock of the same, UTC; zero if the book was never known
	LastGap   orderbook.Gap // the latest; Reason is 0 if there was none

	Sequence uint64 // in the stream, of the last message of the instrument that was read; 0 if none
	Behind   uint64 // messages of the instrument that were waiting behind it

	Sync orderbook.SyncerStats // as Joiner.Stats has it
}

// Age returns how long ago the book was changed last, by the local clock. A quiet instrument's book may
// be old and right.
func (s Status) Age() time.Duration { return time.Since(s.UpdatedAt) }

// View calls f with the instrument's book while nothing changes it. The book must not be used after f
// has returned, and f must not call View or Status, nor keep the feed waiting. The error is
// ErrUnknownInstrument, or a *NotSyncedError while the book is not known, when f is not called.
func (f *Feed) View(instrument marketprism.Instrument, view func(b *orderbook.Book, s Status)) error {
	b, err := f.find(instrument)
	if err != nil {
		return err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if state := b.state(); state != orderbook.Synced {
		return &NotSyncedError{Instrument: instrument, State: state}
	}
	view(b.joiner.Book(), b.status())
	return nil
}

// Status returns how the instrument's book stands; false if the instrument is not followed.
func (f *Feed) Status(instrument marketprism.Instrument) (Status, bool) {
	b := f.books[instrument]
	if b == nil {
		return Status{}, false
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.status(), true
}

// Instruments returns the instruments followed, in the order of the configuration.
func (f *Feed) Instruments() []marketprism.Instrument { return slices.Clone(f.cfg.Instruments) }

func (f *Feed) find(instrument marketprism.Instrument) (*feedBook, error) {
	b := f.books[instrument]
	if b == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownInstrument, instrument)
	}
	return b, nil
}

// Ready waits until the books of the instruments, of all if none is named, are synced all at once. The
// error is ErrUnknownInstrument, ErrStopped with the error of Run if that has returned, or that of ctx
// with an instrument that is missing. It may be called before Run.
func (f *Feed) Ready(ctx context.Context, instruments ...marketprism.Instrument) error {
	if len(instruments) == 0 {
		instruments = f.cfg.Instruments
	}
	for {
		f.mu.Lock()
		news, ended := f.news, f.ended
		f.mu.Unlock()
		missing, err := f.firstUnsynced(instruments)
		if missing == nil || err != nil {
			return err
		}
		if ended != nil {
			return ended
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", missing, ctx.Err())
		}
	}
}

// firstUnsynced returns nil if all are synced, and an error if one is not followed.
func (f *Feed) firstUnsynced(instruments []marketprism.Instrument) (missing *NotSyncedError, err error) {
	for _, instrument := range instruments {
		b, err := f.find(instrument)
		if err != nil {
			return nil, err
		}
		b.mu.RLock()
		state := b.state()
		b.mu.RUnlock()
		if state != orderbook.Synced && missing == nil {
			missing = &NotSyncedError{Instrument: instrument, State: state}
		}
	}
	return missing, nil
}
