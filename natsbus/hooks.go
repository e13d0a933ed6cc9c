package natsbus

import "time"

// Hooks observe Publishers and Consumers. Any field may be nil. They are called with no lock held,
// after Stats have changed, and must not block: what they hold up is the flow of records.
//
// The first three are called on the goroutine of a Write, so by several at once where Writes run
// concurrently; the others on the goroutine of Run.
type Hooks struct {
	Published func(PublishInfo)   // a Write has succeeded
	Retrying  func(RetryInfo)     // a Write has failed and will be continued after a delay
	Overtaken func(OvertakenInfo) // a Write has succeeded, but not in order

	Consumed     func(ConsumeInfo)      // a batch is written and acknowledged
	SinkFailed   func(SinkFailedInfo)   // the sink refused a batch, which is held and will be tried again
	ServerFailed func(ServerFailedInfo) // the server did not give messages, or take acknowledgements; it will be asked again
	Realigned    func(RealignInfo)      // the server will deliver anew from the first unacknowledged message
	Undecodable  func(UndecodableInfo)  // a message is no record
	DeadLettered func(UndecodableInfo)  // such a message has been moved to the dead-letter stream
	Released     func(ReleaseInfo)      // a batch was handed back unacknowledged at the end of Run
}

// call calls a hook that is set.
func call[Info any](hook func(Info), info Info) {
	if hook != nil {
		hook(info)
	}
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

// ConsumeInfo describes a batch that the sink has accepted and the server has marked as delivered.
type ConsumeInfo struct {
	Records     int
	First, Last uint64        // stream sequences
	Redelivered int           // of the records, how many were not delivered for the first time
	Behind      uint64        // messages that were waiting in the stream at Last
	Elapsed     time.Duration // from the first delivery to the acknowledgement
}

// SinkFailedInfo describes a batch that the sink did not accept.
type SinkFailedInfo struct {
	Records     int
	First, Last uint64        // stream sequences
	Attempt     int           // the one that failed, from 1
	Wait        time.Duration // until the next
	Err         error         // as the sink returned it
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

// ReleaseInfo describes a batch that was not written before Run had to end.
type ReleaseInfo struct {
	Records     int
	First, Last uint64 // stream sequences
}
