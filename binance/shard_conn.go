package binance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

const (
	rotatePatience = time.Minute            // from a replacement's last acknowledgement until it carries every stream
	rotateCheck    = 200 * time.Millisecond // between two looks whether it does
	ackCheck       = 200 * time.Millisecond // between two looks at the frames that may hold an overdue answer

	// unusedTime is how long connections without a stream stay open for symbols that are added soon, so that
	// symbols that come and go cost no connection each time.
	unusedTime = 30 * time.Second

	maxBatch = 64 // frames of one connection in a row
)

// dialDue dials every slot whose retry or rotation time has come, unless there is nothing to subscribe.
func (s *shard) dialDue(ctx context.Context, now time.Time) {
	if len(s.streams.ordered) == 0 {
		return
	}
	for _, slot := range s.conns.slots {
		switch due := slot.due(); {
		case due.IsZero():
		case now.Before(due):
			s.alarm.set(now, due)
		default:
			c, attempt := s.conns.add(slot,
				newFrameQueue(s.cfg.QueueFrames, s.cfg.QueueBytes, s.ready), newOutbox(s.cfg.StreamsPerConn, s.cfg.AckTimeout))
			ctx, cancel := context.WithCancel(ctx)
			c.cancel = cancel
			s.conns.running.Go(func() {
				defer cancel()
				s.connect(ctx, c, attempt)
			})
		}
	}
}

// connect opens a connection and reads it to its end, or until ctx ends. It is the goroutine of the
// connection.
func (s *shard) connect(ctx context.Context, c *conn, attempt int) {
	start := time.Now()
	stream, err := s.client.dialRoute(ctx, s.route)
	opened := time.Now()
	if err == nil {
		s.count.connects.Add(1)
	}
	hook.Call(s.client.hooks.ConnectDone, ConnectInfo{
		Conn: c.slot.number, Host: s.host(), Attempt: attempt, Elapsed: opened.Sub(start), Err: err,
	})
	if err != nil {
		s.tasks.post(func(_ context.Context, now time.Time) error { s.notConnected(now, c, err); return nil })
		return
	}
	stop := context.AfterFunc(ctx, func() { stream.closeWith(ctx.Err()) })
	defer stop()
	s.tasks.post(func(_ context.Context, now time.Time) error { s.connOpened(ctx, now, c, stream, opened); return nil })
	r := connReader{stream: stream, queue: c.queue, streamOf: s.streams.ofDroppedFrame, streams: s.streams.size, count: &s.count}
	r.run(ctx)
	stream.closeWith(ErrClosed)
}

func (s *shard) host() string { return s.client.endpoints.Stream + string(s.route) }

// connOpened subscribes the streams on a new connection.
func (s *shard) connOpened(ctx context.Context, now time.Time, c *conn, stream *Stream, at time.Time) {
	c.stream, c.opened, c.heardAt = stream, at, now
	s.conns.queues[c.index].Store(c.queue)
	wake(s.ready)
	if c == c.slot.current {
		c.slot.schedule(at)
		s.alarm.set(now, c.slot.rotateAt)
	}
	c.outbox.subscribe(s.streams.accepted())
	for _, sub := range s.streams.ordered {
		s.retryRefused(now, sub, c)
		if sub.depth && sub.book.Wait().For == marketprism.WaitConnection {
			sub.book.SetWait(marketprism.Wait{For: marketprism.WaitSubscription})
		}
	}
	s.alarm.set(now, c.outbox.due(now))
	s.alarm.set(now, s.unusedAt)
	s.conns.running.Go(func() { c.outbox.run(ctx, stream) })
}

// checkAcks ends the connections whose subscriptions are not acknowledged in time. The answer may be among
// the frames that wait for the shard.
func (s *shard) checkAcks(ctx context.Context, now time.Time) error {
	for c := range s.conns.all {
		due := c.outbox.due(now)
		since := s.watchdog.readSince(now, c)
		switch {
		case due.IsZero():
		case now.Before(since.Add(c.outbox.timeout)):
			s.alarm.set(now, since.Add(c.outbox.timeout)) // the answer could not be read before
		case now.Before(due):
			s.alarm.set(now, due)
		case !c.handledUntil(due):
			s.alarm.set(now, now.Add(ackCheck))
		default:
			if err := s.connLost(ctx, now, c, c.outbox.overdue()); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeUnused closes the connections once they have had no stream for a while. The next symbol opens them
// again.
func (s *shard) closeUnused(ctx context.Context, now time.Time) error {
	if s.unusedAt.IsZero() {
		return nil
	}
	if now.Before(s.unusedAt) {
		s.alarm.set(now, s.unusedAt)
		return nil
	}
	for c := range s.conns.all {
		if err := s.connLost(ctx, now, c, errUnused); err != nil {
			return err
		}
	}
	return nil
}

// errUnused is why a connection without a stream was closed.
var errUnused = fmt.Errorf("%w: no symbol is left on it", ErrClosed)

// connLost ends an open connection, or handles its end. Books that another connection carries go on.
func (s *shard) connLost(ctx context.Context, now time.Time, c *conn, cause error) error {
	s.removeConn(now, c)
	c.cancel() // its goroutine closes the Stream
	lost := 0
	if !s.conns.connected() {
		lost = len(s.streams.books)
	}
	var err error
	for _, sub := range s.streams.ordered {
		carried := sub.arbiter.legs[c.index].acked
		sub.locate()
		sub.arbiter.removeLeg(c.index)
		if carried && err == nil {
			err = s.streamLost(ctx, now, sub, orderbook.Gap{Reason: orderbook.GapDisconnect, Err: cause})
		}
	}
	s.unconnected(marketprism.Wait{For: marketprism.WaitConnection, Err: cause, Next: c.slot.due()})
	s.disconnected(c, lost, cause)
	return err
}

// notConnected handles a connection that could not be opened.
func (s *shard) notConnected(now time.Time, c *conn, cause error) {
	s.removeConn(now, c)
	s.unconnected(marketprism.Wait{For: marketprism.WaitConnection, Err: cause, Attempt: c.slot.attempt, Next: c.slot.due()})
}

// unconnected notes what the books wait for if no connection is open.
func (s *shard) unconnected(wait marketprism.Wait) {
	if s.conns.connected() {
		return
	}
	for _, sub := range s.streams.ordered {
		if sub.depth {
			sub.book.SetWait(wait)
		}
	}
}

// removeConn takes a connection that has ended, or could not be opened, out of its slot.
func (s *shard) removeConn(now time.Time, c *conn) {
	s.conns.remove(c, now, s.cfg.ReconnectMax)
	s.alarm.set(now, c.slot.due())
}

func (s *shard) disconnected(c *conn, symbols int, cause error) {
	if !s.unusedAt.IsZero() && !errors.Is(cause, errUnused) {
		cause = fmt.Errorf("%w: %w", errUnused, cause) // it is not opened again
	}
	s.count.disconnects.Add(1)
	hook.Call(s.client.hooks.Disconnected, DisconnectInfo{
		Conn: c.slot.number, Host: s.host(), Symbols: symbols, Uptime: time.Since(c.opened), Err: cause,
	})
}

// rotate closes the old connections whose replacements carry every stream, and gives up replacements
// that take too long to.
func (s *shard) rotate(ctx context.Context, now time.Time) (err error) {
	for _, slot := range s.conns.slots {
		next := slot.next
		if !next.isOpen() || !next.outbox.settled() {
			continue
		}
		switch missing := s.missingOn(next, slot.current, now); {
		case missing == "":
			err = s.replace(ctx, now, slot)
		case now.Sub(next.opened) > rotatePatience && now.Sub(next.outbox.lastProgress()) > rotatePatience:
			err = s.connLost(ctx, now, next, fmt.Errorf("%w: no event of %s", ErrRotation, missing))
		default:
			s.alarm.set(now, now.Add(rotateCheck))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// missingOn returns a stream that the replacement does not carry yet; "" if there is none.
func (s *shard) missingOn(next, current *conn, now time.Time) string {
	settled := now.Sub(later(s.watchdog.readSince(now, next), s.watchdog.readSince(now, current))) >= settleTime
	for _, sub := range s.streams.ordered {
		if sub.refusal.count > 0 && !sub.arbiter.legs[current.index].acked {
			continue
		}
		silent := !sub.arbiter.legs[next.index].heard // events of before may not be read yet
		if silent && !settled || !sub.arbiter.canReplace(current.index, next.index, now) {
			return sub.name
		}
	}
	return ""
}

func (s *shard) replace(ctx context.Context, now time.Time, slot *connSlot) error {
	reason := slot.reason
	old := slot.replace()
	s.count.rotations.Add(1)
	err := s.connLost(ctx, now, old, ErrReplaced)
	hook.Call(s.client.hooks.Rotated, RotateInfo{
		Conn: slot.number, Reason: reason, Streams: len(s.streams.byName), Age: now.Sub(old.opened), Overlap: now.Sub(slot.current.opened),
	})
	return err
}

// rotateSlot asks for a replacement of the connection in a slot.
func (s *shard) rotateSlot(now time.Time, slot *connSlot, reason RotateReason) {
	slot.rotate(reason, now)
	s.alarm.set(now, now)
}

// drain handles a batch of the queued frames of a connection. The end of the connection comes after its
// last frame.
func (s *shard) drain(ctx context.Context, now time.Time, c *conn) error {
	for range maxBatch {
		ok, ended := c.queue.pop(&s.frame)
		switch {
		case !ok && ended != nil:
			return s.connLost(ctx, now, c, ended)
		case !ok:
			return nil
		}
		if s.frame.drops != nil {
			if err := s.framesDropped(ctx, now, c, s.frame.drops); err != nil {
				return err
			}
		}
		if s.frame.data != nil {
			if err := s.step(ctx, now, c, s.frame.data, s.frame.at.UTC()); err != nil {
				return err
			}
		}
		if s.conns.conns[c.index] != c {
			return nil
		}
	}
	wake(s.ready)
	return nil
}

// framesDropped handles the drops of a full queue.
func (s *shard) framesDropped(ctx context.Context, now time.Time, c *conn, lost drops) error {
	for sub, d := range lost {
		info, subs := DropInfo{Conn: c.slot.number, Frames: d.frames}, s.streams.ordered
		if sub != nil {
			info.Stream, subs = sub.name, []*subscription{sub}
		}
		hook.Call(s.client.hooks.Dropped, info)
		for _, sub := range subs {
			if s.streams.byName[sub.name] != sub {
				continue // it was removed meanwhile
			}
			if err := s.streamDropped(ctx, now, c, sub, d.more); err != nil {
				return err
			}
		}
	}
	return nil
}

// streamDropped handles frames of a stream that a connection has dropped. While more are, the connection does
// not carry the stream, so that no snapshot is requested that its events could not follow.
func (s *shard) streamDropped(ctx context.Context, now time.Time, c *conn, sub *subscription, more bool) error {
	gap := orderbook.Gap{Reason: orderbook.GapOverflow}
	acked := sub.arbiter.legs[c.index].acked
	switch {
	case !more && !acked:
		return s.streamCarried(ctx, now, c, sub)
	case !more || !sub.depth:
		return s.dataLost(ctx, now, c, sub, gap)
	case !acked:
		return nil
	}
	sub.locate()
	sub.arbiter.removeLeg(c.index)
	if sub.arbiter.carried() {
		return s.streamLost(ctx, now, sub, gap)
	}
	return s.bookOffline(ctx, now, sub, gap)
}

// dataLost says that a connection has lost events of a stream.
func (s *shard) dataLost(ctx context.Context, now time.Time, c *conn, sub *subscription, gap orderbook.Gap) error {
	sub.locate()
	sub.arbiter.legLost(c.index, now)
	return s.streamLost(ctx, now, sub, gap)
}

// step handles one frame of a connection, received at that time. It allocates nothing for a depth event
// of a synced book. An error ends the shard; one that ends the connection alone is handled here.
func (s *shard) step(ctx context.Context, now time.Time, c *conn, data []byte, at time.Time) error {
	msg := &s.message
	if err := s.decoder.Decode(data, msg); err != nil {
		return s.undecoded(ctx, now, c, data, err)
	}
	switch msg.Type {
	case MessageDepth, MessageTrade, MessageTicker:
		if msg.timeless() && s.streams.byName[msg.Stream] != nil { // one that is not subscribed counts as unknown
			return s.undecoded(ctx, now, c, data, newDecodeError(msg.Stream, data, 0, marketprism.ErrNoTime))
		}
		return s.event(ctx, now, c, msg, at)
	case MessageAck:
		return s.acknowledged(ctx, now, c, msg.RequestID)
	case MessageError:
		return s.refused(ctx, now, c, msg.RequestID, msg.Err)
	case MessageShutdown:
		// web-socket-streams.md gives no time between the announcement and the end.
		if c != c.slot.current {
			return s.connLost(ctx, now, c, ErrShutdown)
		}
		s.rotateSlot(now, c.slot, RotateShutdown)
		return nil
	}
	s.count.unknown.Add(1)
	return nil
}

// acknowledged handles the acknowledgement of a request.
func (s *shard) acknowledged(ctx context.Context, now time.Time, c *conn, id RequestID) error {
	if err := s.carried(ctx, now, c, c.outbox.answered(id, now)); err != nil {
		return err
	}
	s.checkSubscribed(now, c)
	return nil
}

// checkSubscribed reports a connection on which no subscription waits for an answer any more.
func (s *shard) checkSubscribed(now time.Time, c *conn) {
	if !c.outbox.settled() || c.subscribed {
		return
	}
	c.subscribed = true
	hook.Call(s.client.hooks.Subscribed, SubscribeInfo{Conn: c.slot.number, Streams: len(s.streams.accepted()), Elapsed: now.Sub(c.opened)})
	s.alarm.set(now, now) // it may be a replacement
}

// carried starts the books of streams that a connection carries from now on: every change of theirs
// arrives, so a snapshot that is requested now can be joined to them.
func (s *shard) carried(ctx context.Context, now time.Time, c *conn, names []string) error {
	for _, name := range names {
		sub := s.streams.byName[name]
		if sub == nil {
			continue // it was removed meanwhile
		}
		if err := s.streamCarried(ctx, now, c, sub); err != nil {
			return err
		}
	}
	return nil
}

// streamCarried says that a connection carries a stream from now on.
func (s *shard) streamCarried(ctx context.Context, now time.Time, c *conn, sub *subscription) error {
	sub.arbiter.addLeg(c.index, now)
	sub.refusal = refusalState{}
	if !sub.depth || sub.book.syncer.State() != orderbook.Offline {
		return nil
	}
	sub.arbiter.restart()
	out := sub.book.change(now.UTC(), func(sy *orderbook.Syncer) orderbook.Output { return sy.Connected(now) })
	return s.applyOutput(ctx, now, moment{at: now.UTC()}, sub.book, out)
}

// undecoded reports a frame that could not be decoded. If it is one of a depth stream, the connection
// has lost an event.
func (s *shard) undecoded(ctx context.Context, now time.Time, c *conn, data []byte, err error) error {
	s.count.undecoded.Add(1)
	hook.Call(s.client.hooks.DecodeFailed, DecodeInfo{Conn: c.slot.number, Err: err})
	sub := s.streams.ofFrame(data)
	var de *DecodeError
	if sub == nil && errors.As(err, &de) {
		sub = s.streams.byName[de.Stream]
	}
	if sub == nil || !sub.depth {
		return nil
	}
	return s.dataLost(ctx, now, c, sub, orderbook.Gap{Reason: orderbook.GapInvalid, Err: err})
}
