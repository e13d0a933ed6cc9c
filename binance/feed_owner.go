package binance

import (
	"bytes"
	"context"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// maxBatch is how many frames the owner works through before it looks at its other duties.
const maxBatch = 64

// own works through what comes until the connection or ctx ends, or the handler fails.
func (f *feed) own(ctx, handling context.Context, queue *frameQueue) error {
	for {
		var err error
		select {
		case <-queue.ready:
			err = f.drain(handling, queue)
		case <-f.answered:
			err = f.takeAnswers(handling)
		case <-f.timer.C:
			err = f.tick(handling)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// drain works through queued frames. After the last one it returns why the connection ended, if it has.
func (f *feed) drain(ctx context.Context, queue *frameQueue) error {
	f.now = time.Now()
	for range maxBatch {
		ok, err := queue.pop(&f.frame)
		if !ok {
			return err
		}
		if f.frame.lost != nil {
			if err := f.overflowed(ctx, f.frame.lost); err != nil {
				return err
			}
		}
		if f.frame.data != nil {
			if err := f.step(ctx, f.frame.data, f.frame.at.UTC()); err != nil {
				return err
			}
		}
	}
	wake(queue.ready)
	return nil
}

// overflowed resyncs the books that lost frames.
func (f *feed) overflowed(ctx context.Context, lost losses) error {
	hooks := f.syncer.client.hooks
	for st, n := range lost {
		if st == nil {
			call(hooks.Dropped, DropInfo{Conn: f.number, Frames: n})
			for _, y := range f.books {
				if err := f.resync(ctx, y, orderbook.Gap{Reason: orderbook.GapOverflow}); err != nil {
					return err
				}
			}
			continue
		}
		call(hooks.Dropped, DropInfo{Conn: f.number, Stream: st.name, Frames: n})
		if !st.book {
			continue
		}
		if err := f.resync(ctx, st.symbol, orderbook.Gap{Reason: orderbook.GapOverflow}); err != nil {
			return err
		}
	}
	return nil
}

func (f *feed) resync(ctx context.Context, y *followed, gap orderbook.Gap) error {
	out := y.change(f.now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Resync(f.now, gap) })
	f.arm(y.syncer.Deadline())
	return f.obey(ctx, y, out, f.now.UTC())
}

// takeAnswers gives the books the snapshots that have come.
func (f *feed) takeAnswers(ctx context.Context) error {
	f.now = time.Now()
	for _, r := range f.syncer.fetcher.collect(f) {
		at := r.at.UTC()
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
	}
	return nil
}

// tick does what is due.
func (f *feed) tick(ctx context.Context) error {
	f.now, f.due = time.Now(), time.Time{}
	if err := f.acks.overdue(f.now); err != nil {
		return err
	}
	f.arm(f.acks.due)
	for _, y := range f.books {
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

// arm sees to it that tick runs at due; zero needs none.
func (f *feed) arm(due time.Time) {
	if !due.IsZero() && (f.due.IsZero() || due.Before(f.due)) {
		f.due = due
		f.timer.Reset(due.Sub(f.now))
	}
}

// streamOf finds the stream of a combined frame without decoding it; nil if it does not tell. The
// exchange writes the name first: {"stream":"btcusdt@depth@100ms","data":…
func (f *feed) streamOf(frame []byte) *stream {
	rest, ok := bytes.CutPrefix(frame, []byte(`{"stream":"`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 {
		return nil
	}
	return f.streams[string(rest[:end])]
}
