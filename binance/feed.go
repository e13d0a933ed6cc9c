package binance

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/orderbook"
)

// A stream is one subscription of a feed.
type stream struct {
	name   string
	symbol *followed
	book   bool // it is the symbol's depth stream
}

// A feed is one connection of a DepthSyncer, and those that replace it. The goroutine of run, its
// owner, alone touches the Syncers of its books. A second goroutine reads the connection, so that
// pings are answered whatever the owner does, and hands frames over in a bounded queue. A third
// subscribes.
type feed struct {
	number int
	syncer *DepthSyncer
	route  route

	names   []string             // of the streams, in order of subscription
	streams map[string]*stream   // by name
	symbols map[string]*followed // all that have a stream here
	books   map[string]*followed // those whose depth stream is here

	inbox    []*fetch      // answers of the fetcher, which guards it
	answered chan struct{} // holds a token while the inbox may hold some
	count    counters

	// The owner's alone.
	decoder Decoder
	frame   frame
	msg     Message
	rec     marketprism.Record
	now     time.Time   // local clock of the current step
	timer   *time.Timer // fires at due
	due     time.Time   // the earliest deadline of any Syncer or of acks; zero if there is none
	acks    acks
}

func newFeed(number int, d *DepthSyncer, r route) *feed {
	f := &feed{
		number: number, syncer: d, route: r,
		streams:  make(map[string]*stream),
		symbols:  make(map[string]*followed),
		books:    make(map[string]*followed),
		answered: make(chan struct{}, 1),
	}
	return f
}

// add subscribes a stream of the symbol on this feed.
func (f *feed) add(y *followed, suffix string, book bool) {
	name := StreamName(y.instrument.Symbol, suffix)
	f.names = append(f.names, name)
	f.streams[name] = &stream{name: name, symbol: y, book: book}
	f.symbols[y.instrument.Symbol] = y
	if book {
		f.books[y.instrument.Symbol] = y
	}
}

// run keeps the feed connected until ctx ends, whose error it returns, or until the handler fails,
// whose error it returns as a *handlerError. handling is the handler's context.
func (f *feed) run(ctx, handling context.Context) error {
	f.timer = time.NewTimer(time.Hour)
	defer f.timer.Stop()
	delays := backoff.Backoff{Min: f.syncer.cfg.ReconnectMin, Max: f.syncer.cfg.ReconnectMax}
	for attempt := 1; ; attempt++ {
		lasted, err := f.session(ctx, handling, attempt)
		var failed *handlerError
		switch {
		case errors.As(err, &failed):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case lasted:
			delays.Reset()
			attempt = 0
		}
		if err := backoff.Sleep(ctx, delays.Next()); err != nil {
			return err
		}
	}
}

// session is the life of one connection. lasted says that it was no failed attempt.
func (f *feed) session(ctx, handling context.Context, attempt int) (lasted bool, err error) {
	client := f.syncer.client
	host := client.endpoints.Stream + string(f.route)
	start := time.Now()
	conn, err := client.dialRoute(ctx, f.route)
	opened := time.Now()
	if err == nil {
		f.count.connects.Add(1)
	}
	call(client.hooks.ConnectDone, ConnectInfo{Conn: f.number, Host: host, Attempt: attempt, Elapsed: opened.Sub(start), Err: err})
	if err != nil {
		return false, err
	}

	err = f.serve(ctx, handling, conn)
	uptime := time.Since(opened)
	f.count.disconnects.Add(1)
	call(client.hooks.Disconnected, DisconnectInfo{Conn: f.number, Host: host, Symbols: len(f.symbols), Uptime: uptime, Err: err})
	return uptime > f.syncer.cfg.ReconnectMax, err
}

// serve works through the connection until it ends, and returns why. The books know of the end before
// the goroutines of the connection are waited for.
func (f *feed) serve(ctx, handling context.Context, conn *Stream) error {
	requests, err := conn.plan("SUBSCRIBE", f.names)
	if err != nil {
		conn.closeWith(err)
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	queue := newFrameQueue(f.syncer.cfg.QueueFrames, f.syncer.cfg.QueueBytes)
	f.begin(requests)

	var wg sync.WaitGroup
	wg.Go(func() { f.read(conn, queue) })
	wg.Go(func() {
		if _, err := conn.send(ctx, requests); err != nil {
			conn.closeWith(err)
		}
	})
	err = f.own(ctx, handling, queue)
	if failed := f.cutOff(handling, err); failed != nil {
		err = errors.Join(err, failed)
	}
	cancel()
	conn.closeWith(err)
	wg.Wait()
	return err
}

// begin prepares the owner's state for a new connection.
func (f *feed) begin(requests []request) {
	f.now = time.Now()
	f.frame, f.due = frame{}, time.Time{}
	for _, y := range f.books {
		y.lostAt = f.now
	}
	f.acks.expect(requests, f.now, f.syncer.cfg.AckTimeout)
	f.arm(f.acks.due)
}

// read hands over the frames of a connection until it ends. It never waits for the owner.
func (f *feed) read(conn *Stream, queue *frameQueue) {
	var buf []byte
	for {
		data, at, err := conn.Read(buf)
		if err != nil {
			queue.close(err)
			return
		}
		f.count.frames.Add(1)
		var queued bool
		if buf, queued = queue.push(data, at); !queued {
			f.count.dropped.Add(1)
			queue.drop(f.streamOf(data))
		}
	}
}

// cutOff tells the books that their connection has ended.
func (f *feed) cutOff(handling context.Context, cause error) error {
	f.now = time.Now()
	f.timer.Stop()
	var failed error
	for _, y := range f.books {
		f.syncer.fetcher.forget(y)
		out := y.change(f.now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Disconnected(f.now, cause) })
		y.arrivals.clear()
		if err := f.obey(handling, y, out, f.now.UTC()); err != nil {
			failed = err
		}
	}
	return failed
}
