package natsbus

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
)

// PublisherStats counts what a Publisher did since it was made.
type PublisherStats struct {
	PublishCounts // of both streams together

	Failed    uint64 // Writes that returned an error
	Overtaken uint64 // records stored behind a later one of their instrument; see Hooks.Overtaken

	Books, Trades StreamPublishStats // the same by the stream that the records go to
}

// StreamPublishStats are the counts of one stream.
type StreamPublishStats struct {
	// Stream is the one that confirmed a record last. Until there is one it is the name that BooksStream
	// or TradesStream gives.
	Stream string
	PublishCounts
}

// PublishCounts count messages.
type PublishCounts struct {
	Sent       uint64 // messages sent, those sent again included
	SentBytes  uint64 // their size, with subject and headers
	Acked      uint64 // messages that a stream has confirmed
	Duplicates uint64 // of those: the stream had them already
	Retries    uint64 // times that a Write had to wait and begin again from its first failure

	Failures PublishFailures

	Pending, PendingBytes int // messages in flight at present
}

// PublishFailures count messages that were not confirmed, by reason. A Write sends them again, so the
// same record may be counted several times.
type PublishFailures struct {
	Timeout      uint64 // no answer within AckTimeout
	NoResponders uint64 // no stream took the subject, or none had a leader
	TooLarge     uint64 // above the limit of the server or the stream
	StreamFull   uint64 // a limit of the stream was reached, or the server's disk is full
	Other        uint64 // the connection broke, and whatever else there is
}

// Total returns the sum over all reasons.
func (f PublishFailures) Total() uint64 {
	return f.Timeout + f.NoResponders + f.TooLarge + f.StreamFull + f.Other
}

func (f *PublishFailures) count(err error) {
	switch {
	case errors.Is(err, jetstream.ErrAsyncPublishTimeout):
		f.Timeout++
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		f.NoResponders++
	default:
		switch err = classify(err); {
		case errors.Is(err, ErrTooLarge):
			f.TooLarge++
		case errors.Is(err, ErrStreamFull):
			f.StreamFull++
		default:
			f.Other++
		}
	}
}

func (c *PublishCounts) add(d PublishCounts) {
	c.Sent += d.Sent
	c.SentBytes += d.SentBytes
	c.Acked += d.Acked
	c.Duplicates += d.Duplicates
	c.Retries += d.Retries
	c.Failures.Timeout += d.Failures.Timeout
	c.Failures.NoResponders += d.Failures.NoResponders
	c.Failures.TooLarge += d.Failures.TooLarge
	c.Failures.StreamFull += d.Failures.StreamFull
	c.Failures.Other += d.Failures.Other
	c.Pending += d.Pending
	c.PendingBytes += d.PendingBytes
}

// Stats returns the counters.
func (p *Publisher) Stats() PublisherStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.stats
	stats.add(stats.Books.PublishCounts)
	stats.add(stats.Trades.PublishCounts)
	return stats
}

// of returns the counts of the stream that a record goes to. p.mu is held.
func (p *Publisher) of(r *marketprism.Record) *StreamPublishStats {
	if r.Trade != nil {
		return &p.stats.Trades
	}
	return &p.stats.Books
}

// clock returns the time if anybody wants to know how long an answer takes.
func (p *Publisher) clock() time.Time {
	if p.cfg.Hooks.Acked == nil {
		return time.Time{}
	}
	return time.Now()
}
