package binance

import (
	"context"
	"errors"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// step works through one frame, received at that time. It allocates nothing for a depth event of a
// synced book.
func (f *feed) step(ctx context.Context, data []byte, at time.Time) error {
	if err := f.decoder.Decode(data, &f.msg); err != nil {
		return f.undecoded(ctx, data, err)
	}
	switch f.msg.Type {
	case MessageDepth:
		return f.depth(ctx, at)
	case MessageTrade:
		return f.trade(ctx, at)
	case MessageTicker:
		return f.ticker(ctx, at)
	case MessageAck:
		return f.acknowledged(ctx)
	case MessageError:
		return f.acks.refused(f.msg.RequestID, f.msg.Err)
	case MessageShutdown:
		return ErrShutdown
	}
	f.count.unknown.Add(1)
	return nil
}

func (f *feed) depth(ctx context.Context, at time.Time) error {
	y := f.books[f.msg.Symbol]
	if y == nil {
		f.count.unknown.Add(1)
		return nil
	}
	out := y.update(f.now, at, &f.msg.Update)
	if y.syncer.State() == orderbook.Buffering {
		y.arrivals.add(f.msg.Update.LastID, at)
	}
	f.arm(y.syncer.Deadline())
	return f.obey(ctx, y, out, at)
}

func (f *feed) trade(ctx context.Context, at time.Time) error {
	y := f.symbols[f.msg.Symbol]
	if y == nil {
		f.count.unknown.Add(1)
		return nil
	}
	// Futures trades of the insurance fund and of auto-deleveraging are no trades of the market, and
	// their prices may lie far off it.
	if f.msg.TradeType != "" && f.msg.TradeType != "MARKET" {
		f.count.foreign.Add(1)
		return nil
	}
	f.count.trades.Add(1)
	f.rec = marketprism.Record{Instrument: y.instrument, EventTime: f.msg.EventTime, ReceivedAt: at, Trade: &f.msg.Trade}
	return f.syncer.handle(ctx, &f.rec)
}

func (f *feed) ticker(ctx context.Context, at time.Time) error {
	y := f.symbols[f.msg.Symbol]
	if y == nil {
		f.count.unknown.Add(1)
		return nil
	}
	f.count.tickers.Add(1)
	f.rec = marketprism.Record{Instrument: y.instrument, EventTime: f.msg.EventTime, ReceivedAt: at, Ticker: &f.msg.Ticker}
	return f.syncer.handle(ctx, &f.rec)
}

// acknowledged lets the books of an acknowledged request begin: from here on every change of theirs
// arrives, so that a snapshot asked for now can be joined to them.
func (f *feed) acknowledged(ctx context.Context) error {
	names, all := f.acks.arrived(f.msg.RequestID, f.now)
	for _, name := range names {
		st := f.streams[name]
		if !st.book {
			continue
		}
		out := st.symbol.change(f.now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Connected(f.now) })
		f.arm(st.symbol.syncer.Deadline())
		if err := f.obey(ctx, st.symbol, out, f.now.UTC()); err != nil {
			return err
		}
	}
	if all {
		call(f.syncer.client.hooks.Subscribed, SubscribeInfo{Conn: f.number, Streams: len(f.names), Elapsed: f.now.Sub(f.acks.since)})
	}
	return nil
}

// undecoded reports a frame that made no sense and, if it was of a book, resyncs that book: what it
// said is lost.
func (f *feed) undecoded(ctx context.Context, data []byte, err error) error {
	f.count.undecoded.Add(1)
	call(f.syncer.client.hooks.DecodeFailed, DecodeInfo{Conn: f.number, Err: err})
	st := f.streamOf(data)
	var de *DecodeError
	if st == nil && errors.As(err, &de) {
		st = f.streams[de.Stream]
	}
	if st == nil || !st.book {
		return nil
	}
	return f.resync(ctx, st.symbol, orderbook.Gap{Reason: orderbook.GapInvalid, Err: err})
}

// obey does what a Syncer asks for. at is when the data that caused it was received.
func (f *feed) obey(ctx context.Context, y *followed, out orderbook.Output, at time.Time) error {
	if out.Fetch != 0 {
		f.syncer.fetcher.ask(y, f, out.Fetch)
	}
	for i := range out.Events {
		ev := &out.Events[i]
		f.rec = marketprism.Record{Instrument: y.instrument, ReceivedAt: at, Update: ev.Update, Snapshot: ev.Snapshot, Gap: ev.Gap}
		switch {
		case ev.Update != nil:
			f.count.updates.Add(1)
			f.rec.EventTime = ev.Update.EventTime
			f.rec.ReceivedAt = y.arrivals.take(ev.Update.LastID, at)
		case ev.Snapshot != nil:
			f.rec.EventTime = ev.Snapshot.EventTime
			f.known(y, ev.Snapshot, out.Events[i+1:])
		case ev.Gap != nil:
			f.lost(y, *ev.Gap)
		}
		if err := f.syncer.handle(ctx, &f.rec); err != nil {
			return err
		}
	}
	if len(out.Events) > 0 && y.syncer.State() == orderbook.Synced {
		y.arrivals.clear()
	}
	return nil
}

// known reports that a book is known; then are the events after its snapshot.
func (f *feed) known(y *followed, snap *orderbook.Snapshot, then []orderbook.Event) {
	applied := 0
	for applied < len(then) && then[applied].Update != nil {
		applied++
	}
	y.wasKnown = true
	f.count.snapshots.Add(1)
	f.syncer.changed()
	call(f.syncer.client.hooks.Synced, SyncInfo{Instrument: y.instrument, LastID: snap.LastID, Applied: applied, Elapsed: f.now.Sub(y.lostAt)})
}

// lost reports that a book is no longer known, or that what waited for its snapshot is gone.
func (f *feed) lost(y *followed, gap orderbook.Gap) {
	f.count.gaps.Add(1)
	y.lostAt = f.now
	call(f.syncer.client.hooks.Gap, GapInfo{Instrument: y.instrument, Gap: gap})
}
