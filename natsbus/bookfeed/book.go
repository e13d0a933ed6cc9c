package bookfeed

import (
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A feedBook is one instrument that a Feed follows. Its follower alone changes it.
type feedBook struct {
	instrument marketprism.Instrument

	mu        sync.RWMutex // held for writing by the follower while it changes the rest
	joiner    *orderbook.Joiner
	offline   bool // nothing is read: Run has not begun, or has ended
	live      bool // the bus has been read to its end
	updatedAt time.Time
	lastGap   orderbook.Gap
	sequence  uint64
	behind    uint64
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

// state is Synced only where the book has caught up with the bus. It is called with mu held.
func (b *feedBook) state() orderbook.State {
	switch {
	case b.offline:
		return orderbook.Offline
	case !b.live:
		return orderbook.Buffering
	}
	return b.joiner.State()
}

// status is called with mu held.
func (b *feedBook) status() Status {
	book := b.joiner.Book()
	return Status{
		State:     b.state(),
		LastID:    book.LastID(),
		EventTime: book.EventTime(),
		UpdatedAt: b.updatedAt,
		LastGap:   b.lastGap,
		Sequence:  b.sequence,
		Behind:    b.behind,
		Sync:      b.joiner.Stats(),
	}
}

// change lets act change the book out of readers' sight, and returns what its state was and is.
func (b *feedBook) change(act func(*orderbook.Joiner) orderbook.Output) (out orderbook.Output, was, is orderbook.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was = b.state()
	out = act(b.joiner)
	for i := range out.Events {
		if gap := out.Events[i].Gap; gap != nil {
			b.lastGap = *gap
		} else {
			b.updatedAt = time.Now().UTC()
		}
	}
	return out, was, b.state()
}

// reached notes a position in the stream, and whether there is nothing behind it.
func (b *feedBook) reached(sequence, behind uint64, live bool) (was, is orderbook.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was = b.state()
	b.sequence, b.behind, b.live = sequence, behind, live
	return was, b.state()
}
