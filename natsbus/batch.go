package natsbus

import (
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// A batch is what one fetch has brought. It is used again, so its records live as long as the batch
// is held.
type batch struct {
	msgs    []pull.Delivery
	recs    []marketprism.Record // of each message; empty for one that is no record
	bad     []badMessage         // those messages
	err     error                // why the fetch ended early
	decoder Decoder
}

type badMessage struct {
	index int
	err   error
}

func (b *batch) reset() {
	clear(b.msgs) // the messages are garbage from here on
	b.msgs, b.recs, b.bad, b.err = b.msgs[:0], b.recs[:0], b.bad[:0], nil
	b.decoder.Reset()
}

// add decodes a message, while others are still on their way.
func (b *batch) add(msg pull.Delivery, origin marketprism.Origin) {
	var rec marketprism.Record
	if err := b.decoder.Decode(msg.Data, &rec); err != nil {
		b.bad = append(b.bad, badMessage{len(b.msgs), err})
	}
	rec.Origin = origin
	b.msgs = append(b.msgs, msg)
	b.recs = append(b.recs, rec)
}

func first(msgs []pull.Delivery) uint64 { return msgs[0].Meta.Sequence.Stream }
func last(msgs []pull.Delivery) uint64  { return msgs[len(msgs)-1].Meta.Sequence.Stream }

func redelivered(msgs []pull.Delivery) (n int) {
	for _, msg := range msgs {
		if msg.Meta.NumDelivered > 1 {
			n++
		}
	}
	return n
}

// A holder knows the batches that wait for the sink, or are with it.
type holder struct {
	mu      sync.Mutex
	batches []*batch
}

// keepAlive tells the server at an interval that the messages are being worked on, until the function
// that it returns is called. told is called with the number of messages each time.
func (h *holder) keepAlive(conn *nats.Conn, interval time.Duration, told func(n int)) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				told(h.inProgress(conn))
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-stopped }
}

func (h *holder) inProgress(conn *nats.Conn) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.batches {
		for i := range b.msgs {
			if b.msgs[i].InProgress(conn) == nil { // without a connection the message may come again: at least once
				n++
			}
		}
	}
	return n
}

func (r *reader) hold(b *batch) {
	r.held.mu.Lock()
	defer r.held.mu.Unlock()
	r.held.batches = append(r.held.batches, b)
	r.count(func(s *ConsumerStats) {
		s.InHand += len(b.msgs)
		s.Deliveries += uint64(len(b.msgs))
		s.Redeliveries += uint64(redelivered(b.msgs))
		if n := len(b.msgs); n > 0 && !r.lane {
			s.Behind = b.msgs[n-1].Meta.NumPending
		}
	})
}

// letGo forgets a batch, after which it may be used again.
func (r *reader) letGo(b *batch) {
	r.held.mu.Lock()
	defer r.held.mu.Unlock()
	r.held.batches = slices.DeleteFunc(r.held.batches, func(held *batch) bool { return held == b })
	r.count(func(s *ConsumerStats) { s.InHand -= len(b.msgs) })
}
