package natsbus

import (
	"context"
	"maps"
	"time"
)

// ConsumerStats counts what a Consumer did since it was made, in its stream and its re-drive lane
// together.
type ConsumerStats struct {
	Stream, Durable string // as configured

	Deliveries   uint64 // messages that came
	Redeliveries uint64 // of those, not for the first time

	Batches        uint64 // written and acknowledged
	Records        uint64 // in those
	Redelivered    uint64 // of those, delivered more than once by the server
	Redriven       uint64 // of those, from the re-drive lane
	SinkFailures   uint64 // Writes of the sink that failed and were repeated, dead letters included
	Refusals       uint64 // Writes of the sink after which a batch was parted, or a record given up
	ServerFailures uint64 // requests for messages, and acknowledgements, that failed
	Realigned      uint64 // times that the server was asked to deliver anew from the first unacknowledged message
	Undecodable    uint64 // messages that are no record
	Released       uint64 // records handed back at the end of Run

	Replies ReplyCounts // what the server was told of messages

	DeadLettered uint64                // messages moved to the dead-letter stream
	DeadReasons  map[DeadReason]uint64 // of those, by reason; nil if there were none

	InHand   int    // records fetched and not acknowledged at present
	Sequence uint64 // stream sequence of the last acknowledged record
	Behind   uint64 // messages that were waiting behind the last one fetched

	// LastTurn is when Run last completed a turn, by the local clock: a batch was written, or there was
	// nothing to fetch. Zero before the first. It stands still while a sink fails or hangs.
	LastTurn time.Time

	Circuit          CircuitState
	CircuitOpenSince time.Time // when the sink failed first; zero while the circuit is closed
}

// ReplyCounts count what a Consumer told the server of messages, by kind. A reply that got lost is
// repeated and counted again.
type ReplyCounts struct {
	Ack        uint64 // the sink has accepted it
	Nak        uint64 // it was handed back
	Term       uint64 // it is a dead letter
	InProgress uint64 // it is being worked on
}

// Stats returns the counters. It may be called from any goroutine.
func (c *Consumer) Stats() ConsumerStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	stats := c.stats
	stats.Stream, stats.Durable = c.cfg.Stream, c.cfg.Durable
	stats.DeadReasons = maps.Clone(stats.DeadReasons)
	return stats
}

func (c *Consumer) count(change func(*ConsumerStats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.stats)
}

// ConsumerLag is what the server says of a durable.
type ConsumerLag struct {
	Pending    uint64 // messages that were not delivered yet
	AckPending int    // delivered and not acknowledged
	At         time.Time
}

// Lag asks the server how far the durable is behind. The error is a *ConsumerError; one that wraps
// jetstream.ErrConsumerNotFound says that Run has not made the durable yet.
func (c *Consumer) Lag(ctx context.Context) (ConsumerLag, error) {
	durable, err := c.js.Consumer(ctx, c.cfg.Stream, c.cfg.Durable)
	if err != nil {
		return ConsumerLag{}, &ConsumerError{Stream: c.cfg.Stream, Durable: c.cfg.Durable, Err: err}
	}
	info := durable.CachedInfo() // it has just come
	return ConsumerLag{Pending: info.NumPending, AckPending: info.NumAckPending, At: time.Now().UTC()}, nil
}
