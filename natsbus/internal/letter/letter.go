// Package letter is the format of a dead letter: the message that could not be used, with its origin and the
// cause of its failure in headers.
package letter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/natsbus/internal/failure"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// Headers of a dead letter, beside those of the original message. Its body is the original's, unless
// HeaderBodySize is set. Times are RFC 3339.
const (
	HeaderID            = "Md-Dlq-Id"              // STREAM:DURABLE:SEQUENCE, and :N after N re-drives
	HeaderStream        = "Md-Dlq-Stream"          // stream of the original
	HeaderSource        = "Md-Dlq-Source"          // that stream with its time of creation, as in marketprism.Origin
	HeaderSequence      = "Md-Dlq-Stream-Seq"      // sequence of the original in that stream
	HeaderSubject       = "Md-Dlq-Subject"         // subject of the original
	HeaderConsumer      = "Md-Dlq-Consumer"        // the durable that could not use it
	HeaderDeliveries    = "Md-Dlq-Deliveries"      // times that it was delivered
	HeaderAttempts      = "Md-Dlq-Attempts"        // times that it was written alone or was named, or decoded
	HeaderStoredAt      = "Md-Dlq-Stored-At"       // when its stream stored it
	HeaderFirstFailedAt = "Md-Dlq-First-Failed-At" // when it failed first, in a batch or alone, re-drives included
	HeaderFailedAt      = "Md-Dlq-Failed-At"       // when it became a dead letter
	HeaderReason        = "Md-Dlq-Reason"          // a natsbus.DeadReason
	HeaderStage         = "Md-Dlq-Stage"           // "decode", "write" or "deliver"
	HeaderError         = "Md-Dlq-Error"           // the error, cut to 1024 bytes
	HeaderRedrives      = "Md-Dlq-Redrives"        // times that it was re-driven; absent if never
	HeaderBodySize      = "Md-Dlq-Body-Size"       // bytes of a body that is missing; absent otherwise
	HeaderHeadersCut    = "Md-Dlq-Headers-Cut"     // number of headers that did not fit; absent otherwise
	HeaderTrace         = "Md-Dlq-Trace"           // traceparent of the span in which it was moved last; absent if not traced

	prefix         = "Md-Dlq-"      // of all of them
	originalPrefix = "Md-Dlq-Orig-" // of a header of the original that the server would act on, such as its Nats-Msg-Id
)

// The values of HeaderStage.
const (
	StageDecode  = "decode"
	StageWrite   = "write"
	StageDeliver = "deliver"
)

// TerminatedPrefix begins the reason with which a Consumer terminates a message whose dead letter is stored.
const TerminatedPrefix = "dlq:"

// BodyGone is the HeaderBodySize of a message that had left its stream before it became a letter: its size is unknown.
const BodyGone = -1

const maxErrorText = 1024

// Subject returns where dead letters of a durable go: dlq.STREAM.DURABLE.SUBJECT.
func Subject(stream, durable, subject string) string {
	return "dlq." + stream + "." + durable + "." + subject
}

// RedriveSubject returns where dead letters of a durable are re-driven: redrive.STREAM.DURABLE.SUBJECT. Only that
// durable's Consumer reads it, so no other reader sees a record twice or out of order.
func RedriveSubject(stream, durable, subject string) string {
	return "redrive." + stream + "." + durable + "." + subject
}

// An Origin is where a message was stored first, and the durable that was to read it. A re-drive keeps it.
type Origin struct {
	Stream, Source, Consumer, Subject string

	Sequence uint64
	StoredAt time.Time
	Redrives int
	FailedAt time.Time // first failure before the last re-drive
}

// ID returns the identity of the dead letter, the same however often it is published.
func (o Origin) ID() string {
	id := o.Stream + ":" + o.Consumer + ":" + strconv.FormatUint(o.Sequence, 10)
	if o.Redrives > 0 {
		id += ":" + strconv.Itoa(o.Redrives)
	}
	return id
}

// messageID returns the Nats-Msg-Id of a letter or of its re-drive. It contains the source because a stream that was
// created again counts from 1 again.
func messageID(what, source, id string) string { return what + ":" + source + ":" + id }

// ParseOrigin reads the origin from the headers of a dead letter. ok is false if they are not those of a complete
// letter, or name no subject on which it can be re-driven.
func ParseOrigin(header nats.Header) (o Origin, ok bool) {
	o = Origin{
		Stream: header.Get(HeaderStream), Source: header.Get(HeaderSource),
		Consumer: header.Get(HeaderConsumer), Subject: header.Get(HeaderSubject),
		StoredAt: ParseTime(header, HeaderStoredAt), FailedAt: ParseTime(header, HeaderFirstFailedAt),
	}
	o.Sequence, _ = strconv.ParseUint(header.Get(HeaderSequence), 10, 64)
	o.Redrives, _ = strconv.Atoi(header.Get(HeaderRedrives))
	return o, isToken(o.Stream) && o.Source != "" && isToken(o.Consumer) && isSubject(o.Subject) && o.Sequence > 0 && o.Redrives >= 0
}

// isSubject reports whether a message may be published on s.
func isSubject(s string) bool {
	for token := range strings.SplitSeq(s, ".") {
		if !isToken(token) {
			return false
		}
	}
	return true
}

// isToken reports whether s can be a token of the subject of a message: it is not empty and contains no dot, wildcard,
// blank or control character.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '.' || r == '*' || r == '>' || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

// ParseTime returns the time in a header, or the zero Time.
func ParseTime(header nats.Header, name string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, header.Get(name))
	return t
}

// A Cause is why a message becomes a dead letter.
type Cause struct {
	Reason     string
	Stage      string
	Attempts   int
	Deliveries uint64
	FailedAt   time.Time // first failure
	Err        error
}

// New returns the dead letter of a message with the given headers and body.
func New(o Origin, original nats.Header, body []byte, cause Cause) *nats.Msg {
	header := keptHeader(original, o.Redrives > 0)
	set := func(name, value string) { header[name] = []string{value} }
	setTime := func(name string, t time.Time) {
		if !t.IsZero() {
			set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	text := strings.ToValidUTF8(cause.Err.Error(), "\uFFFD")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") // without half a character
	}
	first := o.FailedAt
	if first.IsZero() {
		first = cause.FailedAt
	}
	set(jetstream.MsgIDHeader, messageID("dlq", o.Source, o.ID()))
	set(HeaderID, o.ID())
	set(HeaderStream, o.Stream)
	set(HeaderSource, o.Source)
	set(HeaderSequence, strconv.FormatUint(o.Sequence, 10))
	set(HeaderSubject, o.Subject)
	set(HeaderConsumer, o.Consumer)
	set(HeaderDeliveries, strconv.FormatUint(cause.Deliveries, 10))
	set(HeaderAttempts, strconv.Itoa(cause.Attempts))
	set(HeaderReason, cause.Reason)
	set(HeaderStage, cause.Stage)
	set(HeaderError, text)
	setTime(HeaderStoredAt, o.StoredAt)
	setTime(HeaderFirstFailedAt, first)
	setTime(HeaderFailedAt, time.Now())
	if o.Redrives > 0 {
		set(HeaderRedrives, strconv.Itoa(o.Redrives))
	}
	return &nats.Msg{Subject: Subject(o.Stream, o.Consumer, o.Subject), Header: header, Data: body}
}

// keptHeader returns the headers of the original for its dead letter, with originalPrefix before those that the
// server or a reader of letters would act on. The headers of a re-driven message have the prefix already; those that
// this package added to it are dropped.
func keptHeader(original nats.Header, redriven bool) nats.Header {
	kept := make(nats.Header, len(original)+16)
	for name, values := range original {
		switch ours := reserved(name); {
		case !ours || redriven && strings.HasPrefix(name, originalPrefix):
			kept[name] = values
		case !redriven:
			kept[originalPrefix+name] = values
		}
	}
	return kept
}

// OriginalHeader returns the headers that the original had, from those of its letter.
func OriginalHeader(header nats.Header) nats.Header {
	original := make(nats.Header)
	for name, values := range header {
		if own, ok := strings.CutPrefix(name, originalPrefix); ok {
			original[own] = values
		} else if !reserved(name) {
			original[name] = values
		}
	}
	return original
}

// reserved reports whether a header means something to the server or to this package.
func reserved(name string) bool {
	return hasPrefixFold(name, "Nats-") || hasPrefixFold(name, prefix)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// Redrive returns the message that re-drives a letter with the given headers, which is in the stream of dead letters at
// a sequence since some time. It keeps the headers, and has the same Nats-Msg-Id however often the re-drive of that
// letter is repeated. A message that has become a letter a second time, after the first was re-driven, has another one.
func Redrive(o Origin, header nats.Header, body []byte, sequence uint64, since time.Time) *nats.Msg {
	kept := maps.Clone(header)
	maps.DeleteFunc(kept, func(name string, _ []string) bool { return hasPrefixFold(name, "Nats-") })
	place := strconv.FormatUint(sequence, 10) + "@" + since.UTC().Format(time.RFC3339Nano)
	kept[jetstream.MsgIDHeader] = []string{messageID("redrive", o.Source, header.Get(HeaderID)+":"+place)}
	kept[HeaderRedrives] = []string{strconv.Itoa(o.Redrives + 1)}
	return &nats.Msg{Subject: RedriveSubject(o.Stream, o.Consumer, o.Subject), Header: kept, Data: body}
}

// Store publishes a letter, and returns when the stream has it; the answer is Duplicate if it had it before.
//
// The server remembers the id of a letter that was purged or re-driven, and takes the same message that became a letter
// again for a copy. Store then publishes it under an id of its own, the same in every repetition.
func Store(ctx context.Context, js jetstream.JetStream, letter *nats.Msg) (*jetstream.PubAck, error) {
	for {
		ack, err := publish(ctx, js, letter)
		if err != nil || !ack.Duplicate {
			return ack, err
		}
		if there, err := holds(ctx, js, ack.Stream, ack.Sequence); err != nil || there {
			return ack, err
		}
		again := letter.Header.Get(jetstream.MsgIDHeader) + "@" + strconv.FormatUint(ack.Sequence, 10)
		letter.Header[jetstream.MsgIDHeader] = []string{again}
	}
}

// holds reports whether a stream has a message at a sequence.
func holds(ctx context.Context, js jetstream.JetStream, stream string, sequence uint64) (bool, error) {
	_, err := FromLeader(ctx, js, stream, sequence, "")
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return false, nil
	}
	// Not %w: a stream that is missing, or a silent server, would count as permanent.
	return false, fmt.Errorf("%w: is dead letter %d still in stream %s? %v", failure.ErrUnavailable, sequence, stream, err)
}

// Get returns the message of a stream at a sequence; if a pattern is given, the first from there on with such a subject.
// If there is none, the error is jetstream.ErrMsgNotFound.
//
// Only the leader's word counts for that. Where the stream allows direct gets, any replica may answer the first request,
// and it may not have the message yet (NATS ADR-31: reads after writes are not coherent).
func Get(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream, sequence uint64, pattern string) (*jetstream.RawStreamMsg, error) {
	var opts []jetstream.GetMsgOpt
	if pattern != "" {
		opts = append(opts, jetstream.WithGetMsgSubject(pattern))
	}
	msg, err := stream.GetMsg(ctx, sequence, opts...)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		msg, err = FromLeader(ctx, js, stream.CachedInfo().Config.Name, sequence, pattern)
	}
	return msg, err
}

// FromLeader is Get by the leader of the stream.
func FromLeader(ctx context.Context, js jetstream.JetStream, stream string, sequence uint64, pattern string) (*jetstream.RawStreamMsg, error) {
	body, err := json.Marshal(struct {
		Sequence uint64 `json:"seq"`
		Pattern  string `json:"next_by_subj,omitempty"`
	}{sequence, pattern})
	if err != nil {
		return nil, err
	}
	reply, err := js.Conn().RequestWithContext(ctx, pull.APIPrefix(js.Options())+"STREAM.MSG.GET."+stream, body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	err = json.Unmarshal(reply.Data, &answer)
	switch m := answer.Message; {
	case err != nil:
		return nil, err
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case answer.Error != nil:
		return nil, answer.Error
	case m.Sequence == 0:
		return nil, jetstream.ErrInvalidJetStreamResponse
	default:
		header := nats.Header{}
		if len(m.Header) > 0 {
			header, err = nats.DecodeHeadersMsg(m.Header)
		}
		return &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Header: header, Data: m.Data, Time: m.Time}, err
	}
}

// publish publishes a letter. If it is larger than the server or the stream allows, publish removes its body, which is
// still in the stream of the original, or the original's headers, and then both: without a dead letter the message
// would block its durable.
func publish(ctx context.Context, js jetstream.JetStream, letter *nats.Msg) (*jetstream.PubAck, error) {
	ack, err := js.PublishMsg(ctx, letter)
	for cuts := 0; cuts < 2 && err != nil && errors.Is(failure.Classify(err), failure.ErrTooLarge); cuts++ {
		if Bodiless(letter) || failure.Code(err) == failure.CodeHeaderTooLarge {
			cutHeader(letter)
		} else {
			cutBody(letter)
		}
		ack, err = js.PublishMsg(ctx, letter)
	}
	return ack, err
}

// A Result is what became of a letter.
type Result struct {
	Err   error // nil if the stream has it
	There bool  // the stream had it before
}

// StoreAll stores letters in order. It publishes all of them before it waits for the first answer, by async, which must
// be the caller's own and without handlers. One that the stream has not just taken is then published alone, as Store
// does; after one that fails no other is. A letter whose first answer was lost does not count as There.
func StoreAll(ctx context.Context, js jetstream.JetStream, async jetstream.Publisher, letters []*nats.Msg) []Result {
	answers := make([]jetstream.PubAckFuture, len(letters))
	for i, letter := range letters {
		answers[i], _ = async.PublishMsgAsync(letter, jetstream.WithRetryAttempts(0))
	}
	results := make([]Result, len(letters))
	var failed error
	for i, letter := range letters {
		first := await(ctx, answers[i])
		if first != nil && !first.Duplicate {
			continue
		}
		var ack *jetstream.PubAck
		if failed == nil {
			ack, failed = Store(ctx, js, letter)
		}
		results[i] = Result{Err: failed, There: failed == nil && ack.Duplicate && first != nil}
	}
	return results
}

// await waits for an answer; nil if there is none. future is nil if nothing was sent.
func await(ctx context.Context, future jetstream.PubAckFuture) *jetstream.PubAck {
	if future == nil {
		return nil
	}
	select {
	case ack := <-future.Ok():
		return ack
	case <-future.Err():
	case <-ctx.Done():
	}
	return nil
}

func cutBody(letter *nats.Msg) {
	SetBodySize(letter, len(letter.Data))
	letter.Data = nil
}

// SetBodySize marks a letter as one without the body of its message.
func SetBodySize(letter *nats.Msg, size int) {
	letter.Header[HeaderBodySize] = []string{strconv.Itoa(size)}
}

// Bodiless reports whether a letter is without the body of its message: it did not fit, or the message was gone.
func Bodiless(letter *nats.Msg) bool { return letter.Header.Get(HeaderBodySize) != "" }

// cutHeader removes the headers of the original.
func cutHeader(letter *nats.Msg) {
	before := len(letter.Header)
	maps.DeleteFunc(letter.Header, func(name string, _ []string) bool {
		return name != jetstream.MsgIDHeader && (!strings.HasPrefix(name, prefix) || strings.HasPrefix(name, originalPrefix))
	})
	letter.Header[HeaderHeadersCut] = []string{strconv.Itoa(before - len(letter.Header))}
}
