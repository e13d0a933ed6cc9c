package binance

import (
	"bytes"
	"context"
	"time"

	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// maxBatch is how many frames of a connection the owner works through before it looks at its other
// duties.
const maxBatch = 64

// own works through what comes until ctx ends, or the handler fails.
func (f *shard) own(ctx, handling context.Context) error {
	for {
		var err error
		select {
		case <-f.ready:
			err = f.drain(handling)
		case <-f.answered:
			err = f.takeAnswers(handling)
		case <-f.tasks.ready:
			err = f.doTasks(handling)
		case <-f.timer.C:
			err = f.tick(ctx, handling)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (f *shard) doTasks(ctx context.Context) error {
	f.now = time.Now()
	for _, do := range f.tasks.take() {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// drain works through the queued frames of all connections, a batch of each in turn.
func (f *shard) drain(ctx context.Context) error {
	f.now = time.Now()
	for _, l := range f.links {
		if l == nil || l.stream == nil {
			continue
		}
		if err := f.drainLink(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// drainLink works through a batch of a connection's frames. After its last frame, an ended connection
// is dropped.
func (f *shard) drainLink(ctx context.Context, l *conn) error {
	for range maxBatch {
		ok, ended := l.queue.pop(&f.frame)
		switch {
		case !ok && ended != nil:
			return f.drop(ctx, l, ended)
		case !ok:
			return nil
		}
		if f.frame.lost != nil {
			if err := f.overflowed(ctx, l, f.frame.lost); err != nil {
				return err
			}
		}
		if f.frame.data != nil {
			if err := f.step(ctx, l, f.frame.data, f.frame.at.UTC()); err != nil {
				return err
			}
		}
		if f.links[l.slot] != l {
			return nil
		}
	}
	wake(f.ready)
	return nil
}

// overflowed takes note that a connection's frames were dropped.
func (f *shard) overflowed(ctx context.Context, l *conn, lost losses) error {
	hooks := f.syncer.client.hooks
	for st, n := range lost {
		if st == nil {
			hook.Call(hooks.Dropped, DropInfo{Conn: l.seat.number, Frames: n})
			for _, st := range f.ordered {
				if err := f.missed(ctx, l, st, orderbook.Gap{Reason: orderbook.GapOverflow}); err != nil {
					return err
				}
			}
			continue
		}
		hook.Call(hooks.Dropped, DropInfo{Conn: l.seat.number, Stream: st.name, Frames: n})
		if f.streams[st.name] != st {
			continue // it is no longer followed
		}
		if err := f.missed(ctx, l, st, orderbook.Gap{Reason: orderbook.GapOverflow}); err != nil {
			return err
		}
	}
	return nil
}

// missed says that a connection has lost something of a stream.
func (f *shard) missed(ctx context.Context, l *conn, st *stream, gap orderbook.Gap) error {
	f.locate(st)
	st.merge.skip(l.slot, f.now)
	return f.left(ctx, st, gap)
}

func (f *shard) resync(ctx context.Context, st *stream, gap orderbook.Gap) error {
	y := st.symbol
	st.merge.restart()
	delete(f.holding, st)
	out := y.change(f.now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Resync(f.now, gap) })
	f.arm(y.syncer.Deadline())
	return f.obey(ctx, y, out, f.now.UTC())
}

// takeAnswers gives the books the snapshots that have come.
func (f *shard) takeAnswers(ctx context.Context) error {
	f.now = time.Now()
	for _, r := range f.syncer.snapshots.collect(f) {
		at := r.at.UTC()
		r.symbol.answered = r.limit
		out := r.symbol.change(at, func(s *orderbook.Syncer) orderbook.Output {
			if r.err != nil {
				return s.SnapshotFailed(f.now, r.id, r.err)
			}
			return s.Snapshot(f.now, r.id, &r.snap)
		})
		f.arm(r.symbol.syncer.Deadline())
		if err := f.obey(ctx, r.symbol, out, at); err != nil {
			return err
		}
		if st := f.books[r.symbol.instrument.Symbol]; st != nil && len(st.merge.held) > 0 {
			if err := f.release(ctx, st, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// tick does what is due.
func (f *shard) tick(ctx, handling context.Context) error {
	f.now, f.due = time.Now(), time.Time{}
	for _, l := range f.links {
		if l == nil || l.stream == nil {
			continue
		}
		if err := l.acks.overdue(f.now); err != nil {
			if err := f.drop(handling, l, err); err != nil {
				return err
			}
			continue
		}
		f.arm(l.acks.due)
	}
	if err := f.tickBooks(handling); err != nil {
		return err
	}
	if err := f.tickHeld(handling); err != nil {
		return err
	}
	if err := f.watch(handling); err != nil {
		return err
	}
	if err := f.handOver(handling); err != nil {
		return err
	}
	f.staff(ctx)
	return nil
}

func (f *shard) tickBooks(ctx context.Context) error {
	for _, st := range f.ordered {
		if !st.book {
			continue
		}
		y := st.symbol
		f.refreshIfDue(y)
		if due := y.syncer.Deadline(); due.IsZero() || f.now.Before(due) {
			f.arm(due)
			continue
		}
		out := y.change(f.now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Tick(f.now) })
		f.arm(y.syncer.Deadline())
		if err := f.obey(ctx, y, out, f.now.UTC()); err != nil {
			return err
		}
	}
	return nil
}

// tickHeld lets events go that have been held for too long.
func (f *shard) tickHeld(ctx context.Context) error {
	if len(f.holding) == 0 {
		return nil
	}
	for _, st := range f.ordered {
		if _, holding := f.holding[st]; !holding {
			continue
		}
		patience := holdTime
		if st.merge.filling != nil {
			patience = fillTime
		}
		if due := st.merge.since.Add(patience); f.now.Before(due) {
			f.arm(due)
		} else if err := f.release(ctx, st, true); err != nil {
			return err
		}
	}
	return nil
}

// arm sees to it that tick runs at due; zero needs none.
func (f *shard) arm(due time.Time) {
	if !due.IsZero() && (f.due.IsZero() || due.Before(f.due)) {
		f.due = due
		f.timer.Reset(due.Sub(f.now))
	}
}

// streamOf finds the stream of a combined frame without decoding it; nil if it does not tell. The
// exchange writes the name first: {"stream":"btcusdt@depth@100ms","data":…
func (f *shard) streamOf(frame []byte) *stream {
	if isSBE(frame) {
		return f.streams[sbeStream(frame)]
	}
	rest, ok := bytes.CutPrefix(frame, []byte(`{"stream":"`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 {
		return nil
	}
	return f.streams[string(rest[:end])]
}
