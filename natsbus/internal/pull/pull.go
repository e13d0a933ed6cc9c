// Package pull requests the messages of a JetStream consumer, one request at a time.
//
// It replaces Fetch of the client library, which loses messages of a replicated durable: there the server
// delays each message until its replicas know of the delivery, but reports the end of the request at once.
// Fetch drops the messages that arrive after that report, and those that arrive after its time-out. A Puller
// counts the deliveries that a request still owes, and waits for them.
package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/natsbus/internal/failure"
)

// Patience is how long after its expiry a request may remain unanswered.
const Patience = time.Second

var (
	// ErrSilent: the server has not answered a request in time.
	ErrSilent = errors.New("server does not answer a request for messages")
	// ErrMissed: the server has delivered a message that did not arrive.
	ErrMissed = errors.New("a delivery is missing")

	errReply = errors.New("reply subject of a delivery is malformed")
)

// EnsureDurable makes a durable, or changes the one of that name. The error wraps failure.ErrIncompatible if the server
// cannot change it: it is a push consumer, for example, or has another policy of acknowledgement.
func EnsureDurable(ctx context.Context, js jetstream.JetStream, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	durable, err := js.CreateOrUpdateConsumer(ctx, stream, cfg)
	if isUnchangeable(err) {
		err = fmt.Errorf("%w: %w", failure.ErrIncompatible, err)
	}
	return durable, err
}

// owner begins every description, and is in the metadata, of the streams and consumers that natsbus makes.
const owner = "MarketPrism"

// Description returns the description of a stream or consumer, for "nats stream info" and the like.
func Description(about string) string { return owner + ": " + about }

// IsDescription reports whether a description is of the form that Description gives.
func IsDescription(text string) bool { return strings.HasPrefix(text, owner+": ") }

// Metadata returns the metadata of a stream or consumer, by which an operator can select it.
func Metadata(role string) map[string]string { return map[string]string{"owner": owner, "role": role} }

// codeConsumerCreate is the server's error for any failure to make or change a consumer (nats-server, errors.json). Its
// text says which: "ack policy can not be updated" or "can not update push consumer to pull based", for example
// (nats-server v2.15, checkNewConsumerConfig in server/consumer.go).
const codeConsumerCreate jetstream.ErrorCode = 10012

func isUnchangeable(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeConsumerCreate &&
		(strings.HasSuffix(api.Description, "can not be updated") || strings.Contains(api.Description, "can not update p"))
}

// A Puller requests messages of one consumer. It is not safe for concurrent use, except for Messages.
type Puller struct {
	conn    *nats.Conn
	sub     *nats.Subscription
	msgs    chan *nats.Msg
	subject string // of requests
	due     int    // deliveries that the current request still owes
	next    uint64 // consumer sequence of the next delivery
}

// New returns a Puller for requests of up to batch messages. The consumer must be new or just reset: its
// deliveries count from 1.
func New(js jetstream.JetStream, stream, consumer string, batch int) (*Puller, error) {
	p := &Puller{
		conn:    js.Conn(),
		msgs:    make(chan *nats.Msg, 2*batch+64), // more than one request and its reports
		subject: APIPrefix(js.Options()) + "CONSUMER.MSG.NEXT." + stream + "." + consumer,
		next:    1,
	}
	var err error
	p.sub, err = p.conn.ChanSubscribe(p.conn.NewInbox(), p.msgs)
	return p, err
}

// APIPrefix returns the first tokens of the subjects of requests to the server.
func APIPrefix(opts jetstream.JetStreamOptions) string {
	switch {
	case opts.Domain != "":
		return "$JS." + opts.Domain + ".API."
	case opts.APIPrefix != "":
		return strings.TrimSuffix(opts.APIPrefix, ".") + "."
	}
	return jetstream.DefaultAPIPrefix
}

// Close ends the subscription. It may be called again, and on nil. Its error, where the subscription has ended before,
// does no harm.
func (p *Puller) Close() error {
	if p == nil {
		return nil
	}
	return p.sub.Unsubscribe()
}

// A Request is the body of a request for messages.
type Request struct {
	Batch     int           `json:"batch"`
	MaxBytes  int           `json:"max_bytes,omitempty"`
	Expires   time.Duration `json:"expires"`
	Heartbeat time.Duration `json:"idle_heartbeat,omitempty"` // between two signs of life while there is no message
}

// Request asks for messages. They arrive in Messages.
func (p *Puller) Request(r Request) error {
	body, err := json.Marshal(r)
	if err == nil {
		err = p.conn.PublishRequest(p.subject, p.sub.Subject, body)
	}
	if err == nil {
		p.due = r.Batch
	}
	return err
}

// Due returns how many deliveries the current request still owes.
func (p *Puller) Due() int { return p.due }

// Messages returns the channel of deliveries and reports. Pass each of them to Receive.
func (p *Puller) Messages() <-chan *nats.Msg { return p.msgs }

// Receive accounts for a message of the channel. ok is false if it is a report of the server about the request
// and not a delivery. The error wraps ErrMissed if a delivery before this one did not arrive.
func (p *Puller) Receive(msg *nats.Msg) (d Delivery, ok bool, err error) {
	if !strings.HasPrefix(msg.Reply, ackPrefix) {
		return d, false, p.report(msg)
	}
	if d, err = newDelivery(msg); err != nil {
		return d, false, err
	}
	if got := d.Meta.Sequence.Consumer; got != p.next {
		return d, false, fmt.Errorf("%w: want %d of the consumer, got %d", ErrMissed, p.next, got)
	}
	p.next++
	p.due--
	return d, true, nil
}

// report reads the server's status of the request. The regular end of the request is no error.
func (p *Puller) report(msg *nats.Msg) error {
	code, text := msg.Header.Get("Status"), msg.Header.Get("Description")
	if pending, err := strconv.Atoi(msg.Header.Get("Nats-Pending-Messages")); err == nil {
		p.due = max(p.due-pending, 0) // those will not be delivered
		return nil
	}
	switch code {
	case "100": // a heartbeat
		return nil
	case "404":
		p.due = 0
		return nil
	case "503":
		return nats.ErrNoResponders
	}
	return fmt.Errorf("the server ends a request: %s %s", code, text)
}

// A Delivery is a message with its position.
type Delivery struct {
	*nats.Msg
	Meta jetstream.MsgMetadata // without the names of stream and consumer
}

// ackPrefix begins the reply subject of every delivery, and of nothing else.
const ackPrefix = "$JS.ACK."

// newDelivery reads the position of a message from its reply subject:
//
//	$JS.ACK.STREAM.CONSUMER.DELIVERED.STREAMSEQ.CONSUMERSEQ.NANOS.PENDING
//	$JS.ACK.DOMAIN.ACCOUNT.STREAM.CONSUMER.DELIVERED.STREAMSEQ.CONSUMERSEQ.NANOS.PENDING.MORE
func newDelivery(msg *nats.Msg) (d Delivery, err error) {
	const names, more = 2, 4 // tokens before the numbers in the first form, and in the second
	rest := msg.Reply[len(ackPrefix):]
	skip := names
	if tokens := strings.Count(rest, ".") + 1; tokens > names+5 {
		skip = more
	}
	for range skip {
		rest = rest[strings.IndexByte(rest, '.')+1:]
	}
	var numbers [5]uint64
	for i := range numbers {
		n, digits := leadingNumber(rest)
		if digits == 0 || digits > maxDigits || digits < len(rest) && rest[digits] != '.' {
			return d, fmt.Errorf("%w: %q", errReply, msg.Reply)
		}
		numbers[i], rest = n, rest[min(digits+1, len(rest)):]
	}
	d.Msg = msg
	d.Meta.NumDelivered = numbers[0]
	d.Meta.Sequence = jetstream.SequencePair{Stream: numbers[1], Consumer: numbers[2]}
	d.Meta.Timestamp = time.Unix(0, int64(numbers[3]))
	d.Meta.NumPending = numbers[4]
	return d, nil
}

// maxDigits is how many digits a number may have that surely fits a uint64. No message has one as large as the others.
const maxDigits = 19

// leadingNumber returns the number at the beginning of a text, and how many digits it has.
func leadingNumber(text string) (n uint64, digits int) {
	for digits < len(text) && text[digits]-'0' <= 9 {
		n = n*10 + uint64(text[digits]-'0')
		digits++
	}
	return n, digits
}

// InProgress restarts the server's AckWait for the message.
func (d *Delivery) InProgress(conn *nats.Conn) error {
	return conn.Publish(d.Reply, []byte("+WPI"))
}

// Nak returns the message to the server, which delivers it again after the delay.
func (d *Delivery) Nak(conn *nats.Conn, delay time.Duration) error {
	return conn.Publish(d.Reply, fmt.Appendf(nil, `-NAK {"delay": %d}`, delay.Nanoseconds()))
}

// Source returns the name of a stream with its time of creation, the Source of marketprism.Origin: a stream that
// is deleted and created again counts its sequences from 1, and has another Source.
func Source(info *jetstream.StreamInfo) string {
	return info.Config.Name + "@" + info.Created.UTC().Format(time.RFC3339Nano)
}
