package bookfeed

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bookset"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/signature"
	"github.com/marketprism/marketprism/orderbook"
)

// A follower applies one instrument's messages to its book, on the goroutine of a worker.
type follower struct {
	feed   *Feed
	book   *feedBook
	worker *worker
	ctx    context.Context // of the handler

	source string    // of the stream, as in Record.Origin
	late   time.Time // when to decide on a snapshot that waits for updates; zero if none waits

	place place // of its reader, whose goroutine uses it while the worker does not
}

// A message is one of an instrument's messages.
type message struct {
	*nats.Msg
	sequence uint64 // in the stream
	behind   uint64 // messages that wait behind it
}

// receive applies a message to the book. Its error is one of the handler.
func (w *follower) receive(decoder *natsbus.Decoder, m message) error {
	var rec marketprism.Record
	decoder.Reset()
	err := w.verify(m)
	if err == nil {
		err = decoder.Decode(m.Subject, m.Data, &rec)
	}
	if err == nil {
		err = w.checkJump(&rec)
	}
	if err != nil {
		hook.Call(w.feed.cfg.Hooks.Undecodable, natsbus.UndecodableInfo{Stream: w.feed.cfg.Stream, Sequence: m.sequence, Subject: m.Subject, Err: err})
		rec = w.missed(orderbook.GapInvalid, err)
	}
	rec.Origin = marketprism.Origin{Source: w.source, Sequence: m.sequence}
	err = w.apply(&rec)
	w.reached(m.sequence, m.behind, w.book.live)
	return err
}

// verify returns why the Verifier refuses a message; nil if it does not, or there is none.
func (w *follower) verify(m message) error {
	v := w.feed.cfg.Verifier
	if v == nil {
		return nil
	}
	if err := v.Verify(m.Subject, m.Header.Get(jetstream.MsgIDHeader), m.Data, m.Header.Get(signature.Header)); err != nil {
		return &natsbus.CodecError{Op: "decode", Kind: "signature", Err: err}
	}
	return nil
}

// checkJump returns an error for an update id that is too far beyond that of the book.
func (w *follower) checkJump(rec *marketprism.Record) error {
	last, id := w.book.joiner.Book().LastID(), int64(0)
	switch {
	case rec.Update != nil:
		id = rec.Update.LastID
	case rec.Snapshot != nil:
		id = rec.Snapshot.LastID
	}
	if most := w.feed.cfg.MaxJump; last > 0 && most >= 0 && id-last > most {
		return &natsbus.CodecError{Op: "decode", Kind: "jump", Err: fmt.Errorf("update id %d is more than %d beyond that of the book, %d", id, most, last)}
	}
	return nil
}

// missed returns a record that says that changes of the book may be missing.
func (w *follower) missed(reason orderbook.GapReason, cause error) marketprism.Record {
	return marketprism.Record{ReceivedAt: time.Now().UTC(), Gap: &orderbook.Gap{
		After: w.book.joiner.Book().LastID(), Reason: reason, Err: cause,
	}}
}

// step changes the book by act and emits its events. rec is the record that caused them.
func (w *follower) step(rec *marketprism.Record, act func(*orderbook.Joiner) orderbook.Output) error {
	out, was, is := w.book.change(act)
	if out.Audit != nil {
		hook.Call(w.feed.cfg.Hooks.Audited, AuditInfo{w.book.instrument, *out.Audit})
	}
	var gap orderbook.Gap
	for i := range out.Events {
		if g := out.Events[i].Gap; g != nil {
			gap = *g
		}
	}
	if was == orderbook.Synced && is == orderbook.Synced && gap.Reason != 0 { // a snapshot has synced it again
		w.report(was, orderbook.Buffering, gap)
		was = orderbook.Buffering
	}
	w.report(was, is, gap)
	for i := range out.Events {
		if err := w.emit(rec, &out.Events[i]); err != nil {
			return err
		}
	}
	return nil
}

// reached records a position in the stream, and whether the bus has been read to its end.
func (w *follower) reached(sequence, behind uint64, live bool) {
	was, is := w.book.reached(sequence, behind, live)
	w.report(was, is, orderbook.Gap{})
}

// report calls the hooks of a book that has become synced, or is not synced any more because of a gap; the zero Gap is an
// outage of the bus.
func (w *follower) report(was, is orderbook.State, gap orderbook.Gap) {
	last := w.book.joiner.Book().LastID() // only this goroutine changes it
	switch {
	case was != orderbook.Synced && is == orderbook.Synced:
		hook.Call(w.feed.cfg.Hooks.Synced, SyncedInfo{w.book.instrument, last, w.book.sequence})
		w.feed.books.Changed()
	case was == orderbook.Synced && is != orderbook.Synced:
		if gap.Reason != 0 {
			last = gap.After
		}
		hook.Call(w.feed.cfg.Hooks.Lost, LostInfo{Instrument: w.book.instrument, LastID: last, Gap: gap})
	}
}

func (w *follower) emit(cause *marketprism.Record, ev *orderbook.Event) error {
	rec := marketprism.Record{
		Instrument: w.book.instrument, ReceivedAt: cause.ReceivedAt, Origin: cause.Origin,
		Update: ev.Update, Snapshot: ev.Snapshot, Gap: ev.Gap,
	}
	switch {
	case ev.Update != nil:
		rec.EventTime = ev.Update.EventTime
	case ev.Snapshot != nil:
		rec.EventTime = ev.Snapshot.EventTime
	default:
		rec.EventTime = cause.EventTime
	}
	return w.feed.books.Handle(w.ctx, w.feed.cfg.Handler, &rec)
}

// apply applies a record to the book. The Joiner gets no ReceivedAt: the order of the stream counts, not
// the clocks of several collectors.
func (w *follower) apply(rec *marketprism.Record) error {
	e := orderbook.Event{Update: rec.Update, Snapshot: rec.Snapshot, Gap: rec.Gap}
	if e == (orderbook.Event{}) {
		return nil
	}
	return w.step(rec, func(j *orderbook.Joiner) orderbook.Output { return j.Join(e) })
}

// doubt makes a synced book wait until the ids of its next update prove that nothing is missing, or for a snapshot.
func (w *follower) doubt(cause error) error {
	rec := w.missed(orderbook.GapDisconnect, cause)
	return w.apply(&rec)
}

// jump gives up a book that has not reached a snapshot on the bus in time: the collector that published
// it has begun from it, and no other one has the updates before.
func (w *follower) jump() error {
	return w.step(&marketprism.Record{ReceivedAt: time.Now().UTC()}, (*orderbook.Joiner).Jump)
}

// reset forgets the pending updates. A synced book ends with a Gap. offline says whether the book is Offline from then
// on.
func (w *follower) reset(offline bool, cause error) error {
	w.late = time.Time{}
	rec := &marketprism.Record{ReceivedAt: time.Now().UTC()}
	return w.step(rec, func(j *orderbook.Joiner) orderbook.Output {
		w.book.offline = offline
		return j.Reset(orderbook.Gap{Reason: orderbook.GapDisconnect, Err: cause})
	})
}

// A feedBook is the book of one instrument. Only its follower changes it.
type feedBook struct {
	instrument marketprism.Instrument

	bookset.Shared // its lock guards the rest as well
	joiner         *orderbook.Joiner
	offline        bool // nothing is read: Run has not begun, or has ended
	live           bool // the bus has been read to its end
	sequence       uint64
	behind         uint64
}

func newFeedBook(instrument marketprism.Instrument, cfg Config) (*feedBook, error) {
	j, err := orderbook.NewJoiner(orderbook.JoinerConfig{
		Continuity: instrument.Market.Continuity(), MaxDepth: cfg.MaxDepth,
		MaxPending: cfg.MaxPending, MaxPendingBytes: cfg.MaxPendingBytes, MaxStale: cfg.MaxStale,
	})
	if err != nil {
		return nil, err
	}
	b := &feedBook{instrument: instrument, joiner: j, offline: true}
	b.SetWait(marketprism.Wait{For: marketprism.WaitRun})
	return b, nil
}

// Key returns the instrument.
func (b *feedBook) Key() marketprism.Instrument { return b.instrument }

// Book returns the book. The caller is the follower or holds the lock.
func (b *feedBook) Book() *orderbook.Book { return b.joiner.Book() }

// State returns Synced only if the book has caught up with the bus. The caller is the follower or
// holds the lock.
func (b *feedBook) State() orderbook.State {
	switch {
	case b.offline:
		return orderbook.Offline
	case !b.live:
		return orderbook.Buffering
	}
	return b.joiner.State()
}

// Status returns the status of the book. The caller is the follower or holds the lock.
func (b *feedBook) Status() Status {
	book := b.joiner.Book()
	return Status{
		State:     b.State(),
		LastID:    book.LastID(),
		EventTime: book.EventTime(),
		UpdatedAt: b.UpdatedAt,
		LastGap:   b.LastGap,
		Sequence:  b.sequence,
		Behind:    b.behind,
		Wait:      b.waitFor(),
		Sync:      b.joiner.Stats(),
	}
}

// waitFor returns why the book is not synced. The caller is the follower or holds the lock.
func (b *feedBook) waitFor() marketprism.Wait {
	switch {
	case b.State() == orderbook.Synced:
		return marketprism.Wait{}
	case b.live && !b.offline:
		return marketprism.Wait{For: marketprism.WaitSnapshot, Err: b.LastGap.Err}
	}
	return b.Wait()
}

// change calls act with the book locked, and returns the states before and after.
func (b *feedBook) change(act func(*orderbook.Joiner) orderbook.Output) (out orderbook.Output, was, is orderbook.State) {
	if b.BeginChange() {
		b.joiner.Detach()
	}
	defer b.Unlock()
	was = b.State()
	out = act(b.joiner)
	if len(out.Events) > 0 {
		b.Note(time.Now().UTC(), out.Events)
	}
	return out, was, b.State()
}

// reached records a position in the stream, and whether the bus has been read to its end.
func (b *feedBook) reached(sequence, behind uint64, live bool) (was, is orderbook.State) {
	b.Lock()
	defer b.Unlock()
	was = b.State()
	b.sequence, b.behind, b.live = sequence, behind, live
	return was, b.State()
}
