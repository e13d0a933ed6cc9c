package natsbus

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/backoff"
)

// Headers of a dead letter, beside the headers of the original message. Its body is the original's.
const (
	HeaderDeadID         = "Md-Dlq-Id"         // STREAM:DURABLE:SEQUENCE, also the Nats-Msg-Id after "dlq:"
	HeaderDeadStream     = "Md-Dlq-Stream"     // where the message stands
	HeaderDeadSequence   = "Md-Dlq-Stream-Seq" // at which place
	HeaderDeadSubject    = "Md-Dlq-Subject"    // under which subject
	HeaderDeadConsumer   = "Md-Dlq-Consumer"   // the durable that could not use it
	HeaderDeadDeliveries = "Md-Dlq-Deliveries" // how often it was delivered
	HeaderDeadStoredAt   = "Md-Dlq-Stored-At"  // when the stream stored it, RFC 3339
	HeaderDeadFailedAt   = "Md-Dlq-Failed-At"  // when the durable gave it up, RFC 3339
	HeaderDeadReason     = "Md-Dlq-Reason"     // "decode"
	HeaderDeadError      = "Md-Dlq-Error"      // the error, cut to 1024 bytes

	// headerDeadOriginal precedes the name of a header that would tell the server something, such as
	// the Nats-Msg-Id of the original.
	headerDeadOriginal = "Md-Dlq-Orig-"
)

const (
	reasonDecode     = "decode"
	maxDeadErrorText = 1024
)

// DeadLettersStream is the name of the stream of dead letters unless another is configured: MD_DLQ
// for the prefix "md".
func DeadLettersStream(prefix string) string { return streamName(prefix, "_DLQ") }

// deadSubject is where dead letters of a durable go: dlq.STREAM.DURABLE.SUBJECT.
func deadSubject(stream, durable, subject string) string {
	return "dlq." + stream + "." + durable + "." + subject
}

// undecodable deals with a message that is no record.
func (r *reader) undecodable(msg delivery, cause error) error {
	info := UndecodableInfo{Stream: r.cfg.Stream, Sequence: msg.meta.Sequence.Stream, Subject: msg.Subject(), Err: cause}
	r.count(func(s *ConsumerStats) { s.Undecodable++ })
	call(r.cfg.Hooks.Undecodable, info)
	if !r.cfg.DeadLetters {
		return &stopError{&DecodeError{Stream: info.Stream, Sequence: info.Sequence, Subject: info.Subject, Err: cause}}
	}
	letter := r.deadLetter(msg, cause)
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	for attempt := 1; ; attempt++ {
		err := r.bury(letter, msg)
		if err == nil {
			break
		}
		if r.work.Err() != nil || hopeless(err) {
			return err
		}
		wait := retry.Next()
		r.count(func(s *ConsumerStats) { s.SinkFailures++ })
		call(r.cfg.Hooks.SinkFailed, SinkFailedInfo{
			Records: 1, First: info.Sequence, Last: info.Sequence, Attempt: attempt, Wait: wait,
			Err: fmt.Errorf("natsbus: dead letter to %s: %w", letter.Subject, err),
		})
		_ = backoff.Sleep(r.work, wait) // work is looked at after the next attempt
	}
	r.count(func(s *ConsumerStats) { s.DeadLettered++ })
	call(r.cfg.Hooks.DeadLettered, info)
	return nil
}

// bury publishes the letter and, only when a stream has confirmed it, takes the message from the
// durable. Whatever happens between the two, the next attempt publishes the same Nats-Msg-Id.
func (r *reader) bury(letter *nats.Msg, msg delivery) error {
	ctx, cancel := context.WithTimeout(r.work, ackTimeout)
	defer cancel()
	if _, err := r.js.PublishMsg(ctx, letter); err != nil {
		return err
	}
	_, err := r.conn.RequestWithContext(ctx, msg.Reply(), []byte("+TERM dlq:"+reasonDecode))
	return err
}

func (r *reader) deadLetter(msg delivery, cause error) *nats.Msg {
	seq := strconv.FormatUint(msg.meta.Sequence.Stream, 10)
	id := r.cfg.Stream + ":" + r.cfg.Durable + ":" + seq
	text := cause.Error()
	if len(text) > maxDeadErrorText {
		text = text[:maxDeadErrorText]
	}
	header := nats.Header{
		jetstream.MsgIDHeader: {"dlq:" + id},
		HeaderDeadID:          {id},
		HeaderDeadStream:      {r.cfg.Stream},
		HeaderDeadSequence:    {seq},
		HeaderDeadSubject:     {msg.Subject()},
		HeaderDeadConsumer:    {r.cfg.Durable},
		HeaderDeadDeliveries:  {strconv.FormatUint(msg.meta.NumDelivered, 10)},
		HeaderDeadStoredAt:    {msg.meta.Timestamp.UTC().Format(time.RFC3339Nano)},
		HeaderDeadFailedAt:    {time.Now().UTC().Format(time.RFC3339Nano)},
		HeaderDeadReason:      {reasonDecode},
		HeaderDeadError:       {strings.ToValidUTF8(text, "\uFFFD")},
	}
	for name, values := range msg.Headers() {
		if strings.HasPrefix(strings.ToLower(name), "nats-") {
			name = headerDeadOriginal + name
		}
		header[name] = values
	}
	return &nats.Msg{Subject: deadSubject(r.cfg.Stream, r.cfg.Durable, msg.Subject()), Header: header, Data: msg.Data()}
}
