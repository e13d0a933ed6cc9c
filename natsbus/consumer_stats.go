package natsbus

import (
	"maps"
	"time"

	"github.com/marketprism/marketprism/internal/hook"
)

// ConsumerStats counts the work of a Consumer since it was made, in its stream and its queue of re-drives together.
type ConsumerStats struct {
	Stream, Durable string // as configured

	Deliveries   uint64 // messages delivered
	Redeliveries uint64 // of those, not for the first time

	Batches        uint64 // written and acknowledged
	Records        uint64 // in those batches
	Redelivered    uint64 // of those, delivered more than once by the server
	Redriven       uint64 // of those, from the queue of re-drives
	SinkFailures   uint64 // Writes of the sink that failed and were repeated
	Refusals       uint64 // Writes of the sink after which records became dead letters, or a batch was split
	ServerFailures uint64 // requests for messages, and acknowledgements, that failed
	DurableResets  uint64 // times that the durable was reset to its first unacknowledged message
	Undecodable    uint64 // messages that are no record
	Released       uint64 // records returned to the server at the end of Run

	Replies ReplyCounts

	DeadLettered uint64                // messages moved to the dead-letter stream; not those that were there already
	DeadReasons  map[DeadReason]uint64 // of those, by reason; nil if there were none

	DeadLetterFailures   uint64    // attempts to move a message to the dead-letter stream that failed and were repeated
	DeadLettersFailSince time.Time // of the first of them since the last success, by the local clock; zero if none failed

	InFlight int    // records fetched and not acknowledged at present
	Sequence uint64 // stream sequence of the last acknowledged record
	Behind   uint64 // messages that were waiting behind the last one fetched

	// LastProgress is when Run last wrote a batch or found the stream empty, by the local clock. Zero before the
	// first time. It does not change while a sink fails or hangs.
	LastProgress time.Time

	Circuit          CircuitState
	CircuitOpenSince time.Time // of the sink's first failure; zero while the circuit is closed
}

// ReplyCounts count the replies of a Consumer to deliveries, by kind. A reply that got lost is repeated and counted
// again.
type ReplyCounts struct {
	Ack        uint64 // the sink has accepted the record
	Nak        uint64 // the message was returned to the server
	Term       uint64 // the message is a dead letter
	InProgress uint64 // the Consumer is working on the message
}

// A DeadReason is why a message is a dead letter.
type DeadReason string

// The reasons of a Consumer; deadletter.AdvisoryWatch has further ones.
const (
	DeadDecode    DeadReason = "decode"    // it is no record
	DeadRefused   DeadReason = "refused"   // the sink will never accept it
	DeadExhausted DeadReason = "exhausted" // MaxAttempts was reached
)

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

// A CircuitState is the state of a Consumer's circuit breaker. The circuit is open while the sink fails for a reason
// that is not one of the records: the current batch waits, and no more than the next one is fetched.
type CircuitState uint8

// The states.
const (
	CircuitClosed  CircuitState = iota // the last Write succeeded, or its record was refused
	CircuitOpen                        // the sink has failed, and is not called until the delay has passed
	CircuitProbing                     // the batch is being written again
)

// String returns closed, open or probing; "unknown" for any other value.
func (s CircuitState) String() string {
	names := [...]string{"closed", "open", "probing"}
	if int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// setCircuit changes the state, and calls the hook if it was another one. err is the sink's last error.
func (c *Consumer) setCircuit(state CircuitState, err error) {
	info := CircuitInfo{State: state, Err: err}
	c.count(func(s *ConsumerStats) {
		info.Before = s.Circuit
		if state == CircuitOpen && s.CircuitOpenSince.IsZero() {
			s.CircuitOpenSince = time.Now()
		}
		info.Since = s.CircuitOpenSince
		if state == CircuitClosed {
			s.CircuitOpenSince = time.Time{}
		}
		s.Circuit = state
	})
	if info.Before != state {
		hook.Call(c.cfg.Hooks.Circuit, info)
	}
}
