package natsbus

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/failure"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
	"github.com/marketprism/marketprism/natsbus/signature"
	"github.com/marketprism/marketprism/sink"
)

// Write publishes recs and returns nil when a stream has confirmed every one of them. Records of one instrument are
// stored in the order of recs: after a failure nothing more is sent until every message in flight has been answered,
// and then everything from the first failure on is sent again, in order. The stream drops those of them that it has
// stored all the same.
//
// While the stream is full or the server away, Write waits, until ctx ends or MaxAttempts is reached. The error is a
// *PublishError. Some of recs may have been stored then; writing all of them again is safe within the dedupe window of
// the stream.
func (p *Publisher) Write(ctx context.Context, recs []marketprism.Record) error {
	return p.WriteEncoded(ctx, recs, nil)
}

// WriteEncoded is Write for records that AppendRecord has encoded: bodies has what it made of each, or nil for a record
// that is not encoded yet; bodies is nil if none is. The levels of the others do not matter, see Decoder.SkipLevels.
func (p *Publisher) WriteEncoded(ctx context.Context, recs []marketprism.Record, bodies [][]byte) error {
	if len(recs) == 0 {
		return nil
	}
	w := &write{p: p, ctx: ctx, recs: recs, bodies: bodies, started: time.Now(), sequences: make([]uint64, len(recs)), left: len(recs)}
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer stop()
	retry := backoff.Backoff{Min: p.cfg.RetryMin, Max: p.cfg.RetryMax}
	for attempt := 1; ; attempt++ {
		if w.attempt() {
			retry.Reset()
		}
		if w.unconfirmed() == 0 {
			p.published(w)
			return nil
		}
		failed := p.explain(w)
		if ctx.Err() != nil || isPermanentPublish(failed.err) || attempt == p.cfg.MaxAttempts {
			return p.giveUp(w, failed, attempt)
		}
		wait := retry.Next()
		p.retrying(&recs[failed.index], failed.err, attempt, wait)
		if backoff.Sleep(ctx, wait) != nil {
			return p.giveUp(w, failed, attempt)
		}
	}
}

// explain returns the failure of an attempt with its error classified.
func (p *Publisher) explain(w *write) writeFailure {
	f := w.firstFailure()
	subject := p.subject(&w.recs[f.index])
	var codec *CodecError
	switch {
	case errors.As(f.err, &codec):
	case errors.Is(f.err, jetstream.ErrAsyncPublishTimeout) && denied(p.conn.LastError(), subject):
		f.err = fmt.Errorf("%w: %w: %w", ErrDenied, p.conn.LastError(), f.err)
	default:
		f.err = failure.Explain(w.ctx, p.JS, subject, f.err)
	}
	return f
}

// denied reports whether the last error of the connection forbids publishing on subject, which the server quotes.
func denied(last error, subject string) bool {
	return errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), strconv.Quote(subject))
}

func (p *Publisher) retrying(r *marketprism.Record, err error, attempt int, wait time.Duration) {
	p.mu.Lock()
	p.countsOf(r).Retries++
	p.mu.Unlock()
	hook.Call(p.cfg.Hooks.Retrying, RetryInfo{Subject: p.subject(r), Key: r.Key(), Attempt: attempt, Wait: wait, Err: err})
}

func (p *Publisher) giveUp(w *write, f writeFailure, attempts int) error {
	p.mu.Lock()
	p.stats.Failed++
	p.mu.Unlock()
	r := &w.recs[f.index]
	failed := &PublishError{Subject: p.subject(r), Key: r.Key(), Attempts: attempts, Err: f.err, Ended: context.Cause(w.ctx)}
	if failed.Permanent() {
		failed.Refused = w.refusals()
	}
	return failed
}

// refusals returns all records of a Write that can never be published: those that failed, and those behind them that
// were not sent. A stream may allow less than the server: then records beyond its limit are refused when they are sent.
func (w *write) refusals() []sink.Refusal {
	w.p.mu.Lock()
	refused := slices.Clone(w.refused)
	open := slices.Clone(w.sequences)
	w.p.mu.Unlock()
	for _, f := range refused {
		open[f.Index] = 1
	}
	limit := w.p.conn.MaxPayload()
	for i, sequence := range open {
		if sequence != 0 {
			continue
		}
		id, body, err := w.encode(i)
		if err == nil {
			// The client's own measure: header and body.
			if size := int64(len("NATS/1.0\r\n: \r\n\r\n") + len(jetstream.MsgIDHeader) + len(id) + len(body)); size > limit {
				err = fmt.Errorf("%w: %w: it has %d bytes, %d are allowed", ErrTooLarge, nats.ErrMaxPayload, size, limit)
			}
		}
		if err != nil {
			refused = append(refused, sink.Refusal{Index: i, Err: err})
		}
	}
	slices.SortFunc(refused, func(a, b sink.Refusal) int { return cmp.Compare(a.Index, b.Index) })
	return refused
}

// published reports a Write that succeeded.
func (p *Publisher) published(w *write) {
	if n, first := w.outOfOrder(); n > 0 {
		p.mu.Lock()
		p.stats.OutOfOrder += uint64(n)
		p.mu.Unlock()
		r := &w.recs[first]
		hook.Call(p.cfg.Hooks.OutOfOrder, OutOfOrderInfo{Subject: p.subject(r), Key: r.Key(), Sequence: w.sequences[first], Records: n})
	}
	if i := w.duplicate; w.duplicates > 0 && p.compareDue() {
		if _, body, err := w.encode(i); err == nil {
			p.compareDuplicate(&w.recs[i], w.sequences[i], body)
		}
	}
	hook.Call(p.cfg.Hooks.Published, PublishInfo{Records: len(w.recs), Duplicates: w.duplicates, Elapsed: time.Since(w.started)})
}

// attempt sends, in order, every record that is not confirmed yet, up to the first failure, and returns when all that
// was sent is answered or ctx has ended. It reports whether any record was confirmed.
//
// After a failed attempt the next one begins with a single message, and the others follow when it is confirmed: a
// server that has just become full, or is just making room, would otherwise refuse an earlier record and take a later
// one.
func (w *write) attempt() (progress bool) {
	left, probe := w.begin()
	reconnects := w.p.conn.Stats().Reconnects
	for i := range w.recs {
		if w.sequences[i] != 0 {
			continue
		}
		if !w.send(i, reconnects) || probe && !w.waitForAnswers() {
			break
		}
		probe = false
	}
	w.waitForAnswers()
	return w.unconfirmed() < left
}

// begin starts an attempt. It returns how many records are not confirmed and whether the last attempt failed.
func (w *write) begin() (left int, failed bool) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	failed, w.failed, w.refused = w.failed, false, nil
	w.repeated = w.repeated || failed
	return w.left, failed
}

// send encodes one record and sends it as soon as there is room; false if the attempt has ended.
func (w *write) send(i int, reconnects uint64) bool {
	p := w.p
	msg, span, err := w.message(i)
	if err == nil {
		err = p.listen()
	}
	if err != nil {
		tracing.End(span, err)
		w.notSent(i, 0, err)
		return false
	}
	number, ok := w.waitForRoom(msg, i, span)
	if !ok {
		tracing.End(span, errNotSent)
		return false
	}
	if err = w.sameConnection(reconnects); err == nil {
		err = p.conn.PublishMsg(msg)
	}
	if err != nil {
		tracing.End(w.notSent(i, number, err), err)
	}
	return err == nil
}

// errNotSent ends the span of a message whose attempt has ended before it was sent.
var errNotSent = errors.New("natsbus: not sent")

// message encodes a record, unless it is encoded. The message is valid until the next one is made. The span is nil unless
// the record is traced.
func (w *write) message(i int) (msg *nats.Msg, span trace.Span, err error) {
	r := &w.recs[i]
	id, body, err := w.encode(i)
	if err != nil {
		return nil, nil, err
	}
	w.id[0] = id
	if w.header == nil {
		w.header = nats.Header{jetstream.MsgIDHeader: w.id[:]}
	}
	w.msg = nats.Msg{Subject: w.p.subject(r), Header: w.header, Data: body}
	if w.p.cfg.Signer != nil {
		w.sum[0] = w.p.cfg.Signer.Sign(w.msg.Subject, id, body)
		w.header[signature.Header] = w.sum[:]
	}
	if span = w.p.trace.StartPublish(w.ctx, r, &w.msg, id); span != nil {
		w.header = nil // it names the trace
	}
	return &w.msg, span, nil
}

// isHeaderValue reports whether a header can have that value. The client replaces line breaks by blanks, and the server
// drops blanks and tabs at the beginning, so that two ids would become equal, and one of the records be taken for a copy.
func isHeaderValue(s string) bool {
	return !strings.ContainsAny(s, "\r\n") && !strings.HasPrefix(s, " ") && !strings.HasPrefix(s, "\t")
}

// unfitKey returns the key of the part of an instrument that makes an id no header value.
func unfitKey(i marketprism.Instrument) string {
	switch {
	case !isHeaderValue(i.Exchange):
		return keyExchange
	case !isHeaderValue(string(i.Market)):
		return keyMarket
	}
	return keySymbol
}

// encode returns the message id and the body of a record, which it encodes into w.body unless that is done.
func (w *write) encode(i int) (id string, body []byte, err error) {
	r := &w.recs[i]
	if w.bodies != nil {
		body = w.bodies[i]
	}
	if body == nil {
		if w.body, err = AppendRecord(w.body[:0], r); err != nil {
			return "", nil, err
		}
		body = w.body
	}
	if id = messageID(r, body); !isHeaderValue(id) {
		return "", nil, encodeError(unfitKey(r.Instrument), errHeader)
	}
	if names := len(w.p.cfg.Prefix) + len(r.Instrument.Exchange) + len(r.Instrument.Market) + len(r.Instrument.Symbol); names > maxSubject/4 {
		if n := len(w.p.subject(r)); n > maxSubject {
			return "", nil, fmt.Errorf("%w: its subject has %d bytes, %d are allowed", ErrTooLarge, n, maxSubject)
		}
	}
	return id, body, nil
}

// maxSubject bounds a subject in bytes. A server ends the connection, with all that is in flight, over a control line, which
// has the subject, of more than max_control_line: 4096 by default (nats-server, MAX_CONTROL_LINE_SIZE in const.go). The
// subject of a dead letter has the names of stream and durable before it.
const maxSubject = 1024

// messageID returns the id by which a stream stores a record once: its Key, and after a @ in what two records of one
// Key differ. For a Snapshot or Gap that is ReceivedAt: a quiet book whose connection is lost twice rightly ends twice
// after one update, and begins twice with one snapshot. For others it is a checksum of the content, which all collectors see
// alike: where a market is wiped, ids come a second time and are no copies (Binance's testnet, about once a month).
func messageID(r *marketprism.Record, body []byte) string {
	var buf [128]byte
	id := append(r.AppendKey(buf[:0]), '@')
	if r.Snapshot != nil || r.Gap != nil {
		return string(r.ReceivedAt.UTC().AppendFormat(id, time.RFC3339Nano))
	}
	return string(strconv.AppendUint(id, contentSum(r, body), 36))
}

// contentSum returns a checksum of what all collectors see of a record that is no Snapshot or Gap, which body is the encoded
// form of. Of an update that is the levels, which r need not have; one without levels has its time, since a copy of it
// does no harm. The digits of a trade's time below the millisecond do not count: REST does not send them.
func contentSum(r *marketprism.Record, body []byte) uint64 {
	switch {
	case r.Update != nil:
		levels := body[max(0, bytes.Index(body, []byte(`"`+keyBids+`":`))):] // the last members
		if !bytes.Equal(levels, []byte(`"`+keyBids+`":[],"`+keyAsks+`":[]}`)) {
			return uint64(crc32.Checksum(levels, crc32.MakeTable(crc32.Castagnoli)))
		}
		return uint64(r.Update.EventTime.UnixMilli())
	case r.Trade != nil:
		return mix(mix(uint64(r.Trade.Price), uint64(r.Trade.Quantity)), uint64(r.Trade.TradeTime.UnixMilli()))
	case r.Ticker != nil:
		return mix(mix(uint64(r.Ticker.Bid.Price), uint64(r.Ticker.Bid.Quantity)), mix(uint64(r.Ticker.Ask.Price), uint64(r.Ticker.Ask.Quantity)))
	}
	return 0
}

// mix returns a number in which every bit of two others counts: the steps of splitmix64 (Steele, Lea, Flood 2014).
func mix(a, b uint64) uint64 {
	a = a*0x9e3779b97f4a7c15 + b
	a = (a ^ a>>30) * 0xbf58476d1ce4e5b9
	a = (a ^ a>>27) * 0x94d049bb133111eb
	return a ^ a>>31
}

// sameConnection returns an error unless the connection is the one that the attempt began with. The messages that were
// in flight when a connection broke may be stored or not. Sending on over the next connection would put a record before
// those.
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

// waitForRoom blocks until there is room, and counts the message as in flight; false if the attempt ends before. It sets
// the subject of the answer, and returns the message's number.
func (w *write) waitForRoom(msg *nats.Msg, i int, span trace.Span) (number uint64, ok bool) {
	p := w.p
	m := sentMessage{write: w, index: i, size: msg.Size(), span: span}
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.hasRoom(m.size) && !w.ended() {
		p.changed.Wait()
	}
	if w.ended() {
		return 0, false
	}
	m.to, m.at = p.countsOf(&w.recs[i]), time.Now()
	number = p.add(m)
	msg.Reply = p.answers.reply(number)
	return number, true
}

// notSent records that a record could not be sent, and returns the span of its message. number is 0 if the message was
// not counted as in flight.
func (w *write) notSent(i int, number uint64, err error) (span trace.Span) {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	to := p.countsOf(&w.recs[i])
	if m, ok := p.completed(number); ok {
		span = m.span
		to.Sent--
		to.SentBytes -= uint64(m.size)
	}
	to.Failures.count(err)
	w.fail(i, err)
	return span
}

// ended reports whether nothing more may be sent in this attempt. p.mu is held.
func (w *write) ended() bool { return w.failed || w.ctx.Err() != nil || w.p.closed }

// waitForAnswers blocks until all that was sent is answered, and reports whether the attempt may go on.
func (w *write) waitForAnswers() bool {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for w.inFlight > 0 && w.ctx.Err() == nil {
		p.changed.Wait()
	}
	return !w.ended()
}

func (w *write) unconfirmed() int {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	return w.left
}

// firstFailure returns the first record that is not confirmed, and why.
func (w *write) firstFailure() writeFailure {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if w.failed {
		return w.failure
	}
	first := max(slices.Index(w.sequences, 0), 0)
	if w.p.closed {
		return writeFailure{first, nats.ErrConnectionClosed}
	}
	return writeFailure{first, errUnanswered}
}

// outOfOrder counts the records that were stored behind a later one of their instrument, and returns the first of them.
// Without a repetition there are none: a server stores the messages of one connection in order.
func (w *write) outOfOrder() (n, first int) {
	if !w.repeated {
		return 0, 0
	}
	type order struct { // the records of an instrument that are in one stream
		marketprism.Instrument
		trades bool
	}
	lowest := make(map[order]uint64) // sequence of the later records
	for i := len(w.recs) - 1; i >= 0; i-- {
		o := order{w.recs[i].Instrument, w.recs[i].Trade != nil}
		if later, ok := lowest[o]; ok && later < w.sequences[i] {
			n, first = n+1, i
			continue
		}
		lowest[o] = w.sequences[i]
	}
	return n, first
}
