package natsbus

import "time"

// Hooks observe Publishers and Consumers. Any field may be nil. They are called with no lock held,
// after Stats have changed, and must not block: what they hold up is the flow of records.
//
// The first three are called on the goroutine of a Write, so by several at once where Writes run
// concurrently; Acked on the one that receives acknowledgements, one at a time, and Delivered on the one
// that receives messages, the stream's or that of its re-drive lane. The others are called by Run, one at
// a time, on the goroutine that reads the stream or the one that reads its re-drive lane.
//
// Acked and Delivered are called for every message, and cost readings of the clock beside their own time.
type Hooks struct {
	Published func(PublishInfo)   // a Write has succeeded
	Retrying  func(RetryInfo)     // a Write has failed and will be continued after a delay
	Overtaken func(OvertakenInfo) // a Write has succeeded, but not in order
	Acked     func(AckInfo)       // a stream has confirmed a message

	Delivered    func(DeliveryInfo)     // a message has come
	Handled      func(HandleInfo)       // a Write of the sink has returned
	Consumed     func(ConsumeInfo)      // a batch is written and acknowledged
	SinkFailed   func(SinkFailedInfo)   // the sink did not take a batch, which is held and will be written again
	Circuit      func(CircuitInfo)      // the sink fails, is tried again, or works again
	Refused      func(RefusedInfo)      // the sink will never take a record of a batch, which is parted to find it
	ServerFailed func(ServerFailedInfo) // the server did not give messages, or take acknowledgements; it will be asked again
	Realigned    func(RealignInfo)      // the server will deliver anew from the first unacknowledged message
	Undecodable  func(UndecodableInfo)  // a message is no record
	DeadLettered func(DeadLetterInfo)   // a message has been moved to the dead-letter stream
	Released     func(ReleaseInfo)      // a batch was handed back unacknowledged at the end of Run
}

// PublishInfo describes a Write that succeeded.
type PublishInfo struct {
	Records    int
	Duplicates int // of those, the stream had them already
	Elapsed    time.Duration
}

// RetryInfo describes a Write that has failed for now.
type RetryInfo struct {
	Subject string        // of the first record that is not stored
	Key     string        // of that record
	Attempt int           // the one that failed, from 1
	Wait    time.Duration // until the next
	Err     error         // as in PublishError
}

// OvertakenInfo tells that records were stored behind a later one of their instrument. A server may
// refuse one message and take the next, when it runs full or is just making room, and both are on
// their way before the refusal is known. Nothing is lost, but a reader sees the ids go back.
type OvertakenInfo struct {
	Subject  string // of the first such record
	Key      string
	Sequence uint64 // where it stands in its stream
	Records  int    // how many there are
}

// AckInfo describes a message that a stream has confirmed.
type AckInfo struct {
	Stream    string
	Sequence  uint64
	Duplicate bool          // the stream had it already
	Took      time.Duration // since it was sent, the last time if several
}

// DeliveryInfo describes a message that has come from a stream.
type DeliveryInfo struct {
	Stream, Durable string
	Sequence        uint64
	Deliveries      uint64        // how often it has come, this time included
	Pending         uint64        // messages that wait behind it
	StoredAt        time.Time     // clock of the server
	Lag             time.Duration // from then to now by the local clock; what the two differ by is in it
}

// HandleInfo describes a Write of the sink.
type HandleInfo struct {
	Stream, Durable string
	Records         int
	Took            time.Duration
	Err             error // as the sink returned it; nil if it has accepted them
}

// ConsumeInfo describes a batch that the sink has accepted and the server has marked as delivered.
type ConsumeInfo struct {
	Stream      string // the one of the re-drive lane for records that were re-driven
	Records     int
	First, Last uint64        // stream sequences
	Redelivered int           // of the records, how many were not delivered for the first time
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
	Since         time.Time // when the sink failed first; zero if it has not
	Err           error     // as the sink returned it last; nil if the State is CircuitClosed
}

// RefusedInfo describes a batch that holds a record which the sink will never take.
type RefusedInfo struct {
	Stream      string
	Records     int
	First, Last uint64 // stream sequences
	Key         string // of the record, if the sink has named it
	Attempt     int    // the one that failed, from 1
	Err         error  // as the sink returned it
}

// ServerFailedInfo describes a request that the server did not answer.
type ServerFailedInfo struct {
	Attempt int           // failures in a row
	Wait    time.Duration // until the next
	Err     error
}

// RealignInfo tells from where the server delivers.
type RealignInfo struct {
	From   uint64 // stream sequence
	Source string // as in Record.Origin
	Err    error  // why; nil at the start of Run
}

// UndecodableInfo describes a message that is no record.
type UndecodableInfo struct {
	Stream   string
	Sequence uint64
	Subject  string
	Err      error // a *CodecError
}

// DeadLetterInfo describes a message that has been moved to the dead-letter stream.
type DeadLetterInfo struct {
	Stream   string // where it stood, also if it was re-driven since
	Sequence uint64
	Subject  string
	Key      string // of the record; "" if it is none
	Reason   DeadReason
	Redrives int  // how often it was re-driven before
	Bodiless bool // the letter had no room for its body, see DeadLetter.BodySize
	Err      error
}

// ReleaseInfo describes a batch that was not written before Run had to end.
type ReleaseInfo struct {
	Stream      string
	Records     int
	First, Last uint64 // stream sequences
}
