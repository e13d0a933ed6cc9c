package binance

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// event applies one event of a connection to its stream.
func (s *shard) event(ctx context.Context, now time.Time, c *conn, msg *Message, at time.Time) error {
	sub := s.streams.byName[msg.Stream]
	if sub == nil || sub.book.instrument.Symbol != msg.Symbol || sub.depth != (msg.Type == MessageDepth) {
		s.count.unknown.Add(1)
		return nil
	}
	c.heardAt = at
	s.count.heard(msg.Type, at)
	s.capped(sub.book, msg.Capped)
	switch msg.Type {
	case MessageDepth:
		return s.depth(ctx, now, c, sub, &msg.Update, at)
	case MessageTrade:
		return s.trades(ctx, now, c, sub, msg, at)
	}
	return s.tickerEvent(ctx, now, c, sub, msg, at)
}

func (s *shard) depth(ctx context.Context, now time.Time, c *conn, sub *subscription, u *orderbook.Update, at time.Time) error {
	ids := idRange{s.client.market.name.Continuity().Predecessor(u), u.LastID}
	switch sub.arbiter.regress(c.index, u.LastID, u.EventTime) {
	case decisionRestart:
		gap := orderbook.Gap{Reason: orderbook.GapRegressed, Err: &orderbook.SequenceError{Want: sub.book.syncer.Book().LastID() + 1, Got: u.FirstID}}
		if err := s.applyOutput(ctx, now, moment{at, sub.arbiter.regressedAt}, sub.book, s.restart(now, sub, gap)); err != nil {
			return err
		}
	case decisionDuplicate:
		s.count.duplicates.Add(1)
		return nil
	}
	sub.locate()
	switch sub.arbiter.decide(c.index, ids, at) {
	case decisionPend:
		return s.pend(ctx, now, sub, pendingEvent{idRange: ids, receivedAt: at, update: u.Clone()})
	case decisionDuplicate:
		s.count.duplicates.Add(1)
		return nil
	}
	if err := s.apply(ctx, now, sub, u, at); err != nil {
		return err
	}
	return s.release(ctx, now, sub, false)
}

// locate moves the sequence of a depth stream to its book's id: a snapshot moves the book past the last
// event.
func (sub *subscription) locate() {
	if sub.depth && sub.book.synced() {
		id := sub.book.syncer.Book().LastID()
		sub.arbiter.lastID, sub.arbiter.started = id, id >= 0
	}
}

// apply applies an update to its book.
func (s *shard) apply(ctx context.Context, now time.Time, sub *subscription, u *orderbook.Update, at time.Time) error {
	b := sub.book
	out := b.update(now, at, u)
	switch b.syncer.State() {
	case orderbook.Synced:
		sub.arbiter.advance(b.syncer.Book().LastID())
	case orderbook.Buffering:
		if a := &sub.arbiter; !a.started || len(out.Events) > 0 || u.LastID > a.lastID {
			a.advance(u.LastID)
		}
	}
	return s.applyOutput(ctx, now, moment{at, u.EventTime}, b, out)
}

// trades applies the trades of a message, mostly one.
func (s *shard) trades(ctx context.Context, now time.Time, c *conn, sub *subscription, msg *Message, at time.Time) error {
	e := pendingEvent{receivedAt: at, trade: &msg.Trade, eventTime: msg.EventTime}
	// Futures trades of the insurance fund and of auto-deleveraging are no trades of the market, and their
	// prices may lie far off it; those of type NA are no trades at all, with price and quantity "0". Each has the next
	// id, as frames of 2025 and 2026 show, so it is used like a trade, but for its record.
	if msg.TradeType != "MARKET" {
		e.other = msg.TradeType
	}
	err := s.trade(ctx, now, c, sub, e)
	for i := 0; err == nil && i < len(msg.More); i++ {
		msg.Trade = msg.More[i]
		err = s.trade(ctx, now, c, sub, e)
	}
	return err
}

// trade applies a trade. It keeps a copy.
func (s *shard) trade(ctx context.Context, now time.Time, c *conn, sub *subscription, e pendingEvent) error {
	a, t := &sub.arbiter, e.trade
	e.idRange = idRange{t.ID - 1, t.ID}
	// Trade ids and times rise together, so a trade with an old id is a repetition, unless the venue's
	// ids have gone back meanwhile: what decide says of one that is newer than all before is not asked.
	repeated := a.started && t.ID <= a.lastID && !newer(t.TradeTime, a.newestTrade)
	d := a.decide(c.index, e.idRange, e.receivedAt)
	switch {
	case repeated:
		s.count.duplicates.Add(1)
		return nil
	case d == decisionPend || s.backfillBefore(now, sub, t.ID):
		trade := *t
		e.trade = &trade
		return s.pend(ctx, now, sub, e)
	}
	if err := s.emitTrade(ctx, sub, &e, &sub.arbiter.others); err != nil {
		return err
	}
	return s.release(ctx, now, sub, false)
}

// newer compares times of trades by the millisecond, the precision of REST.
func newer(a, b time.Time) bool { return a.UnixMilli() > b.UnixMilli() }

// emitTrade makes a record of a trade, unless it is none of the market. The next trade names the first of the ids that are
// none of the market, so that a reader does not take them for missing. Those are added to others.
func (s *shard) emitTrade(ctx context.Context, sub *subscription, e *pendingEvent, others *idRange) error {
	a, t := &sub.arbiter, e.trade
	if !a.started || t.ID > a.lastID || newer(t.TradeTime, a.newestTrade) {
		a.advance(t.ID)
	}
	if t.TradeTime.After(a.newestTrade) {
		a.newestTrade = t.TradeTime
	}
	a.backfill.brought(t.ID)
	if e.other != "" {
		s.count.others.add(e.other)
		others.add(t.ID)
		return nil
	}
	if first := others.before(t.ID); first != 0 && !t.Aggregate {
		t.FirstID, t.LastID = first, t.ID
	}
	s.count.trades.Add(1)
	return s.emit(ctx, marketprism.Record{Instrument: sub.book.instrument, EventTime: e.eventTime, ReceivedAt: e.receivedAt, Trade: t})
}

// tickerEvent makes a record of a ticker. Tickers do not build on each other, so one that comes after a
// newer one of another connection is dropped.
func (s *shard) tickerEvent(ctx context.Context, now time.Time, c *conn, sub *subscription, msg *Message, at time.Time) error {
	t := &msg.Ticker
	if sub.arbiter.decide(c.index, idRange{noPredecessor, t.UpdateID}, at) == decisionDuplicate {
		s.count.duplicates.Add(1)
		return nil
	}
	sub.arbiter.advance(t.UpdateID)
	sub.book.ticker, sub.book.ticked = *t, true
	s.refreshes.checkTicker(now, sub.book)
	s.count.tickers.Add(1)
	return s.emit(ctx, marketprism.Record{Instrument: sub.book.instrument, EventTime: msg.EventTime, ReceivedAt: at, Ticker: t})
}

// pend keeps an event that is ahead of its stream.
func (s *shard) pend(ctx context.Context, now time.Time, sub *subscription, e pendingEvent) error {
	room := sub.arbiter.pend(e)
	s.pending[sub] = struct{}{}
	s.alarm.set(now, sub.arbiter.pendingSince.Add(pendingTime))
	return s.release(ctx, now, sub, !room)
}

// release uses the pending events whose predecessors have come; with force all of them, so that the
// missing ranges before them show.
func (s *shard) release(ctx context.Context, now time.Time, sub *subscription, force bool) error {
	if len(sub.arbiter.pending) == 0 {
		return nil
	}
	for {
		sub.locate()
		e, ok := sub.arbiter.next(force)
		if !ok {
			break
		}
		if e.trade != nil && s.backfillBefore(now, sub, e.trade.ID) {
			sub.arbiter.pend(e)
			break
		}
		var err error
		if e.update != nil {
			err = s.apply(ctx, now, sub, e.update, e.receivedAt)
		} else {
			err = s.emitTrade(ctx, sub, &e, &sub.arbiter.others)
		}
		if err != nil {
			return err
		}
	}
	if len(sub.arbiter.pending) == 0 {
		delete(s.pending, sub)
	}
	return nil
}

// streamLost handles a stream that one connection no longer carries, or has lost events of. Events of
// the others that were pending for it may be used now. If none of them continues the sequence, a book is
// resynced, or goes offline. The next ticker is used whatever its id is: the venue may be wiped until then.
func (s *shard) streamLost(ctx context.Context, now time.Time, sub *subscription, gap orderbook.Gap) error {
	switch {
	case !sub.arbiter.carried() && strings.HasSuffix(sub.name, s.client.market.ticker):
		sub.arbiter.restart()
		return nil
	case !sub.depth || sub.arbiter.continued(now):
		return s.release(ctx, now, sub, false)
	case sub.arbiter.carried():
		return s.resync(ctx, now, sub, gap)
	}
	return s.disconnect(ctx, now, sub, gap.Err)
}

// backfillBefore begins to fetch the trades before next that are missing, and reports whether it did.
func (s *shard) backfillBefore(now time.Time, sub *subscription, next int64) bool {
	if a := &sub.arbiter; !a.started || next <= a.lastID+1 {
		return false
	}
	return s.backfills.begin(s.life, now, sub, next, s.backfilledOf(sub))
}

// backfilledOf returns the func that brings fetched trades to the shard's goroutine.
func (s *shard) backfilledOf(sub *subscription) backfilled {
	return func(g *backfill, past history, err error) {
		at := time.Now().UTC()
		s.tasks.post(func(ctx context.Context, now time.Time) error { return s.backfilled(ctx, now, sub, g, past, at, err) })
	}
}

// backfilled makes records of the fetched trades, before those that were pending for them.
func (s *shard) backfilled(ctx context.Context, now time.Time, sub *subscription, g *backfill, past history, at time.Time, cause error) error {
	a := &sub.arbiter
	if a.backfill != g || s.streams.byName[sub.name] != sub {
		return nil
	}
	a.backfill = nil
	info := s.backfills.result(sub, g, past, cause)
	passed, others := g.first, &a.others
	if a.lastID > g.last {
		others = new(idRange) // those that follow were used already, and have their own
	}
	for i := range past.trades {
		t := &past.trades[i]
		if g.late[t.ID] {
			continue
		}
		s.passOver(sub, g, others, passed, t.ID)
		passed = t.ID + 1
		info.Backfilled++
		if err := s.emitTrade(ctx, sub, &pendingEvent{receivedAt: at, trade: t, eventTime: t.TradeTime}, others); err != nil {
			return err
		}
	}
	s.passOver(sub, g, others, passed, past.until+1)
	a.lastID = max(a.lastID, g.last)
	s.backfills.report(now, sub, g, info)
	s.backfills.startNext(s.life, sub, s.backfilledOf(sub))
	return s.release(ctx, now, sub, false)
}

// passOver notes the ids from one to before another that the history of a futures market has not: they are no trades of the
// market, see backfiller.result.
func (s *shard) passOver(sub *subscription, g *backfill, others *idRange, from, to int64) {
	if s.client.market.name == marketprism.Spot || sub.isAggregate() {
		return
	}
	for id := from; id < to; id++ {
		if !g.late[id] {
			others.add(id)
		}
	}
}

// endTrades makes records of the trades that are still pending at the end of the run, and reports those
// that were being fetched.
func (s *shard) endTrades(ctx context.Context, now time.Time, sub *subscription) error {
	a := &sub.arbiter
	g := a.backfill
	if g == nil {
		a.backfill = &backfill{first: a.lastID + 1, last: a.lastID} // empty: no other begins
	}
	err := s.release(ctx, now, sub, true)
	waiting := a.backfills
	if g != nil {
		waiting = append([]*backfill{g}, waiting...)
	}
	for _, g := range waiting {
		s.backfills.report(now, sub, g, TradeGapInfo{Err: fmt.Errorf("%w: they were being fetched at the end", ErrTradesMissing)})
	}
	a.backfills = nil
	return err
}
