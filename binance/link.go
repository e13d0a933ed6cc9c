package binance

import (
	"context"
	"slices"
	"time"

	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A conn is one websocket connection of a feed, from the attempt to open it to its end.
type conn struct {
	seat   *connSlot
	slot   int // in feed.links, and in the lanes of every stream
	cancel context.CancelFunc
	queue  *frameQueue

	outbox *outbox

	// Set by the owner when it is open, and the owner's from then on.
	stream     *Stream
	opened     time.Time
	heardAt    time.Time // local clock, of the last event
	acks       acks
	subscribed bool // all streams were acknowledged
}

// dial begins to open a connection for the seat.
func (f *shard) dial(ctx context.Context, s *connSlot, attempt int) *conn {
	cfg := &f.syncer.cfg
	l := &conn{seat: s, slot: slices.Index(f.links[:], nil), outbox: newOutbox(), queue: newFrameQueue(cfg.QueueFrames, cfg.QueueBytes, f.ready)}
	f.links[l.slot] = l
	ctx, l.cancel = context.WithCancel(ctx)
	f.running.Go(func() {
		defer l.cancel()
		f.connect(ctx, l, attempt)
	})
	return l
}

// connect opens a connection and reads it to its end, or to that of ctx. It is the goroutine of the
// connection.
func (f *shard) connect(ctx context.Context, l *conn, attempt int) {
	client := f.syncer.client
	start := time.Now()
	stream, err := client.dialRoute(ctx, f.route)
	opened := time.Now()
	if err == nil {
		f.count.connects.Add(1)
	}
	hook.Call(client.hooks.ConnectDone, ConnectInfo{
		Conn: l.seat.number, Host: f.host(), Attempt: attempt, Elapsed: opened.Sub(start), Err: err,
	})
	if err != nil {
		f.tasks.post(func(context.Context) error { f.vacate(l); return nil })
		return
	}
	stop := context.AfterFunc(ctx, func() { stream.closeWith(ctx.Err()) })
	defer stop()
	f.tasks.post(func(handling context.Context) error { return f.opened(ctx, handling, l, stream, opened) })
	f.read(stream, l.queue)
	stream.closeWith(ErrClosed)
}

func (f *shard) host() string { return f.syncer.client.endpoints.Stream + string(f.route) }

// opened subscribes the streams on a new connection.
func (f *shard) opened(ctx, handling context.Context, l *conn, stream *Stream, at time.Time) error {
	l.stream, l.opened, l.heardAt = stream, at, f.now
	f.queues[l.slot].Store(l.queue)
	wake(f.ready)
	if l == l.seat.current {
		l.seat.plan(at)
		f.arm(l.seat.replaceAt)
	}
	requests, err := stream.plan("SUBSCRIBE", f.names)
	if err != nil {
		return f.drop(handling, l, err)
	}
	l.acks.expect(nil, f.now, f.syncer.cfg.AckTimeout)
	f.request(l, requests, nil)
	f.running.Go(func() { l.outbox.run(ctx, stream) })
	return nil
}

// read hands over the frames of a connection until it ends. It never waits for the owner.
func (f *shard) read(conn *Stream, queue *frameQueue) {
	var buf []byte
	for {
		data, at, err := conn.Read(buf)
		if err != nil {
			queue.close(err)
			return
		}
		f.count.frames.Add(1)
		f.count.bytes.Add(uint64(len(data)))
		var queued bool
		if buf, queued = queue.push(data, at); !queued {
			f.count.dropped.Add(1)
			f.naming.RLock()
			queue.drop(f.streamOf(data))
			f.naming.RUnlock()
		}
	}
}

// drop ends an open connection, or takes note of its end. Books that another connection carries go on.
func (f *shard) drop(ctx context.Context, l *conn, cause error) error {
	f.vacate(l)
	l.cancel() // its goroutine closes what is open
	cut := 0
	if !f.connected() {
		cut = len(f.symbols)
	}
	err := f.leave(ctx, l, cause)
	f.disconnected(l, cut, cause)
	return err
}

// connected tells whether any connection is open.
func (f *shard) connected() bool {
	return slices.ContainsFunc(f.links[:], func(l *conn) bool { return l != nil && l.stream != nil })
}

func (f *shard) disconnected(l *conn, symbols int, cause error) {
	f.count.disconnects.Add(1)
	hook.Call(f.syncer.client.hooks.Disconnected, DisconnectInfo{
		Conn: l.seat.number, Host: f.host(), Symbols: symbols, Uptime: time.Since(l.opened), Err: cause,
	})
}

// leave tells every stream that a connection no longer carries it.
func (f *shard) leave(ctx context.Context, l *conn, cause error) error {
	for _, st := range f.ordered {
		m := &st.merge
		carried := m.legs[l.slot].acked
		f.locate(st)
		m.leave(l.slot)
		if !carried {
			continue
		}
		if err := f.left(ctx, st, orderbook.Gap{Reason: orderbook.GapDisconnect, Err: cause}); err != nil {
			return err
		}
	}
	return nil
}

// left sees to a stream that one connection has ceased to carry, or has lost something of. What the
// others have brought and was held may go on now. If none of them is known to carry it without a hole,
// a book is resynced.
func (f *shard) left(ctx context.Context, st *stream, gap orderbook.Gap) error {
	switch {
	case !st.book || st.merge.sound(f.now):
		return f.release(ctx, st, false)
	case st.merge.carried():
		return f.resync(ctx, st, gap)
	}
	return f.offline(ctx, st, gap.Err)
}
