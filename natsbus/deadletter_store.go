package natsbus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// bury publishes the letter and, only when a stream has confirmed it, takes the message from the
// durable. Whatever happens between the two, the next attempt publishes the same Nats-Msg-Id. Its error
// is an *unsettledError if the letter is stored.
func (r *reader) bury(letter *nats.Msg, msg pull.Delivery) error {
	storing, cancel := context.WithTimeout(r.work, ackTimeout)
	defer cancel()
	if _, err := storeLetter(storing, r.js, letter); err != nil {
		return fmt.Errorf("dead letter to %s: %w", letter.Subject, err)
	}
	ending, cancel := context.WithTimeout(r.work, ackTimeout)
	defer cancel()
	if _, err := r.conn.RequestWithContext(ending, msg.Reply, []byte("+TERM "+terminatedByUs+letter.Header.Get(HeaderDeadReason))); err != nil {
		return &unsettledError{err}
	}
	return nil
}

// terminatedByUs begins the reason for which a message is terminated whose dead letter is stored.
const terminatedByUs = "dlq:"

// An unsettledError is why a message is still with its durable, as far as is known, though its dead
// letter is stored. A server that has forgotten the delivery never confirms its end, so trying again
// would not help: the message has to be asked for anew.
type unsettledError struct{ err error }

func (e *unsettledError) Error() string {
	return fmt.Sprintf("%v: end of a delivery whose dead letter is stored: %v", ErrUnavailable, e.err)
}

func (e *unsettledError) Unwrap() []error { return []error{ErrUnavailable, e.err} }

// storeLetter publishes a letter. One that is larger than the server or the stream allows loses its body,
// which the stream of the message has, or the message's headers, and in the end both: a message that has
// no dead letter would keep its durable from going on.
func storeLetter(ctx context.Context, js jetstream.JetStream, letter *nats.Msg) (*jetstream.PubAck, error) {
	ack, err := js.PublishMsg(ctx, letter)
	for cuts := 0; cuts < 2 && err != nil && errors.Is(classify(err), ErrTooLarge); cuts++ {
		if bodiless(letter) || headerTooLarge(err) {
			cutHeader(letter)
		} else {
			cutBody(letter)
		}
		ack, err = js.PublishMsg(ctx, letter)
	}
	return ack, err
}

func cutBody(letter *nats.Msg) {
	letter.Header[HeaderDeadBodySize] = []string{strconv.Itoa(len(letter.Data))}
	letter.Data = nil
}

// bodiless tells whether a letter had no room for its body.
func bodiless(letter *nats.Msg) bool { return letter.Header.Get(HeaderDeadBodySize) != "" }

// cutHeader leaves what this package says of the message.
func cutHeader(letter *nats.Msg) {
	before := len(letter.Header)
	maps.DeleteFunc(letter.Header, func(name string, _ []string) bool {
		return name != jetstream.MsgIDHeader && (!strings.HasPrefix(name, headerDeadPrefix) || strings.HasPrefix(name, headerDeadOriginal))
	})
	letter.Header[HeaderDeadHeadersCut] = []string{strconv.Itoa(before - len(letter.Header))}
}
