package natsbus

import (
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/sink"
)

// A reader is one Run of a Consumer on its stream, or on the queue of re-drives. While one batch is with the sink, the
// next is fetched by a goroutine of its own; the fields that it uses change only while there is none.
type reader struct {
	*Consumer
	redrives                bool   // it reads the queue of re-drives
	stream, durable, filter string // as the server knows them
	conn                    *nats.Conn
	dst                     sink.Sink

	puller     *pull.Puller
	source     string // of the stream, for Record.Origin
	reconnects uint64 // of the connection, when the durable was last reset
	batches    [2]batch
	inFlight   inFlight

	retry    backoff.Backoff
	failures int // of the server, in a row
}

func newReader(c *Consumer, dst sink.Sink, redrives bool) *reader {
	r := &reader{
		Consumer: c, redrives: redrives, conn: c.js.Conn(), dst: dst,
		stream: c.cfg.Stream, durable: c.cfg.Durable, filter: c.cfg.Filter,
	}
	r.retry.Min, r.retry.Max = c.cfg.RetryMin, c.cfg.RetryMax
	return r
}

// A stopError ends Run with err; any other error is a failure of the server, which may pass.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// serverFailed reports a failure of the server, and returns the delay before the next attempt.
func (r *reader) serverFailed(err error) time.Duration {
	wait := r.retry.Next()
	r.failures++
	r.count(func(s *ConsumerStats) { s.ServerFailures++ })
	hook.Call(r.cfg.Hooks.ServerFailed, ServerFailedInfo{Attempt: r.failures, Wait: wait, Err: err})
	return wait
}

// reconnected reports whether the connection was lost since the durable was last reset.
func (r *reader) reconnected() bool { return r.conn.Stats().Reconnects != r.reconnects }

// messageOrigin returns where a message was stored first. That of a message in the queue of re-drives is in its
// headers, unless another program has published it there.
func (r *reader) messageOrigin(msg pull.Delivery) letter.Origin {
	if r.redrives {
		if o, ok := letter.ParseOrigin(msg.Header); ok && o.Stream == r.cfg.Stream {
			return o
		}
	}
	return letter.Origin{
		Stream: r.stream, Source: r.source, Consumer: r.cfg.Durable, Subject: msg.Subject,
		Sequence: msg.Meta.Sequence.Stream, StoredAt: msg.Meta.Timestamp,
	}
}

// recordOrigin returns the same for a record, without the cost of a letter.Origin where it is not needed.
func (r *reader) recordOrigin(msg pull.Delivery) marketprism.Origin {
	if r.redrives {
		o := r.messageOrigin(msg)
		return marketprism.Origin{Source: o.Source, Sequence: o.Sequence}
	}
	return marketprism.Origin{Source: r.source, Sequence: msg.Meta.Sequence.Stream}
}

// A batch is the result of one fetch. It is reused: its records are valid until the next reset.
type batch struct {
	msgs     []pull.Delivery
	recs     []marketprism.Record // of each message; empty for one that is no record
	bad      []badMessage         // those messages
	err      error                // that ended the fetch early
	failedAt time.Time            // of the first failed Write; zero if there was none
	decoder  Decoder
}

type badMessage struct {
	index int
	err   error
}

func (b *batch) reset() {
	clear(b.msgs) // frees the messages
	b.msgs, b.recs, b.bad, b.err, b.failedAt = b.msgs[:0], b.recs[:0], b.bad[:0], nil, time.Time{}
	b.decoder.Reset()
}

// add decodes a message.
func (b *batch) add(msg pull.Delivery, origin marketprism.Origin) {
	var rec marketprism.Record
	if err := b.decoder.Decode(msg.Data, &rec); err != nil {
		b.bad = append(b.bad, badMessage{len(b.msgs), err})
	}
	rec.Origin = origin
	b.msgs = append(b.msgs, msg)
	b.recs = append(b.recs, rec)
}

// first and last return the lowest and the highest stream sequence of messages.
func first(msgs []pull.Delivery) uint64 { return msgs[0].Meta.Sequence.Stream }
func last(msgs []pull.Delivery) uint64  { return msgs[len(msgs)-1].Meta.Sequence.Stream }

// redelivered counts the messages that were not delivered for the first time.
func redelivered(msgs []pull.Delivery) (n int) {
	for _, msg := range msgs {
		if msg.Meta.NumDelivered > 1 {
			n++
		}
	}
	return n
}

// inFlight is the set of batches that wait for the sink, or are with it.
type inFlight struct {
	mu      sync.Mutex
	batches []*batch
}

// keepAlive sends the server a sign of life for each message at an interval, until stop is called. Each time, sent is
// called with the number of messages.
func (f *inFlight) keepAlive(conn *nats.Conn, interval time.Duration, sent func(n int)) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				sent(f.inProgress(conn))
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-stopped }
}

func (f *inFlight) inProgress(conn *nats.Conn) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.batches {
		for i := range b.msgs {
			if b.msgs[i].InProgress(conn) == nil { // without a connection the message may be delivered again
				n++
			}
		}
	}
	return n
}

// started adds a fetched batch to those in flight.
func (r *reader) started(b *batch) {
	r.inFlight.mu.Lock()
	defer r.inFlight.mu.Unlock()
	r.inFlight.batches = append(r.inFlight.batches, b)
	r.count(func(s *ConsumerStats) {
		s.InFlight += len(b.msgs)
		s.Deliveries += uint64(len(b.msgs))
		s.Redeliveries += uint64(redelivered(b.msgs))
		if n := len(b.msgs); n > 0 && !r.redrives {
			s.Behind = b.msgs[n-1].Meta.NumPending
		}
	})
}

// completed removes a batch from those in flight, after which it may be reused.
func (r *reader) completed(b *batch) {
	r.inFlight.mu.Lock()
	defer r.inFlight.mu.Unlock()
	r.inFlight.batches = slices.DeleteFunc(r.inFlight.batches, func(other *batch) bool { return other == b })
	r.count(func(s *ConsumerStats) { s.InFlight -= len(b.msgs) })
}
