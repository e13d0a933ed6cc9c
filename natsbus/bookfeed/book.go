package bookfeed

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bookset"
	"github.com/marketprism/marketprism/orderbook"
)

// A feedBook is the book of one instrument. Only its follower changes it.
type feedBook struct {
	instrument marketprism.Instrument

	bookset.Shared // its lock guards the rest as well
	joiner         *orderbook.Joiner
	offline        bool // nothing is read: Run has not begun, or has ended
	live           bool // the bus has been read to its end
	sequence       uint64
	behind         uint64
}

func newFeedBook(instrument marketprism.Instrument, cfg Config) (*feedBook, error) {
	j, err := orderbook.NewJoiner(orderbook.JoinerConfig{
		Continuity: instrument.Market.Continuity(), MaxDepth: cfg.MaxDepth,
		MaxPending: cfg.MaxPending, MaxPendingBytes: cfg.MaxPendingBytes, MaxStale: cfg.MaxStale,
	})
	if err != nil {
		return nil, err
	}
	return &feedBook{instrument: instrument, joiner: j, offline: true}, nil
}

// Key returns the instrument.
func (b *feedBook) Key() marketprism.Instrument { return b.instrument }

// Book returns the book. The caller is the follower or holds the lock for reading.
func (b *feedBook) Book() *orderbook.Book { return b.joiner.Book() }

// State returns Synced only if the book has caught up with the bus. The caller is the follower or
// holds the lock for reading.
func (b *feedBook) State() orderbook.State {
	switch {
	case b.offline:
		return orderbook.Offline
	case !b.live:
		return orderbook.Buffering
	}
	return b.joiner.State()
}

// Status returns the status of the book. The caller is the follower or holds the lock for reading.
func (b *feedBook) Status() Status {
	book := b.joiner.Book()
	return Status{
		State:     b.State(),
		LastID:    book.LastID(),
		EventTime: book.EventTime(),
		UpdatedAt: b.UpdatedAt,
		LastGap:   b.LastGap,
		Sequence:  b.sequence,
		Behind:    b.behind,
		Sync:      b.joiner.Stats(),
	}
}

// change calls act with the book locked, and returns the states before and after.
func (b *feedBook) change(act func(*orderbook.Joiner) orderbook.Output) (out orderbook.Output, was, is orderbook.State) {
	b.Lock()
	defer b.Unlock()
	was = b.State()
	out = act(b.joiner)
	if len(out.Events) > 0 {
		b.Note(time.Now().UTC(), out.Events)
	}
	return out, was, b.State()
}

// reached records a position in the stream, and whether the bus has been read to its end.
func (b *feedBook) reached(sequence, behind uint64, live bool) (was, is orderbook.State) {
	b.Lock()
	defer b.Unlock()
	was = b.State()
	b.sequence, b.behind, b.live = sequence, behind, live
	return was, b.State()
}
