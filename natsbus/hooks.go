package natsbus

import (
	"context"
	"log/slog"
	"time"

	"github.com/marketprism/marketprism/internal/hook"
)

// Hooks observe Publishers and Consumers. Any field may be nil. They are called with no lock held, after Stats has
// changed, and must not block: they would delay the records.
//
// Published, Retrying and OutOfOrder are called by the goroutine of a Write, so by several at once where Writes run
// concurrently; Acked by the goroutine that receives acknowledgements, one at a time. Delivered is called by the
// goroutine that receives the messages of the stream, and by the one that receives re-drives. The others are called
// one at a time, by Run's goroutine or by the one that reads the re-drives.
//
// They may call the methods of Publishers and Consumers. A Write in Acked would wait for acknowledgements, which its
// goroutine receives, until its ctx ends.
//
// Acked and Delivered are called for every message, and each call costs a reading of the clock.
type Hooks struct {
	Published  func(PublishInfo)    // a Write has succeeded
	Retrying   func(RetryInfo)      // a Write has failed and will continue after a delay
	OutOfOrder func(OutOfOrderInfo) // a Write has succeeded, but not in order
	Acked      func(AckInfo)        // a stream has confirmed a message

	// Suppressed: a stream has taken a record for a copy of a message that is another one, which somebody else has
	// published under the record's id. The record is lost. It is called by a goroutine of its own.
	Suppressed func(UndecodableInfo)

	Delivered    func(DeliveryInfo)     // a message was delivered
	Handled      func(HandleInfo)       // a Write of the sink has returned
	Consumed     func(ConsumeInfo)      // a batch is written and acknowledged
	SinkFailed   func(SinkFailedInfo)   // the sink did not accept a batch, which will be written again
	Circuit      func(CircuitInfo)      // the sink fails, is tried again, or works again
	Refused      func(RefusedInfo)      // the sink will never accept some records of a batch
	ServerFailed func(ServerFailedInfo) // the server did not answer a request, which will be repeated
	DurableReset func(DurableResetInfo) // the server will deliver from the first unacknowledged message on
	Undecodable  func(UndecodableInfo)  // a message is no record
	DeadLettered func(DeadLetterInfo)   // a message has been moved to the dead-letter stream
	Released     func(ReleaseInfo)      // a batch was returned to the server unacknowledged, at the end of Run

	// DeadLetterFailed: the dead-letter stream did not take a message, which waits, and all behind it wait too. The
	// sink and its circuit have no part in it.
	DeadLetterFailed func(RetryInfo)
}

// PublishInfo describes a Write that succeeded.
type PublishInfo struct {
	Records    int
	Duplicates int // of those, the stream had them already
	Elapsed    time.Duration
}

// RetryInfo describes a Write of a Publisher, or the storing of a dead letter, that has failed and continues.
type RetryInfo struct {
	Subject  string        // of the first record that is not stored; of the original of a dead letter
	Key      string        // of that record; "" for a dead letter
	Stream   string        // of the original of a dead letter; "" for a Write
	Sequence uint64        // of that message in its stream; 0 for a Write
	Attempt  int           // the one that failed, from 1
	Wait     time.Duration // until the next
	Err      error         // as in PublishError
}

// OutOfOrderInfo describes records that were stored behind a later one of their instrument. A server that runs full, or
// is just making room, may refuse one message and accept the next, which was sent before the refusal arrived; so may the
// servers of a cluster between them, when the leader of the stream changes. Nothing is lost, but a reader sees the ids go
// back.
type OutOfOrderInfo struct {
	Subject  string // of the first such record
	Key      string // of that record
	Sequence uint64 // of that record in its stream
	Records  int    // how many there are
}

// AckInfo describes a message that a stream has confirmed.
type AckInfo struct {
	Stream    string
	Sequence  uint64
	Duplicate bool          // the stream had it already
	Took      time.Duration // since it was last sent
}

// DeliveryInfo describes a message that was delivered.
type DeliveryInfo struct {
	Stream, Durable string
	Sequence        uint64
	Deliveries      uint64        // of this message, this one included
	Pending         uint64        // messages that wait behind it
	StoredAt        time.Time     // clock of the server
	Lag             time.Duration // from StoredAt to now by the local clock; includes the difference of the clocks
}

// HandleInfo describes a Write of the sink.
type HandleInfo struct {
	Stream, Durable string
	Records         int
	Took            time.Duration
	Err             error // as the sink returned it
}

// ConsumeInfo describes a batch that the sink has accepted and the server has marked as delivered.
type ConsumeInfo struct {
	Stream      string // the one of the re-drives for records that were re-driven
	Records     int
	First, Last uint64        // stream sequences
	Redelivered int           // records that were not delivered for the first time
	Behind      uint64        // messages that were waiting in the stream at Last
	Elapsed     time.Duration // from the first delivery to the acknowledgement
}

// SinkFailedInfo describes a batch that the sink did not accept.
type SinkFailedInfo struct {
	Stream      string
	Records     int
	First, Last uint64        // stream sequences
	Attempt     int           // the one that failed, from 1
	Wait        time.Duration // until the next
	Err         error         // as the sink returned it
}

// CircuitInfo describes a change of CircuitState.
type CircuitInfo struct {
	Before, State CircuitState
	Since         time.Time // of the sink's first failure; zero if there was none
	Err           error     // of the sink's last failure; nil if the State is CircuitClosed
}

// RefusedInfo describes a batch with records that the sink will never accept. Those that it names become dead letters;
// if it names none, the batch is split to find them.
type RefusedInfo struct {
	Stream      string
	Records     int
	First, Last uint64 // stream sequences
	Named       int    // refused records that the sink has named
	Key         string // of the first of them
	Attempt     int    // the one that failed, from 1
	Err         error  // as the sink returned it
}

// ServerFailedInfo describes a request that the server did not answer.
type ServerFailedInfo struct {
	Attempt int           // failures in a row
	Wait    time.Duration // until the next
	Err     error
}

// DurableResetInfo describes the reset of a durable to its first unacknowledged message.
type DurableResetInfo struct {
	From   uint64 // stream sequence
	Source string // as in Record.Origin
	Err    error  // why; nil at the start of Run
}

// UndecodableInfo describes a message that is no record, or for Hooks.Suppressed not the one that its id names.
type UndecodableInfo struct {
	Stream   string
	Sequence uint64
	Subject  string
	Err      error // a *CodecError
}

// DeadLetterInfo describes a message that has been moved to the dead-letter stream.
type DeadLetterInfo struct {
	Stream   string // of the original message, also if it was re-driven since
	Sequence uint64
	Subject  string
	Key      string // of the record; "" if it is none
	Reason   DeadReason
	Redrives int  // times that it was re-driven before
	Bodiless bool // its body is not in the letter, see deadletter.Letter.BodySize
	Err      error
}

// ReleaseInfo describes a batch that was not written before Run had to end.
type ReleaseInfo struct {
	Stream      string
	Records     int
	First, Last uint64 // stream sequences
}

// TeeHooks returns Hooks that call each of hooks, in order. nil ones are left out.
func TeeHooks(hooks ...*Hooks) *Hooks {
	var all Hooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		all.Published = hook.Join(all.Published, h.Published)
		all.Retrying = hook.Join(all.Retrying, h.Retrying)
		all.OutOfOrder = hook.Join(all.OutOfOrder, h.OutOfOrder)
		all.Acked = hook.Join(all.Acked, h.Acked)
		all.Suppressed = hook.Join(all.Suppressed, h.Suppressed)
		all.Delivered = hook.Join(all.Delivered, h.Delivered)
		all.Handled = hook.Join(all.Handled, h.Handled)
		all.Consumed = hook.Join(all.Consumed, h.Consumed)
		all.SinkFailed = hook.Join(all.SinkFailed, h.SinkFailed)
		all.Circuit = hook.Join(all.Circuit, h.Circuit)
		all.Refused = hook.Join(all.Refused, h.Refused)
		all.ServerFailed = hook.Join(all.ServerFailed, h.ServerFailed)
		all.DurableReset = hook.Join(all.DurableReset, h.DurableReset)
		all.Undecodable = hook.Join(all.Undecodable, h.Undecodable)
		all.DeadLettered = hook.Join(all.DeadLettered, h.DeadLettered)
		all.Released = hook.Join(all.Released, h.Released)
		all.DeadLetterFailed = hook.Join(all.DeadLetterFailed, h.DeadLetterFailed)
	}
	return &all
}

// LogHooks returns Hooks that log: batches at debug level, passing failures at info or warn, and a message that is no
// record at error. The log handler must not block.
func LogHooks(l *slog.Logger) *Hooks {
	return &Hooks{
		Published: func(i PublishInfo) {
			l.Debug("published", "records", i.Records, "duplicates", i.Duplicates, "elapsed", i.Elapsed)
		},
		Retrying: func(i RetryInfo) {
			l.Warn("publishing is delayed", "subject", i.Subject, "key", i.Key, "attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
		OutOfOrder: func(i OutOfOrderInfo) {
			l.Warn("stored out of order", "subject", i.Subject, "key", i.Key, "sequence", i.Sequence, "records", i.Records)
		},
		Acked: func(i AckInfo) {
			if !l.Enabled(context.Background(), slog.LevelDebug) {
				return // the arguments would cost more than the rest, for every message
			}
			l.Debug("confirmed", "stream", i.Stream, "sequence", i.Sequence, "duplicate", i.Duplicate, "took", i.Took)
		},
		Suppressed: func(i UndecodableInfo) {
			l.Error("record is suppressed by another message under its id", "stream", i.Stream, "sequence", i.Sequence, "subject", i.Subject, "err", i.Err)
		},
		Delivered: func(i DeliveryInfo) {
			if !l.Enabled(context.Background(), slog.LevelDebug) {
				return
			}
			l.Debug("delivered", "stream", i.Stream, "durable", i.Durable, "sequence", i.Sequence, "deliveries", i.Deliveries,
				"pending", i.Pending, "lag", i.Lag)
		},
		Handled: func(i HandleInfo) {
			l.Debug("handled", "stream", i.Stream, "durable", i.Durable, "records", i.Records, "took", i.Took, "err", i.Err)
		},
		Consumed: func(i ConsumeInfo) {
			l.Debug("consumed", "stream", i.Stream, "records", i.Records, "first", i.First, "last", i.Last,
				"redelivered", i.Redelivered, "behind", i.Behind, "elapsed", i.Elapsed)
		},
		SinkFailed: func(i SinkFailedInfo) {
			l.Warn("sink fails", "stream", i.Stream, "records", i.Records, "first", i.First, "last", i.Last, "attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
		Circuit: func(i CircuitInfo) {
			l.Info("circuit to the sink", "state", i.State, "since", i.Since, "err", i.Err)
		},
		Refused: func(i RefusedInfo) {
			l.Warn("sink refuses records", "stream", i.Stream, "records", i.Records, "first", i.First, "last", i.Last,
				"named", i.Named, "key", i.Key, "attempt", i.Attempt, "err", i.Err)
		},
		ServerFailed: func(i ServerFailedInfo) {
			l.Warn("server does not answer", "attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
		DurableReset: func(i DurableResetInfo) {
			l.Info("durable reset", "sequence", i.From, "source", i.Source, "err", i.Err)
		},
		Undecodable: func(i UndecodableInfo) {
			l.Error("message is no record", "stream", i.Stream, "sequence", i.Sequence, "subject", i.Subject, "err", i.Err)
		},
		DeadLettered: func(i DeadLetterInfo) {
			l.Error("moved to the dead letters", "stream", i.Stream, "sequence", i.Sequence, "subject", i.Subject,
				"key", i.Key, "reason", i.Reason, "redrives", i.Redrives, "bodiless", i.Bodiless, "err", i.Err)
		},
		Released: func(i ReleaseInfo) {
			l.Warn("batch returned to the server", "stream", i.Stream, "records", i.Records, "first", i.First, "last", i.Last)
		},
		DeadLetterFailed: func(i RetryInfo) {
			l.Error("dead letter is not stored", "stream", i.Stream, "sequence", i.Sequence, "subject", i.Subject,
				"attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
	}
}
