package binance

import (
	"context"
	"errors"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// step works through one frame of a connection, received at that time. It allocates nothing for a
// depth event of a synced book. An error ends the feed; what ends the connection alone is seen to here.
func (f *shard) step(ctx context.Context, l *conn, data []byte, at time.Time) error {
	if err := f.decoder.Decode(data, &f.msg); err != nil {
		return f.undecoded(ctx, l, data, err)
	}
	switch f.msg.Type {
	case MessageDepth, MessageTrade, MessageTicker:
		return f.event(ctx, l, at)
	case MessageAck:
		return f.acknowledged(ctx, l)
	case MessageError:
		return f.drop(ctx, l, l.acks.refused(f.msg.RequestID, f.msg.Err))
	case MessageShutdown:
		return f.shutDown(ctx, l)
	}
	f.count.unknown.Add(1)
	return nil
}

// shutDown replaces a connection whose end the exchange has announced. web-socket-streams.md gives no
// time between the announcement and the end.
func (f *shard) shutDown(ctx context.Context, l *conn) error {
	if l != l.seat.current {
		return f.drop(ctx, l, ErrShutdown)
	}
	l.seat.want(RotateShutdown, f.now)
	f.arm(f.now)
	return nil
}

// event gives one event to the stream it belongs to.
func (f *shard) event(ctx context.Context, l *conn, at time.Time) error {
	st := f.streams[f.msg.Stream]
	if st == nil || st.symbol.instrument.Symbol != f.msg.Symbol || st.book != (f.msg.Type == MessageDepth) {
		f.count.unknown.Add(1)
		return nil
	}
	l.heardAt = at
	f.count.heard(f.msg.Type, at)
	switch f.msg.Type {
	case MessageDepth:
		return f.depth(ctx, l, st, at)
	case MessageTrade:
		return f.trades(ctx, l, st, at)
	}
	return f.ticker(ctx, l, st, at)
}

// trades gives the trades of a message, mostly one, to their stream.
func (f *shard) trades(ctx context.Context, l *conn, st *stream, at time.Time) error {
	err := f.trade(ctx, l, st, at)
	for i := 0; err == nil && i < len(f.msg.More); i++ {
		f.msg.Trade = f.msg.More[i]
		err = f.trade(ctx, l, st, at)
	}
	return err
}

func (f *shard) depth(ctx context.Context, l *conn, st *stream, at time.Time) error {
	u := &f.msg.Update
	s := f.idRangeOf(u)
	f.locate(st)
	switch st.merge.decide(l.slot, s, at) {
	case wait:
		return f.hold(ctx, st, pendingEvent{idRange: s, receivedAt: at, update: u.Clone()})
	case duplicate:
		f.count.duplicates.Add(1)
		return nil
	}
	if err := f.apply(ctx, st, u, at); err != nil {
		return err
	}
	return f.release(ctx, st, false)
}

// idRangeOf returns where an update lies among the others of its symbol.
func (f *shard) idRangeOf(u *orderbook.Update) idRange {
	return idRange{f.syncer.client.market.name.Continuity().Predecessor(u), u.LastID}
}

// locate takes over where the book stands: a snapshot moves it past the last event.
func (f *shard) locate(st *stream) {
	if st.book && st.symbol.syncer.State() == orderbook.Synced {
		id := st.symbol.syncer.Book().LastID()
		st.merge.at, st.merge.begun = id, id >= 0
	}
}

// apply gives an update to its book.
func (f *shard) apply(ctx context.Context, st *stream, u *orderbook.Update, at time.Time) error {
	y := st.symbol
	out := y.update(f.now, at, u)
	switch y.syncer.State() {
	case orderbook.Synced:
		st.merge.reach(y.syncer.Book().LastID())
	case orderbook.Buffering:
		if !st.merge.begun || len(out.Events) > 0 || u.LastID > st.merge.at {
			st.merge.reach(u.LastID)
		}
	}
	f.arm(y.syncer.Deadline())
	return f.obey(ctx, y, out, at)
}

func (f *shard) trade(ctx context.Context, l *conn, st *stream, at time.Time) error {
	// Futures trades of the insurance fund and of auto-deleveraging are no trades of the market, and
	// their prices may lie far off it.
	if f.msg.TradeType != "" && f.msg.TradeType != "MARKET" {
		f.count.foreign.Add(1)
		return nil
	}
	t := &f.msg.Trade
	// Trade ids and times rise together, so a trade with an old id is a repetition, unless the venue's
	// ids have gone back meanwhile.
	if m := &st.merge; m.begun && t.ID <= m.at && !newer(t.TradeTime, m.newest) {
		m.decide(l.slot, idRange{t.ID - 1, t.ID}, at)
		f.count.duplicates.Add(1)
		return nil
	}
	switch st.merge.decide(l.slot, idRange{t.ID - 1, t.ID}, at) {
	case wait:
		trade := *t
		return f.hold(ctx, st, pendingEvent{idRange: idRange{t.ID - 1, t.ID}, receivedAt: at, trade: &trade, eventTime: f.msg.EventTime})
	case duplicate:
		f.count.duplicates.Add(1)
		return nil
	}
	if f.fill(st, t.ID) {
		trade := *t
		return f.hold(ctx, st, pendingEvent{idRange: idRange{t.ID - 1, t.ID}, receivedAt: at, trade: &trade, eventTime: f.msg.EventTime})
	}
	if err := f.tell(ctx, st, t, f.msg.EventTime, at); err != nil {
		return err
	}
	return f.release(ctx, st, false)
}

// newer compares times of trades by the millisecond, which is all that REST tells of those it gives.
func newer(a, b time.Time) bool { return a.UnixMilli() > b.UnixMilli() }

// tell makes a record of a trade.
func (f *shard) tell(ctx context.Context, st *stream, t *marketprism.Trade, eventTime, at time.Time) error {
	if m := &st.merge; !m.begun || t.ID > m.at || newer(t.TradeTime, m.newest) {
		m.reach(t.ID)
		m.newest = t.TradeTime
	}
	st.merge.filling.bring(t.ID)
	f.count.trades.Add(1)
	f.rec = marketprism.Record{Instrument: st.symbol.instrument, EventTime: eventTime, ReceivedAt: at, Trade: t}
	return f.syncer.handle(ctx, &f.rec)
}

// ticker makes a record of a ticker. Each stands alone: one that another connection has overtaken says
// nothing that is still of interest.
func (f *shard) ticker(ctx context.Context, l *conn, st *stream, at time.Time) error {
	t := &f.msg.Ticker
	if st.merge.decide(l.slot, idRange{noPredecessor, t.UpdateID}, at) == duplicate {
		f.count.duplicates.Add(1)
		return nil
	}
	st.merge.reach(t.UpdateID)
	f.checkTicker(st.symbol, t)
	f.count.tickers.Add(1)
	f.rec = marketprism.Record{Instrument: st.symbol.instrument, EventTime: f.msg.EventTime, ReceivedAt: at, Ticker: t}
	return f.syncer.handle(ctx, &f.rec)
}

// hold keeps an event that is ahead of what the other connections have brought.
func (f *shard) hold(ctx context.Context, st *stream, h pendingEvent) error {
	room := st.merge.hold(h)
	f.holding[st] = struct{}{}
	f.arm(st.merge.since.Add(holdTime))
	return f.release(ctx, st, !room)
}

// release lets held events go whose turn has come; with force all of them, so that what is missing
// before them shows.
func (f *shard) release(ctx context.Context, st *stream, force bool) error {
	if len(st.merge.held) == 0 {
		return nil
	}
	for {
		f.locate(st)
		h, ok := st.merge.next(force)
		if !ok {
			break
		}
		if h.trade != nil && f.fill(st, h.trade.ID) {
			st.merge.hold(h)
			break
		}
		var err error
		if h.update != nil {
			err = f.apply(ctx, st, h.update, h.receivedAt)
		} else {
			err = f.tell(ctx, st, h.trade, h.eventTime, h.receivedAt)
		}
		if err != nil {
			return err
		}
	}
	if len(st.merge.held) == 0 {
		delete(f.holding, st)
	}
	return nil
}

// acknowledged lets the books of an acknowledged request begin: from here on every change of theirs
// arrives, so that a snapshot asked for now can be joined to them.
func (f *shard) acknowledged(ctx context.Context, l *conn) error {
	names, all := l.acks.arrived(f.msg.RequestID, f.now)
	for _, name := range names {
		st := f.streams[name]
		if st == nil {
			continue // it is no longer followed
		}
		st.merge.join(l.slot, f.now)
		if !st.book || st.symbol.syncer.State() != orderbook.Offline {
			continue
		}
		st.merge.restart()
		out := st.symbol.change(f.now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Connected(f.now) })
		f.arm(st.symbol.syncer.Deadline())
		if err := f.obey(ctx, st.symbol, out, f.now.UTC()); err != nil {
			return err
		}
	}
	if all && !l.subscribed {
		l.subscribed = true
		hook.Call(f.syncer.client.hooks.Subscribed, SubscribeInfo{Conn: l.seat.number, Streams: len(f.names), Elapsed: f.now.Sub(l.acks.since)})
		f.arm(f.now) // a replacement may take over
	}
	return nil
}

// undecoded reports a frame that made no sense. What it said is lost to that connection.
func (f *shard) undecoded(ctx context.Context, l *conn, data []byte, err error) error {
	f.count.undecoded.Add(1)
	hook.Call(f.syncer.client.hooks.DecodeFailed, DecodeInfo{Conn: l.seat.number, Err: err})
	st := f.streamOf(data)
	var de *DecodeError
	if st == nil && errors.As(err, &de) {
		st = f.streams[de.Stream]
	}
	if st == nil || !st.book {
		return nil
	}
	return f.missed(ctx, l, st, orderbook.Gap{Reason: orderbook.GapInvalid, Err: err})
}
