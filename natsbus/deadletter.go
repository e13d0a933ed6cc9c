package natsbus

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers of a dead letter, beside the headers of the original message. Its body is the original's,
// unless HeaderDeadBodySize or HeaderDeadHeadersCut tells that one did not fit. Times are RFC 3339.
const (
	HeaderDeadID            = "Md-Dlq-Id"              // STREAM:DURABLE:SEQUENCE, and :N after N re-drives
	HeaderDeadStream        = "Md-Dlq-Stream"          // where the message stands
	HeaderDeadSource        = "Md-Dlq-Source"          // that stream's incarnation, as in Record.Origin
	HeaderDeadSequence      = "Md-Dlq-Stream-Seq"      // at which place
	HeaderDeadSubject       = "Md-Dlq-Subject"         // under which subject
	HeaderDeadConsumer      = "Md-Dlq-Consumer"        // the durable that could not use it
	HeaderDeadDeliveries    = "Md-Dlq-Deliveries"      // how often it was delivered
	HeaderDeadAttempts      = "Md-Dlq-Attempts"        // how often it was written alone, or looked at
	HeaderDeadStoredAt      = "Md-Dlq-Stored-At"       // when the stream stored it
	HeaderDeadFirstFailedAt = "Md-Dlq-First-Failed-At" // when it failed first, in a batch or alone, re-drives included
	HeaderDeadFailedAt      = "Md-Dlq-Failed-At"       // when it was given up
	HeaderDeadReason        = "Md-Dlq-Reason"          // a DeadReason
	HeaderDeadStage         = "Md-Dlq-Stage"           // "decode", "write" or "deliver"
	HeaderDeadError         = "Md-Dlq-Error"           // the error, cut to 1024 bytes
	HeaderDeadRedrives      = "Md-Dlq-Redrives"        // how often it was re-driven; absent if never
	HeaderDeadBodySize      = "Md-Dlq-Body-Size"       // bytes of a body that the letter has no room for; absent otherwise
	HeaderDeadHeadersCut    = "Md-Dlq-Headers-Cut"     // number of headers that it has no room for; absent otherwise
	HeaderDeadTrace         = "Md-Dlq-Trace"           // traceparent of the span in which it was moved last; absent if not traced

	// headerDeadPrefix begins every one of them, and headerDeadOriginal the name of a header of the
	// original that would tell the server something, such as its Nats-Msg-Id.
	headerDeadPrefix   = "Md-Dlq-"
	headerDeadOriginal = "Md-Dlq-Orig-"
)

// A DeadReason says why a message is a dead letter.
type DeadReason string

// The reasons.
const (
	DeadDecode        DeadReason = "decode"         // it is no record
	DeadRefused       DeadReason = "refused"        // the sink will never take it
	DeadExhausted     DeadReason = "exhausted"      // MaxAttempts was reached
	DeadMaxDeliveries DeadReason = "max_deliveries" // the server does not deliver it any more
	DeadTerminated    DeadReason = "terminated"     // a program has ended its delivery
)

const (
	stageDecode      = "decode"
	stageWrite       = "write"
	stageDeliver     = "deliver"
	maxDeadErrorText = 1024
)

// DeadLettersStream is the name of the stream of dead letters unless another is configured: MD_DLQ
// for the prefix "md".
func DeadLettersStream(prefix string) string { return streamName(prefix, "_DLQ") }

// deadSubject is where dead letters of a durable go: dlq.STREAM.DURABLE.SUBJECT.
func deadSubject(stream, durable, subject string) string {
	return "dlq." + stream + "." + durable + "." + subject
}

// A place is where a message stands, and who was to read it. A re-drive does not change it.
type place struct {
	stream, source, consumer, subject string

	sequence uint64
	storedAt time.Time
	redrives int
	failedAt time.Time // first failure before the last re-drive
}

// id tells one dead letter from all others, and is the same however often it is published.
func (p place) id() string {
	id := p.stream + ":" + p.consumer + ":" + strconv.FormatUint(p.sequence, 10)
	if p.redrives > 0 {
		id += ":" + strconv.Itoa(p.redrives)
	}
	return id
}

// deadMsgID is the id by which the bus stores a letter once, or what is put back of it. It names the
// stream's incarnation: one that was made anew counts from 1 again.
func deadMsgID(what, source, id string) string { return what + ":" + source + ":" + id }

// A cause is why a message becomes a dead letter.
type cause struct {
	reason     DeadReason
	stage      string
	attempts   int
	deliveries uint64
	failedAt   time.Time // first failure
	err        error
}

// newLetter makes the dead letter of a message.
func newLetter(at place, original nats.Header, body []byte, why cause) *nats.Msg {
	header := keptHeader(original, at.redrives > 0)
	set := func(name, value string) { header[name] = []string{value} }
	instant := func(name string, t time.Time) {
		if !t.IsZero() {
			set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	text := why.err.Error()
	if len(text) > maxDeadErrorText {
		text = text[:maxDeadErrorText]
	}
	first := at.failedAt
	if first.IsZero() {
		first = why.failedAt
	}
	set(jetstream.MsgIDHeader, deadMsgID("dlq", at.source, at.id()))
	set(HeaderDeadID, at.id())
	set(HeaderDeadStream, at.stream)
	set(HeaderDeadSource, at.source)
	set(HeaderDeadSequence, strconv.FormatUint(at.sequence, 10))
	set(HeaderDeadSubject, at.subject)
	set(HeaderDeadConsumer, at.consumer)
	set(HeaderDeadDeliveries, strconv.FormatUint(why.deliveries, 10))
	set(HeaderDeadAttempts, strconv.Itoa(why.attempts))
	set(HeaderDeadReason, string(why.reason))
	set(HeaderDeadStage, why.stage)
	set(HeaderDeadError, strings.ToValidUTF8(text, "\uFFFD"))
	instant(HeaderDeadStoredAt, at.storedAt)
	instant(HeaderDeadFirstFailedAt, first)
	instant(HeaderDeadFailedAt, time.Now())
	if at.redrives > 0 {
		set(HeaderDeadRedrives, strconv.Itoa(at.redrives))
	}
	return &nats.Msg{Subject: deadSubject(at.stream, at.consumer, at.subject), Header: header, Data: body}
}

// keptHeader returns the headers of the original for its dead letter. What the server would act on,
// or a reader take for ours, goes under another name. A message that was re-driven has its original's
// headers under those names already, and beside them what this package added.
func keptHeader(original nats.Header, redriven bool) nats.Header {
	kept := make(nats.Header, len(original)+16)
	for name, values := range original {
		switch ours := reserved(name); {
		case !ours || redriven && strings.HasPrefix(name, headerDeadOriginal):
			kept[name] = values
		case !redriven:
			kept[headerDeadOriginal+name] = values
		}
	}
	return kept
}

// reserved tells whether a header means something to the server or to this package.
func reserved(name string) bool {
	return hasPrefixFold(name, "Nats-") || hasPrefixFold(name, headerDeadPrefix)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
