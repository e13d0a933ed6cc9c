package natsbus

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism/internal/scan"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
)

// answers receives the answers of streams to the messages of a Publisher. It replaces PublishMsgAsync of the client
// library, which makes a timer, a random subject and a future for each message, and reads each answer by reflection: with
// the same number of messages in flight that took a third of the CPU time of publishing.
type answers struct {
	prefix string // of the reply subjects; the number of the message follows
	sub    *nats.Subscription
	msgs   chan *nats.Msg
	lost   chan nats.Status // the connection was lost or closed
	ended  chan struct{}    // closed by Close

	scan    scan.Scanner
	streams scan.Intern
}

// An answer is what a stream says about one message.
type answer struct {
	number    uint64 // of the message
	stream    string
	sequence  uint64
	duplicate bool
	err       error // nil if the stream has the message
	sent      time.Time
}

// answerBatch bounds the answers that are accounted for at once.
const answerBatch = 256

// listen subscribes for answers, unless that was done before.
func (p *Publisher) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answers != nil || p.closed {
		return nil
	}
	a := &answers{
		prefix: p.conn.NewInbox() + ".",
		msgs:   make(chan *nats.Msg, p.cfg.MaxPending+answerBatch),
		ended:  make(chan struct{}),
	}
	var err error
	if a.sub, err = p.conn.ChanSubscribe(a.prefix+"*", a.msgs); err != nil {
		return err
	}
	a.lost = p.conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	p.answers = a
	go p.receive(a)
	return nil
}

// Close ends the subscription for acknowledgements. Current and later Writes fail with ErrClosed. It closes
// the connection if Open has opened it, returns nil, and may be called again.
func (p *Publisher) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.changed.Broadcast()
	p.mu.Unlock()
	if first {
		p.answers.stop(p.conn)
		p.refuse(jetstream.ErrJetStreamPublisherClosed, time.Time{})
		if p.owned {
			p.conn.Close()
		}
	}
	return nil
}

// stop ends the subscription for answers, if there is one.
func (a *answers) stop(conn *nats.Conn) {
	if a == nil {
		return
	}
	_ = a.sub.Unsubscribe() // fails on a closed connection, which has ended it
	conn.RemoveStatusListener(a.lost)
	close(a.ended)
}

// reply returns the subject of the answer to a message.
func (a *answers) reply(number uint64) string {
	var buf [64]byte
	return string(strconv.AppendUint(append(buf[:0], a.prefix...), number, 36))
}

// receive accounts for answers, for messages without one, and for those of a connection that was lost.
func (p *Publisher) receive(a *answers) {
	ticker := time.NewTicker(max(p.cfg.AckTimeout/8, time.Millisecond))
	defer ticker.Stop()
	batch := make([]answer, 0, answerBatch)
	for {
		select {
		case msg := <-a.msgs:
			batch = append(batch[:0], a.read(msg))
			for range min(len(a.msgs), answerBatch-1) {
				batch = append(batch, a.read(<-a.msgs))
			}
			p.answered(batch)
		case now := <-ticker.C:
			p.refuse(jetstream.ErrAsyncPublishTimeout, now.Add(-p.cfg.AckTimeout))
		case <-a.lost:
			p.refuse(nats.ErrDisconnected, time.Time{})
		case <-a.ended:
			return
		}
		if p.conn.IsClosed() {
			p.refuse(nats.ErrConnectionClosed, time.Time{})
			return
		}
	}
}

// read reads one answer.
func (a *answers) read(msg *nats.Msg) (r answer) {
	r.number, _ = strconv.ParseUint(msg.Subject[len(a.prefix):], 36, 64) // another's message has no number that is in flight
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		r.err = jetstream.ErrNoStreamResponse
		return r
	}
	s := &a.scan
	s.Reset(msg.Data)
	s.Object()
	for key, ok := s.Key(); ok; key, ok = s.Key() {
		switch string(key) {
		case "stream":
			r.stream = s.Interned(&a.streams)
		case "seq":
			r.sequence = uint64(s.Int())
		case "duplicate":
			r.duplicate = s.Bool()
		case "error":
			r.err = apiError(msg.Data)
			s.Skip()
		default:
			s.Skip()
		}
	}
	if s.ExpectEnd(); r.err == nil && (s.Err() != nil || r.stream == "" || r.sequence == 0) {
		r.err = jetstream.ErrInvalidJSAck
	}
	return r
}

// apiError returns the error in an answer, a *jetstream.APIError.
func apiError(data []byte) error {
	var refused struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &refused); err != nil || refused.Error == nil {
		return jetstream.ErrInvalidJSAck
	}
	return refused.Error
}

// answered accounts for answers, and reports those that confirm a message.
func (p *Publisher) answered(batch []answer) {
	if p.trace.On() {
		for i := range batch {
			p.endSpan(&batch[i])
		}
	}
	p.mu.Lock()
	for i := range batch {
		p.account(&batch[i])
	}
	p.mu.Unlock()
	if p.cfg.Hooks.Acked == nil {
		return
	}
	for _, a := range batch {
		if a.err == nil && !a.sent.IsZero() {
			p.cfg.Hooks.Acked(AckInfo{Stream: a.stream, Sequence: a.sequence, Duplicate: a.duplicate, Took: time.Since(a.sent)})
		}
	}
}

// endSpan ends the span of a message that is answered, which must be over before its Write returns.
func (p *Publisher) endSpan(a *answer) {
	p.mu.Lock()
	span := p.inFlight[a.number].span
	p.mu.Unlock()
	if a.err != nil {
		tracing.End(span, a.err)
		return
	}
	tracing.EndPublish(span, &jetstream.PubAck{Stream: a.stream, Sequence: a.sequence, Duplicate: a.duplicate})
}

// account takes an answered message from those in flight, and sets the time at which it was sent, unless it was
// taken before. p.mu is held.
func (p *Publisher) account(a *answer) {
	m, ok := p.completed(a.number)
	if !ok {
		return
	}
	a.sent = m.at
	if a.err != nil {
		m.to.Failures.count(a.err)
		m.write.fail(m.index, a.err)
		return
	}
	m.to.Stream = a.stream
	m.to.Acked++
	if a.duplicate {
		m.to.Duplicates++
		m.write.duplicates++
		m.write.duplicate = m.index
	}
	m.write.sequences[m.index] = a.sequence
	m.write.left--
}

// refuse gives up the messages in flight that were sent before a time; all if it is zero.
func (p *Publisher) refuse(err error, before time.Time) {
	var late []answer
	var spans []trace.Span
	p.mu.Lock()
	for number, m := range p.inFlight {
		if before.IsZero() || m.at.Before(before) {
			late = append(late, answer{number: number, err: err})
			spans = append(spans, m.span)
		}
	}
	p.mu.Unlock()
	for _, span := range spans {
		tracing.End(span, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range late {
		p.account(&late[i])
	}
}
