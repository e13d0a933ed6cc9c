package deadletter

import (
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
)

// A Letter is a message that a durable could not use.
type Letter struct {
	Sequence uint64 // in the stream of dead letters

	Reason natsbus.DeadReason
	Stage  string // "decode", "write" or "deliver"
	Error  string // cut to 1024 bytes

	Stream         string // of the original message
	Source         string // that stream with its time of creation, as in marketprism.Origin
	StreamSequence uint64
	Subject        string
	Consumer       string // the durable

	Deliveries    uint64    // by the server, since the durable was last reset
	Attempts      int       // failed Writes of the record alone, or of the batch in which the sink named it; 1 if the message is no record
	Redrives      int       // times that it was re-driven before
	StoredAt      time.Time // clock of the server
	FirstFailedAt time.Time // clock of the Consumer, as is FailedAt
	FailedAt      time.Time

	Header nats.Header // of the original, Nats-Msg-Id and traceparent included
	Body   []byte      // of the original

	// BodySize is the size of the original's body in bytes, and HeadersCut the number of its headers that are
	// missing here. Where BodySize is not len(Body), a letter with the body would have been larger than the
	// server allows, and the letter cannot be re-driven. The original is in Stream at StreamSequence for as long
	// as that stream keeps it. BodySize is -1 where the original had left its stream before an AdvisoryWatch could
	// read it.
	BodySize   int
	HeadersCut int

	header nats.Header // of the letter
	stored time.Time   // when its stream stored it, by the server's clock
}

// parse reads a letter from its headers. A message that another program has published in the stream gives zero fields.
func parse(msg *jetstream.RawStreamMsg) *Letter {
	o, _ := letter.ParseOrigin(msg.Header)
	l := &Letter{
		Sequence: msg.Sequence,
		Reason:   natsbus.DeadReason(msg.Header.Get(letter.HeaderReason)),
		Stage:    msg.Header.Get(letter.HeaderStage),
		Error:    msg.Header.Get(letter.HeaderError),
		Stream:   o.Stream, Source: o.Source, StreamSequence: o.Sequence, Subject: o.Subject, Consumer: o.Consumer,
		Redrives: o.Redrives, StoredAt: o.StoredAt, FirstFailedAt: o.FailedAt,
		FailedAt: letter.ParseTime(msg.Header, letter.HeaderFailedAt),
		Header:   letter.OriginalHeader(msg.Header), Body: msg.Data,
		header: msg.Header, stored: msg.Time,
	}
	l.Deliveries, _ = strconv.ParseUint(msg.Header.Get(letter.HeaderDeliveries), 10, 64)
	l.BodySize = len(l.Body)
	if size, err := strconv.Atoi(msg.Header.Get(letter.HeaderBodySize)); err == nil {
		l.BodySize = size
	}
	l.HeadersCut, _ = strconv.Atoi(msg.Header.Get(letter.HeaderHeadersCut))
	l.Attempts, _ = strconv.Atoi(msg.Header.Get(letter.HeaderAttempts))
	return l
}

// complete reports whether the letter has its whole origin, without which it cannot be re-driven: it was written by
// natsbus or this package.
func (l *Letter) complete() bool {
	_, ok := letter.ParseOrigin(l.header)
	return ok
}

// bodiless reports whether the letter is without the body of its message.
func (l *Letter) bodiless() bool { return l.BodySize != len(l.Body) }

// gone reports whether the message had left its stream before it became a letter.
func (l *Letter) gone() bool { return l.BodySize == letter.BodyGone }

// redrive returns the message that re-drives the letter.
func (l *Letter) redrive() *nats.Msg {
	o, _ := letter.ParseOrigin(l.header)
	return letter.Redrive(o, l.header, l.Body, l.Sequence, l.stored)
}

// A Filter selects dead letters. The zero Filter selects all.
type Filter struct {
	Subject   string               // of the original, with wildcards, such as md.binance.*.depth.>; "" means all
	Stream    string               // of the original; "" means all
	Consumer  string               // "" means all
	Reasons   []natsbus.DeadReason // empty means all
	From, To  time.Time            // FailedAt in [From, To); zero means no limit
	Sequences []uint64             // in the stream of dead letters; empty means all
}

// pattern returns the subjects in the stream of dead letters.
func (f Filter) pattern() string {
	defaults.Set(&f.Subject, ">")
	defaults.Set(&f.Stream, "*")
	defaults.Set(&f.Consumer, "*")
	return letter.Subject(f.Stream, f.Consumer, f.Subject)
}

// match reports whether a letter on a subject of pattern is selected.
func (f Filter) match(l *Letter) bool {
	return (len(f.Reasons) == 0 || slices.Contains(f.Reasons, l.Reason)) &&
		(f.From.IsZero() || !l.FailedAt.Before(f.From)) && (f.To.IsZero() || l.FailedAt.Before(f.To)) &&
		(len(f.Sequences) == 0 || slices.Contains(f.Sequences, l.Sequence))
}
