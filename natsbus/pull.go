package natsbus

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A puller asks the server for messages of a consumer, by one request at a time.
//
// It takes the place of Fetch of the client library, which does not fit a replicated durable: there the
// server holds each message back until its replicas know of the delivery, but says at once that a
// request is at its end. Fetch takes the server at its word and drops the messages that come
// behind it, as it does with those that come when its time is over. A puller counts what was delivered,
// and waits for that.
type puller struct {
	conn    *nats.Conn
	sub     *nats.Subscription
	msgs    chan *nats.Msg
	request string // subject on which messages are asked for
	due     int    // messages that were asked for and may still come
}

// pullPatience is how long after its end a request may remain unanswered.
const pullPatience = time.Second

var errSilent = fmt.Errorf("%w: what was asked for does not come", ErrUnavailable)

// newPuller returns a puller that asks for so many messages at most.
func newPuller(js jetstream.JetStream, stream, consumer string, batch int) (*puller, error) {
	p := &puller{
		conn:    js.Conn(),
		msgs:    make(chan *nats.Msg, 2*batch+64), // more than one request and what the server says of it
		request: apiPrefix(js.Options()) + "CONSUMER.MSG.NEXT." + stream + "." + consumer,
	}
	var err error
	p.sub, err = p.conn.ChanSubscribe(p.conn.NewInbox(), p.msgs)
	return p, err
}

func apiPrefix(opts jetstream.JetStreamOptions) string {
	switch {
	case opts.Domain != "":
		return "$JS." + opts.Domain + ".API."
	case opts.APIPrefix != "":
		return strings.TrimSuffix(opts.APIPrefix, ".") + "."
	}
	return jetstream.DefaultAPIPrefix
}

// close lets the server deliver nothing more to the puller. It may be called again, and of nil.
func (p *puller) close() {
	if p != nil {
		_ = p.sub.Unsubscribe() // it fails where nothing can be delivered any more
	}
}

// A pullRequest is what the server wants to be told.
type pullRequest struct {
	Batch     int           `json:"batch"`
	MaxBytes  int           `json:"max_bytes,omitempty"`
	Expires   time.Duration `json:"expires"`
	Heartbeat time.Duration `json:"idle_heartbeat,omitempty"` // by which the server shows that it is there
}

func (p *puller) ask(r pullRequest) error {
	body, err := json.Marshal(r)
	if err == nil {
		err = p.conn.PublishRequest(p.request, p.sub.Subject, body)
	}
	if err == nil {
		p.due = r.Batch
	}
	return err
}

// status takes what the server says of a request. That it is at its end is no error.
func (p *puller) status(msg *nats.Msg) error {
	code, text := msg.Header.Get("Status"), msg.Header.Get("Description")
	if pending, err := strconv.Atoi(msg.Header.Get("Nats-Pending-Messages")); err == nil {
		p.due = max(p.due-pending, 0) // those will not come
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
	return fmt.Errorf("natsbus: the server ends a request: %s %s", code, text)
}

// A delivery is a message in hand.
type delivery struct {
	*nats.Msg
	meta jetstream.MsgMetadata // without names
}

// ackPrefix begins the reply subject of what a durable delivers, and of nothing else.
const ackPrefix = "$JS.ACK."

var errAckSubject = errors.New("natsbus: reply subject of a delivery is malformed")

// newDelivery reads where a message stands, which is in its reply subject:
//
//	$JS.ACK.STREAM.CONSUMER.DELIVERED.STREAMSEQ.CONSUMERSEQ.NANOS.PENDING
//	$JS.ACK.DOMAIN.ACCOUNT.STREAM.CONSUMER.DELIVERED.STREAMSEQ.CONSUMERSEQ.NANOS.PENDING.MORE
func newDelivery(msg *nats.Msg) (d delivery, err error) {
	const names, more = 2, 4 // tokens before the numbers in the first form, and in the second
	rest := msg.Reply[len(ackPrefix):]
	skip := names
	if tokens := strings.Count(rest, ".") + 1; tokens > names+5 {
		skip = more
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var numbers [5]uint64
	for i := range numbers {
		var token string
		token, rest, _ = strings.Cut(rest, ".")
		if numbers[i], err = strconv.ParseUint(token, 10, 64); err != nil {
			return d, fmt.Errorf("%w: %q", errAckSubject, msg.Reply)
		}
	}
	d.Msg = msg
	d.meta.NumDelivered = numbers[0]
	d.meta.Sequence = jetstream.SequencePair{Stream: numbers[1], Consumer: numbers[2]}
	d.meta.Timestamp = time.Unix(0, int64(numbers[3]))
	d.meta.NumPending = numbers[4]
	return d, nil
}

// inProgress tells the server that the message is being worked on.
func (d *delivery) inProgress(conn *nats.Conn) error {
	return conn.Publish(d.Reply, []byte("+WPI"))
}

// nak hands the message back, to be delivered again after some time.
func (d *delivery) nak(conn *nats.Conn, after time.Duration) error {
	return conn.Publish(d.Reply, fmt.Appendf(nil, `-NAK {"delay": %d}`, after.Nanoseconds()))
}
