package natsbus

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism"
)

// A write is one call of Publisher.Write. What the acknowledgements change is guarded by the
// Publisher's mu; a write that was given up may still be changed by late ones.
type write struct {
	p       *Publisher
	ctx     context.Context
	stop    func() bool // stops waking the write at the end of ctx
	recs    []marketprism.Record
	started time.Time

	sequences  []uint64 // of each record in its stream; 0 while it is not confirmed
	left       int      // records not confirmed
	pending    int      // messages in flight
	duplicates int
	repeated   bool // there was more than one pass
	failed     bool // in the current pass
	failure    failure

	buf []byte // the body being sent
}

// A failure is the first record of a pass that was not confirmed, and why.
type failure struct {
	index int
	err   error
}

func (p *Publisher) newWrite(ctx context.Context, recs []marketprism.Record) *write {
	return &write{
		p: p, ctx: ctx, recs: recs,
		started:   time.Now(),
		sequences: make([]uint64, len(recs)),
		left:      len(recs),
		stop: context.AfterFunc(ctx, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.changed.Broadcast()
		}),
	}
}

func (w *write) elapsed() time.Duration { return time.Since(w.started) }

// pass sends, in order, every record that is not confirmed yet, up to the first failure, and returns
// when all that was sent is answered or ctx has ended. It tells whether any was confirmed.
//
// After a failed pass the next one begins with a single message, and the others follow when it is
// confirmed: a server that has just become full, or is just making room, would otherwise refuse an
// earlier record and take a later one.
func (w *write) pass() (progress bool) {
	left, probe := w.begin()
	reconnects := w.p.conn.Stats().Reconnects
	for i := range w.recs {
		if w.sequences[i] != 0 {
			continue
		}
		if !w.send(i, reconnects) || probe && !w.settle() {
			break
		}
		probe = false
	}
	w.settle()
	return w.unconfirmed() < left
}

// begin starts a pass. It returns how many records are not confirmed and whether the last pass failed.
func (w *write) begin() (left int, failed bool) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	failed, w.failed = w.failed, false
	w.repeated = w.repeated || failed
	return w.left, failed
}

// send encodes one record and sends it as soon as there is room; false if the pass is over.
func (w *write) send(i int, reconnects uint64) bool {
	p, r := w.p, &w.recs[i]
	msg, span, err := w.message(r)
	if err != nil {
		w.failSending(i, nil, err)
		return false
	}
	if !w.takeOff(msg, i, span) {
		endSpan(span, errNotSent)
		return false
	}
	if err = w.sameConnection(reconnects); err == nil {
		_, err = p.async.PublishMsgAsync(msg, p.opts...)
	}
	if err != nil {
		w.failSending(i, msg, err)
	}
	return err == nil
}

// errNotSent ends the span of a message before which its Write was over.
var errNotSent = errors.New("natsbus: not sent")

// message encodes a record. The message is valid until the next one is made: PublishMsgAsync copies it.
// The span is nil unless the record is followed.
func (w *write) message(r *marketprism.Record) (msg *nats.Msg, span trace.Span, err error) {
	if w.buf, err = AppendRecord(w.buf[:0], r); err != nil {
		return nil, nil, err
	}
	id := messageID(r)
	if strings.ContainsAny(id, "\r\n") { // the client would make blanks of them, and of two ids one
		return nil, nil, &CodecError{Op: opEncode, Key: jetstream.MsgIDHeader, Err: ErrValue}
	}
	msg = &nats.Msg{Subject: w.p.subject(r), Header: nats.Header{jetstream.MsgIDHeader: {id}}, Data: w.buf}
	return msg, w.p.trace.publish(w.ctx, r, msg, id), nil
}

// messageID returns the id by which a stream stores a record once. A Snapshot and a Gap begin and end what
// a reader knows of a book: a quiet book whose connection is lost twice rightly ends twice after one
// update, and begins twice with one snapshot, so their ids also say when the collector had them.
func messageID(r *marketprism.Record) string {
	var buf [128]byte
	id := r.AppendKey(buf[:0])
	if r.Snapshot != nil || r.Gap != nil {
		id = append(id, '@')
		id = r.ReceivedAt.UTC().AppendFormat(id, time.RFC3339Nano)
	}
	return string(id)
}

// sameConnection returns an error unless the connection is the one that the pass began with. What was
// in flight when a connection broke is stored or not: nobody knows yet. Sending on over the next one
// would put a record before those.
func (w *write) sameConnection(reconnects uint64) error {
	conn := w.p.conn
	switch {
	case conn.IsClosed():
		return nats.ErrConnectionClosed
	case !conn.IsConnected(), conn.Stats().Reconnects != reconnects:
		return nats.ErrDisconnected
	}
	return nil
}

// takeOff waits for room and counts the message in; false if the pass is over before there is any.
func (w *write) takeOff(msg *nats.Msg, i int, span trace.Span) bool {
	p := w.p
	size := msg.Size()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.room(size) && !w.over() {
		p.changed.Wait()
	}
	if w.over() {
		return false
	}
	to := p.of(&w.recs[i])
	p.flights[msg] = flight{write: w, index: i, size: size, span: span, sent: p.clock(), to: to}
	p.pending++
	p.bytes += size
	to.Sent++
	to.SentBytes += uint64(size)
	to.Pending++
	to.PendingBytes += size
	w.pending++
	return true
}

// failSending notes that a record could not be sent. msg is nil if it was not counted in.
func (w *write) failSending(i int, msg *nats.Msg, err error) {
	endSpan(w.unsent(i, msg, err), err)
}

// unsent returns the span of the message.
func (w *write) unsent(i int, msg *nats.Msg, err error) (span trace.Span) {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	to := p.of(&w.recs[i])
	if msg != nil {
		f, _ := p.land(msg)
		span = f.span
		to.Sent--
		to.SentBytes -= uint64(f.size)
	}
	to.Failures.count(err)
	w.fail(i, err)
	return span
}

// fail notes a failure of the current pass. p.mu is held.
func (w *write) fail(index int, err error) {
	if !w.failed || index < w.failure.index {
		w.failure = failure{index, err}
	}
	w.failed = true
	w.p.changed.Broadcast()
}

// over tells whether nothing more is to be sent in this pass. p.mu is held.
func (w *write) over() bool { return w.failed || w.ctx.Err() != nil || w.p.closed }

// settle waits until all that was sent is answered, and tells whether the pass may go on.
func (w *write) settle() bool {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for w.pending > 0 && w.ctx.Err() == nil {
		p.changed.Wait()
	}
	return !w.over()
}

func (w *write) unconfirmed() int {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	return w.left
}

// cause returns the first record that is not confirmed and why, as far as it is known.
func (w *write) cause() failure {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	switch {
	case w.failed:
		return w.failure
	case w.p.closed:
		return failure{w.firstUnconfirmed(), nats.ErrConnectionClosed}
	}
	return failure{w.firstUnconfirmed(), errUnanswered}
}

func (w *write) firstUnconfirmed() int { return max(slices.Index(w.sequences, 0), 0) }

// A lane is the records of an instrument that are in one stream, and so have an order.
type lane struct {
	marketprism.Instrument
	trades bool
}

// overtaken counts the records that stand in their stream behind a later one of their instrument,
// and returns the first of them. Without a repetition there are none: a server stores what one
// connection sends in order.
func (w *write) overtaken() (n, first int) {
	if !w.repeated {
		return 0, 0
	}
	lowest := make(map[lane]uint64) // sequence of the later records
	for i := len(w.recs) - 1; i >= 0; i-- {
		l := lane{w.recs[i].Instrument, w.recs[i].Trade != nil}
		if later, ok := lowest[l]; ok && later < w.sequences[i] {
			n, first = n+1, i
			continue
		}
		lowest[l] = w.sequences[i]
	}
	return n, first
}
