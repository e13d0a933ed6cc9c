package binance

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A shardEnv is what the shards of a DepthSyncer share.
type shardEnv struct {
	client     *Client
	cfg        *DepthConfig
	snapshots  *snapshotFetcher
	handle     func(context.Context, *marketprism.Record) error // calls the Handler
	notify     func()                                           // wakes Ready: a book was synced
	firstLimit func() int                                       // levels a side of a book's first snapshot
}

// A shard keeps the books of a group of symbols, over one connection or over several that carry the
// same streams. The goroutine of run alone uses its state and the Syncers of its books. Each connection
// has a goroutine that reads it, so that pings are answered whatever the shard does, and that passes
// the frames on in a bounded queue: see connReader.
type shard struct {
	shardEnv
	number int
	route  route

	members []*symbolBook // that have streams here; guarded by the DepthSyncer's changing

	// Other goroutines leave these for the shard.
	inbox    snapshotInbox
	tasks    taskQueue
	rotating atomic.Bool   // a task of Rotate is queued
	ready    chan struct{} // holds a token while frames may be queued
	count    counters

	streams   streamSet
	conns     connSet
	pending   map[*subscription]struct{} // those with pending events
	refreshes refresher
	backfills backfiller
	watchdog  watchdog
	alarm     alarm
	life      context.Context // of the run; it ends with Run's
	unusedAt  time.Time       // when connections are closed since they have no stream; zero if they have

	// Memory that is used again for each frame.
	decoder Decoder
	frame   frame
	message Message
	record  marketprism.Record
}

func newShard(number int, env shardEnv, rs routeStreams, depthSuffix string) *shard {
	s := &shard{
		shardEnv: env, number: number, route: rs.route, decoder: env.client.market.decoder(),
		streams: streamSet{suffixes: rs.suffixes, depth: depthSuffix},
		tasks:   taskQueue{ready: make(chan struct{}, 1)},
		ready:   make(chan struct{}, 1),
	}
	s.inbox = snapshotInbox{ready: make(chan struct{}, 1), count: &s.count}
	s.refreshes = refresher{client: env.client, cfg: env.cfg, snapshots: env.snapshots, count: &s.count, alarm: &s.alarm}
	s.backfills = backfiller{client: env.client, max: env.cfg.MaxTradeBackfill, count: &s.count, running: &s.conns.running}
	return s
}

// begin prepares a run. It is called with the DepthSyncer's changing held: symbols that are added or
// removed from then on come as tasks.
func (s *shard) begin(now time.Time) {
	s.tasks.take()
	s.rotating.Store(false)
	s.snapshots.collect(&s.inbox)
	s.streams.reset(s.members)
	s.conns.reset(s.number, s.cfg, now)
	s.pending = make(map[*subscription]struct{})
	s.watchdog = watchdog{market: s.client.market, bound: s.cfg.StreamTimeout, at: now.Add(watchEvery), beat: now.Add(beatEvery)}
	s.frame = frame{}
	s.alarm = alarm{timer: time.NewTimer(0)}
	s.unusedAt = time.Time{}
	if len(s.streams.ordered) == 0 {
		s.unusedAt = now
	}
	for _, sub := range s.streams.ordered {
		if sub.depth {
			sub.book.lostAt = now
			sub.book.SetWait(marketprism.Wait{For: marketprism.WaitConnection})
		}
	}
}

// run keeps the shard connected until ctx ends, or the Handler fails. handling is the Handler's context. The books go
// offline before the goroutines of the connections end.
func (s *shard) run(ctx, handling context.Context) {
	defer s.alarm.timer.Stop()
	life, cancel := context.WithCancel(ctx)
	s.life = life
	err := s.loop(life, handling)
	s.end(handling, err)
	cancel()
	s.conns.running.Wait()
	for c := range s.conns.all {
		s.disconnected(c, len(s.streams.books), err)
	}
}

// loop handles what comes until ctx ends, or the Handler fails.
func (s *shard) loop(ctx, handling context.Context) error {
	for {
		var err error
		select {
		case <-s.ready:
			now := time.Now()
			for c := range s.conns.all {
				if err == nil {
					err = s.drain(handling, now, c)
				}
			}
		case <-s.inbox.ready:
			err = s.takeSnapshots(handling, time.Now())
		case <-s.tasks.ready:
			err = s.doTasks(handling, time.Now())
		case <-s.alarm.timer.C:
			err = s.tick(ctx, handling, time.Now())
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// end ends the books and the trades: nothing more comes. If the Handler fails, the others are ended all the same, and
// bookset.Set counts what they would emit.
func (s *shard) end(ctx context.Context, cause error) {
	now := time.Now()
	for _, sub := range s.streams.ordered {
		if sub.depth {
			_ = s.disconnect(ctx, now, sub, cause)
		} else {
			_ = s.endTrades(ctx, now, sub)
		}
	}
}

func (s *shard) doTasks(ctx context.Context, now time.Time) error {
	for _, do := range s.tasks.take() {
		if err := do(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

// takeSnapshots passes the snapshots that have come to their books, and begins the refreshes that may
// begin.
func (s *shard) takeSnapshots(ctx context.Context, now time.Time) error {
	answers, refreshes := s.snapshots.collect(&s.inbox)
	for _, r := range refreshes {
		if out, begun := s.refreshes.begin(now, r); begun {
			if err := s.applyOutput(ctx, now, moment{at: now.UTC()}, r.book, out); err != nil {
				return err
			}
		}
	}
	for _, r := range answers {
		at := r.at.UTC()
		r.book.snapshotLimit = r.limit
		s.capped(r.book, cappedLevels(r.snap.Bids, r.snap.Asks))
		out := r.book.change(at, func(sy *orderbook.Syncer) orderbook.Output {
			if r.err != nil {
				return sy.SnapshotFailed(now, r.id, r.err)
			}
			return sy.Snapshot(now, r.id, &r.snap)
		})
		s.snapshotAnswered(now, r.book, r.err)
		if !r.book.synced() {
			r.book.AttemptFailed(marketprism.WaitSnapshot, r.err, r.book.syncer.Deadline())
		}
		if err := s.applyOutput(ctx, now, moment{at: at}, r.book, out); err != nil {
			return err
		}
		if sub := s.streams.depths[r.book.instrument.Symbol]; sub != nil {
			if err := s.release(ctx, now, sub, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// tick does what is due.
func (s *shard) tick(ctx, handling context.Context, now time.Time) error {
	s.alarm.due = time.Time{}
	if pause := s.watchdog.tick(now); pause > 0 {
		s.count.pauses.Add(1)
		hook.Call(s.client.hooks.Paused, pause)
	}
	s.alarm.set(now, s.watchdog.beat)
	if err := s.checkAcks(handling, now); err != nil {
		return err
	}
	for _, sub := range s.streams.ordered {
		if err := s.tickStream(handling, now, sub); err != nil {
			return err
		}
	}
	if err := s.watch(handling, now); err != nil {
		return err
	}
	if err := s.rotate(handling, now); err != nil {
		return err
	}
	if err := s.closeUnused(handling, now); err != nil {
		return err
	}
	s.dialDue(ctx, now)
	return nil
}

// tickStream lets time pass for the book of a depth stream, and for events that are pending for too long.
func (s *shard) tickStream(ctx context.Context, now time.Time, sub *subscription) error {
	if b := sub.book; sub.depth {
		s.refreshes.requestIfDue(now, b)
		if due := b.syncer.Deadline(); due.IsZero() || now.Before(due) {
			s.alarm.set(now, due)
		} else {
			out := b.change(now.UTC(), func(sy *orderbook.Syncer) orderbook.Output { return sy.Tick(now) })
			if err := s.applyOutput(ctx, now, moment{at: now.UTC()}, b, out); err != nil {
				return err
			}
		}
	}
	if now.Before(sub.refusal.retryAt) {
		s.alarm.set(now, sub.refusal.retryAt)
	} else if !sub.refusal.retryAt.IsZero() {
		for c := range s.conns.all {
			s.retryRefused(now, sub, c)
		}
		sub.refusal.retryAt = time.Time{}
	}
	if _, pending := s.pending[sub]; !pending {
		return nil
	}
	patience := pendingTime
	if sub.arbiter.awaitsBackfill() {
		patience = backfillPatience
	}
	since := later(s.watchdog.woken, s.watchdog.readAllSince(now, &s.conns)) // what it waits for could not be read before
	if due := later(sub.arbiter.pendingSince, since).Add(patience); now.Before(due) {
		s.alarm.set(now, due)
		return nil
	}
	return s.release(ctx, now, sub, true)
}

// watch reports what the watchdog finds dead, and replaces it. It leaves all else alone.
func (s *shard) watch(ctx context.Context, now time.Time) error {
	found := s.watchdog.look(now, &s.conns, &s.streams)
	var quiet []string
	for i, f := range found {
		info := WatchInfo{Conn: s.number, Reason: f.reason, Silent: f.silent}
		if f.conn != nil {
			info.Conn = f.conn.slot.number
		}
		if f.sub != nil {
			info.Stream = f.sub.name
		}
		s.report(info)
		switch f.reason {
		case WatchNoPing, WatchNoEvents:
			s.rotateSlot(now, f.conn.slot, RotateSilent)
		case WatchQuiet:
			if f.sub.depth && f.sub.book.synced() {
				s.refreshes.request(now, f.sub.book)
			}
			quiet = append(quiet, f.sub.name)
			if i+1 == len(found) || found[i+1].conn != f.conn {
				if err := s.subscribe(ctx, now, f.conn, quiet); err != nil {
					return err
				}
				quiet = nil
			}
		case WatchDeadDepth:
			if err := s.resubscribe(ctx, now, f.sub); err != nil {
				return err
			}
		}
	}
	s.alarm.set(now, s.watchdog.at)
	return nil
}

// addSymbols subscribes the streams of more books, on the connections that are open; one that is not
// open yet will subscribe all streams.
func (s *shard) addSymbols(ctx context.Context, now time.Time, books []*symbolBook) error {
	for _, b := range books {
		if b.inbox == &s.inbox {
			b.lostAt = now
			if s.conns.connected() {
				b.SetWait(marketprism.Wait{For: marketprism.WaitSubscription})
			}
		}
	}
	names := s.streams.add(books)
	for c := range s.conns.all {
		if err := s.subscribe(ctx, now, c, names); err != nil {
			return err
		}
	}
	if !s.unusedAt.IsZero() {
		s.unusedAt = time.Time{}
		s.alarm.set(now, now) // the connections may be closed
	}
	return nil
}

// subscribe adds streams to a connection.
func (s *shard) subscribe(ctx context.Context, now time.Time, c *conn, names []string) error {
	kept := c.outbox.subscribe(names)
	s.alarm.set(now, c.outbox.due(now))
	return s.carried(ctx, now, c, kept)
}

// removeSymbol unsubscribes the streams of a book and ends it.
func (s *shard) removeSymbol(ctx context.Context, now time.Time, b *symbolBook) error {
	symbol := b.instrument.Symbol
	if s.streams.books[symbol] != b {
		return nil
	}
	home := s.streams.depths[symbol] != nil
	var names []string
	for _, sub := range s.streams.remove(symbol) {
		names = append(names, sub.name)
		delete(s.pending, sub)
	}
	for c := range s.conns.all {
		c.outbox.unsubscribe(names)
	}
	if len(s.streams.ordered) == 0 {
		s.unusedAt = now.Add(unusedTime)
		s.alarm.set(now, s.unusedAt)
	}
	if !home {
		return nil
	}
	s.snapshots.cancel(b)
	if b.synced() {
		gap := orderbook.Gap{Reason: orderbook.GapRemoved}
		out := b.change(now.UTC(), func(sy *orderbook.Syncer) orderbook.Output { return sy.Resync(now, gap) })
		out.Fetch = 0
		if err := s.applyOutput(ctx, now, moment{at: now.UTC()}, b, out); err != nil {
			return err
		}
	}
	out := b.change(now.UTC(), func(sy *orderbook.Syncer) orderbook.Output { return sy.Disconnected(now, nil) })
	return s.applyOutput(ctx, now, moment{at: now.UTC()}, b, out)
}
