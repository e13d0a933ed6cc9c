package metrics

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/sink"
)

// A Bus is what is measured of the connection to NATS and of the streams on it.
type Bus struct {
	m      *Metrics
	errors closedSet

	mu   sync.Mutex
	conn *nats.Conn
}

// ConnHooks returns what is to be among the ConnHooks of the connection.
func (b *Bus) ConnHooks() *natsbus.ConnHooks {
	return &natsbus.ConnHooks{Failed: func(i natsbus.AsyncErrorInfo) { b.errors.of(string(i.Kind)).inc() }}
}

// Observe sets the connection that scrapes read.
func (b *Bus) Observe(conn *nats.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn = conn
}

// Streams has the sizes of these streams asked for by Poll.
func (b *Bus) Streams(js jetstream.StreamManager, names ...string) {
	for _, name := range names {
		messages, bytes, limit := b.m.number(StreamMessages, name), b.m.number(StreamBytes, name), b.m.number(StreamMaxBytes, name)
		b.m.poll(poll{what: "stream " + name, ask: func(ctx context.Context) error {
			s, err := natsbus.ReadStreamStats(ctx, js, name)
			if err != nil {
				return err
			}
			messages.set(float64(s.Messages))
			bytes.set(float64(s.Bytes))
			limit.set(float64(s.MaxBytes))
			return nil
		}})
	}
}

// DeadLetters has the dead letters of a stream asked for by Poll, and counts what letters does with
// them; nil if this program does nothing.
func (b *Bus) DeadLetters(js jetstream.StreamManager, stream string, letters *deadletter.Queue) {
	count, oldest := b.m.number(DeadLetters, stream), b.m.number(DeadLetterOldest, stream)
	b.m.poll(poll{what: "stream " + stream, ask: func(ctx context.Context) error {
		s, err := natsbus.ReadStreamStats(ctx, js, stream)
		if err != nil {
			return err
		}
		count.set(float64(s.Messages))
		oldest.set(unix(s.Oldest))
		return nil
	}})
	b.m.source(func(give emit) {
		var c deadletter.Counts
		if letters != nil {
			c = letters.Counts()
		}
		give(DeadLetterProcessed, float64(c.Redriven), stream, "replayed")
		give(DeadLetterProcessed, float64(c.Purged), stream, "discarded")
		give(DeadLetterProcessed, float64(c.Failed), stream, "failed")
	})
}

// A Publisher is what is measured of a natsbus.Publisher.
type Publisher struct {
	acked map[string]prometheus.Observer // by stream

	mu        sync.Mutex
	publisher *natsbus.Publisher
}

// Publisher returns the part of the program's publisher, for the streams that natsbus names by
// default. Call it once.
func (b *Bus) Publisher() *Publisher {
	p := &Publisher{acked: make(map[string]prometheus.Observer)}
	for _, stream := range []string{natsbus.BooksStream(""), natsbus.TradesStream("")} {
		p.acked[stream] = b.m.histogram(PublisherAck, stream)
	}
	b.m.source(p.collect)
	return p
}

// Hooks returns what is to be among the Hooks of the publisher.
func (p *Publisher) Hooks() *natsbus.Hooks {
	return &natsbus.Hooks{Acked: func(i natsbus.AckInfo) {
		if h := p.acked[i.Stream]; h != nil {
			h.Observe(i.Took.Seconds())
		}
	}}
}

// Observe sets the publisher that scrapes read.
func (p *Publisher) Observe(publisher *natsbus.Publisher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.publisher = publisher
}

func (p *Publisher) collect(give emit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var s natsbus.PublisherStats
	s.Books.Stream, s.Trades.Stream = natsbus.BooksStream(""), natsbus.TradesStream("")
	if p.publisher != nil {
		s = p.publisher.Stats()
	}
	give(PublisherSuppressed, float64(s.Suppressed))
	for _, of := range []natsbus.StreamPublishStats{s.Books, s.Trades} {
		give(PublisherMessages, float64(of.Sent), of.Stream)
		give(PublisherBytes, float64(of.SentBytes), of.Stream)
		give(PublisherDuplicates, float64(of.Duplicates), of.Stream)
		give(PublisherRetries, float64(of.Retries), of.Stream)
		give(PublisherInflight, float64(of.Pending), of.Stream)
		give(PublisherErrors, float64(of.Failures.Timeout), of.Stream, "timeout")
		give(PublisherErrors, float64(of.Failures.NoResponders), of.Stream, "no_responders")
		give(PublisherErrors, float64(of.Failures.TooLarge), of.Stream, "max_payload")
		give(PublisherErrors, float64(of.Failures.StreamFull), of.Stream, "stream_full")
		give(PublisherErrors, float64(of.Failures.Other), of.Stream, Other)
	}
}

// A Consumer is what is measured of a natsbus.Consumer.
type Consumer struct {
	labels  []string // stream, consumer
	dead    closedSet
	lag     prometheus.Observer
	handled prometheus.Observer

	pending, ackPending, reported *number

	mu       sync.Mutex
	consumer *natsbus.Consumer
}

// Consumer returns the part of a durable of a stream.
func (b *Bus) Consumer(stream, durable string) *Consumer {
	labels := []string{stream, durable}
	c := &Consumer{
		labels: labels, dead: b.m.closed(DeadLettersTotal, stream),
		lag: b.m.histogram(ConsumerLag, labels...), handled: b.m.histogram(ConsumerHandle, labels...),
		pending: b.m.number(ConsumerPending, labels...), ackPending: b.m.number(ConsumerAckPending, labels...),
		reported: b.m.number(ConsumerInfo, labels...),
	}
	b.m.source(c.collect)
	b.m.poll(poll{what: "consumer " + durable + " of " + stream, ask: c.ask})
	return c
}

// Hooks returns what is to be among the Hooks of the consumer.
func (c *Consumer) Hooks() *natsbus.Hooks {
	return &natsbus.Hooks{
		Delivered: func(i natsbus.DeliveryInfo) {
			c.lag.Observe(max(0, i.Lag.Seconds()))
			c.pending.set(float64(i.Pending))
		},
		Handled:      func(i natsbus.HandleInfo) { c.handled.Observe(i.Took.Seconds()) },
		DeadLettered: func(i natsbus.DeadLetterInfo) { c.dead.of(string(i.Reason)).inc() },
	}
}

// Observe sets the consumer that scrapes and Poll read.
func (c *Consumer) Observe(consumer *natsbus.Consumer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.consumer = consumer
}

func (c *Consumer) observed() *natsbus.Consumer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.consumer
}

func (c *Consumer) ask(ctx context.Context) error {
	consumer := c.observed()
	if consumer == nil {
		return nil
	}
	lag, err := consumer.Lag(ctx)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil // Run has not made it yet
	}
	if err != nil {
		return err
	}
	c.pending.set(float64(lag.Pending))
	c.ackPending.set(float64(lag.AckPending))
	c.reported.set(unix(lag.At))
	return nil
}

func (c *Consumer) collect(give emit) {
	var s natsbus.ConsumerStats
	if consumer := c.observed(); consumer != nil {
		s = consumer.Stats()
	}
	give(ConsumerMessages, float64(s.Deliveries), c.labels...)
	give(ConsumerRedeliveries, float64(s.Redeliveries), c.labels...)
	give(DeadLetterErrors, float64(s.DeadLetterFailures), c.labels...)
	for kind, n := range map[string]uint64{"ack": s.Replies.Ack, "nak": s.Replies.Nak, "term": s.Replies.Term, "in_progress": s.Replies.InProgress} {
		give(ConsumerAcks, float64(n), append(c.labels[:2:2], kind)...)
	}
}

// A Spill measures the disk queue before the bus.
type Spill struct {
	mu       sync.Mutex
	spill    *sink.Spill
	maxBytes int64
}

// Observe sets the disk queue that scrapes read, and its SpillConfig.MaxBytes.
func (s *Spill) Observe(spill *sink.Spill, maxBytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spill, s.maxBytes = spill, maxBytes
}

func (s *Spill) collect(give emit) {
	s.mu.Lock()
	spill, maxBytes := s.spill, s.maxBytes
	s.mu.Unlock()
	var stats sink.SpillStats
	if spill != nil {
		stats = spill.Stats()
	}
	give(SpillAway, truth(stats.Away))
	give(SpillBehind, truth(stats.Spilling))
	give(SpillQueued, float64(stats.Queued))
	give(SpillQueuedBytes, float64(stats.QueuedBytes))
	give(SpillMaxBytes, float64(maxBytes))
	var dropped uint64
	for _, n := range stats.Dropped {
		dropped += n
	}
	give(SpillRecords, float64(stats.Direct), "direct")
	give(SpillRecords, float64(stats.Spilled), "spilled")
	give(SpillRecords, float64(stats.Drained), "drained")
	give(SpillRecords, float64(stats.Refused), "refused")
	give(SpillRecords, float64(dropped), "dropped")
	give(SpillRetries, float64(stats.Retries))
	give(SpillFull, float64(stats.Full))
	give(SpillCorrupt, float64(stats.Corrupt))
	give(SpillKept, float64(stats.Kept))
	give(SpillUnkept, float64(stats.Unkept))
}
