package letter

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/natsbus/internal/failure"
)

// Store publishes a letter. If it is larger than the server or the stream allows, Store removes its body, which is
// still in the stream of the original, or the original's headers, and then both: without a dead letter the message
// would block its durable.
func Store(ctx context.Context, js jetstream.JetStream, letter *nats.Msg) (*jetstream.PubAck, error) {
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

func cutBody(letter *nats.Msg) {
	letter.Header[HeaderBodySize] = []string{strconv.Itoa(len(letter.Data))}
	letter.Data = nil
}

// Bodiless reports whether the body of a letter was removed because it did not fit.
func Bodiless(letter *nats.Msg) bool { return letter.Header.Get(HeaderBodySize) != "" }

// cutHeader removes the headers of the original.
func cutHeader(letter *nats.Msg) {
	before := len(letter.Header)
	maps.DeleteFunc(letter.Header, func(name string, _ []string) bool {
		return name != jetstream.MsgIDHeader && (!strings.HasPrefix(name, prefix) || strings.HasPrefix(name, originalPrefix))
	})
	letter.Header[HeaderHeadersCut] = []string{strconv.Itoa(before - len(letter.Header))}
}
