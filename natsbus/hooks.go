package natsbus

import "time"

// Hooks observe Publishers and Consumers. Any field may be nil, and so may a *Hooks. They are called
// on the goroutine that runs Write or Run, after the counters have changed, and must not block: what
// they hold up is the flow of records.
type Hooks struct {
	Published func(PublishInfo)   // a Write has succeeded
	Retrying  func(RetryInfo)     // a Write has failed and will be continued after a delay
	Overtaken func(OvertakenInfo) // a Write succeeded, but not in order

	Consumed     func(ConsumeInfo)     // a batch is written and acknowledged
	SinkFailed   func(SinkFailedInfo)  // the sink refused a batch, which is held and will be tried again
	FetchFailed  func(FetchFailedInfo) // the server could not be asked for messages; it will be again
	Realigned    func(RealignInfo)     // the server will deliver anew from the first unacknowledged message
	Undecodable  func(UndecodableInfo) // a message cannot be decoded
	DeadLettered func(UndecodableInfo) // a message has been moved to the dead-letter stream
	Released     func(ReleaseInfo)     // a batch was handed back unacknowledged at the end of Run
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

// FetchFailedInfo describes a request that the server did not answer.
type FetchFailedInfo struct {
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

func (h *Hooks) published(i PublishInfo) {
	if h != nil && h.Published != nil {
		h.Published(i)
	}
}

func (h *Hooks) retrying(i RetryInfo) {
	if h != nil && h.Retrying != nil {
		h.Retrying(i)
	}
}

func (h *Hooks) overtaken(i OvertakenInfo) {
	if h != nil && h.Overtaken != nil {
		h.Overtaken(i)
	}
}

func (h *Hooks) consumed(i ConsumeInfo) {
	if h != nil && h.Consumed != nil {
		h.Consumed(i)
	}
}

func (h *Hooks) sinkFailed(i SinkFailedInfo) {
	if h != nil && h.SinkFailed != nil {
		h.SinkFailed(i)
	}
}

func (h *Hooks) fetchFailed(i FetchFailedInfo) {
	if h != nil && h.FetchFailed != nil {
		h.FetchFailed(i)
	}
}

func (h *Hooks) realigned(i RealignInfo) {
	if h != nil && h.Realigned != nil {
		h.Realigned(i)
	}
}

func (h *Hooks) undecodable(i UndecodableInfo) {
	if h != nil && h.Undecodable != nil {
		h.Undecodable(i)
	}
}

func (h *Hooks) deadLettered(i UndecodableInfo) {
	if h != nil && h.DeadLettered != nil {
		h.DeadLettered(i)
	}
}

func (h *Hooks) released(i ReleaseInfo) {
	if h != nil && h.Released != nil {
		h.Released(i)
	}
}
