package binance

import (
	"context"
	"errors"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A moment is when an update was received and sent; sent is zero for what is no update.
type moment struct{ at, sent time.Time }

// applyOutput carries out what a Syncer asks for at the moment of what caused it. A Gap with GapRegressed gets the time at
// which the first update with lower ids was sent: it divides the records of all collectors by the clock that they share.
func (s *shard) applyOutput(ctx context.Context, now time.Time, cause moment, b *symbolBook, out orderbook.Output) error {
	at := cause.at
	s.alarm.set(now, b.syncer.Deadline())
	if out.Fetch != 0 {
		limit, priority := s.fetchTerms(b)
		s.snapshots.request(b, out.Fetch, limit, priority)
		if !b.synced() && b.Wait().For != marketprism.WaitSnapshot {
			b.SetWait(marketprism.Wait{For: marketprism.WaitSnapshot})
		}
	}
	for i := range out.Events {
		ev := &out.Events[i]
		rec := &s.record
		*rec = marketprism.Record{Instrument: b.instrument, ReceivedAt: at, Update: ev.Update, Snapshot: ev.Snapshot, Gap: ev.Gap}
		switch {
		case ev.Update != nil:
			s.count.updates.Add(1)
			rec.EventTime = ev.Update.EventTime
			rec.ReceivedAt = ev.ReceivedAt
		case ev.Snapshot != nil:
			rec.EventTime = ev.Snapshot.EventTime
			s.count.snapshots.Add(1)
			if out.Audit == nil {
				s.bookSynced(now, b, ev.Snapshot, out.Events[i+1:])
			}
		case ev.Gap != nil:
			if ev.Gap.Reason == orderbook.GapRegressed {
				rec.EventTime = cause.sent
				if sub := s.streams.depths[b.instrument.Symbol]; sub != nil {
					sub.arbiter.forgetNewest()
				}
			}
			s.bookLost(now, b, *ev.Gap)
		}
		if err := s.handle(ctx, rec); err != nil {
			return err
		}
	}
	s.refreshes.changed(now, b, out.Audit)
	if len(out.Events) > 0 {
		s.refreshes.checkTicker(now, b)
	}
	if out.Audit == nil || !s.watchdog.refutes(out.Audit) {
		return nil
	}
	if sub := s.streams.depths[b.instrument.Symbol]; sub != nil {
		s.report(WatchInfo{Conn: s.number, Stream: sub.name, Reason: WatchDeadDepth, Silent: now.Sub(b.UpdatedAt)})
		return s.resubscribe(ctx, now, sub)
	}
	return nil
}

// emit passes a record to the Handler. The record is in a field so that it need not be allocated: the
// Handler gets a pointer to it.
func (s *shard) emit(ctx context.Context, rec marketprism.Record) error {
	s.record = rec
	return s.handle(ctx, &s.record)
}

// fetchTerms returns the size and the priority of a snapshot that a Syncer asks for.
func (s *shard) fetchTerms(b *symbolBook) (limit int, p Priority) {
	switch {
	case b.synced():
		return s.cfg.SnapshotLimit, b.refresh.priority()
	case b.unknown:
		return s.firstLimit(), PriorityPoll // after all whose snapshots are more than a guess
	case b.wasSynced:
		return s.firstLimit(), PriorityGap
	}
	return s.firstLimit(), PriorityFirst
}

// bookSynced reports that a book is synced; after are the events after its snapshot.
func (s *shard) bookSynced(now time.Time, b *symbolBook, snap *orderbook.Snapshot, after []orderbook.Event) {
	applied := 0
	for applied < len(after) && after[applied].Update != nil {
		applied++
	}
	b.wasSynced = true
	b.SetWait(marketprism.Wait{})
	b.Forget()
	s.refreshes.synced(now, b)
	s.notify()
	hook.Call(s.client.hooks.Synced, SyncInfo{Instrument: b.instrument, LastID: snap.LastID, Applied: applied, Elapsed: now.Sub(b.lostAt)})
}

// capped counts levels whose quantity is MaxFixed, and reports the first since the book was synced.
func (s *shard) capped(b *symbolBook, levels int) {
	if levels == 0 {
		return
	}
	s.count.capped.Add(uint64(levels))
	if !b.capped {
		b.capped = true
		hook.Call(s.client.hooks.Capped, CappedInfo{Instrument: b.instrument, Levels: levels})
	}
}

func cappedLevels(bids, asks []orderbook.Level) (n int) {
	for _, side := range [...][]orderbook.Level{bids, asks} {
		for i := range side {
			if side[i].Quantity == orderbook.MaxFixed {
				n++
			}
		}
	}
	return n
}

// bookLost reports that a book is no longer synced, or that updates pending for its snapshot are lost.
func (s *shard) bookLost(now time.Time, b *symbolBook, gap orderbook.Gap) {
	s.count.gaps.Add(1)
	b.lostAt, b.capped = now, false
	hook.Call(s.client.hooks.Gap, GapInfo{Instrument: b.instrument, Gap: gap})
}

// resync starts a book over, on the connections it has.
func (s *shard) resync(ctx context.Context, now time.Time, sub *subscription, gap orderbook.Gap) error {
	return s.applyOutput(ctx, now, moment{at: now.UTC()}, sub.book, s.restart(now, sub, gap))
}

// restart discards what is known of a book's stream, and returns what its Syncer asks for.
func (s *shard) restart(now time.Time, sub *subscription, gap orderbook.Gap) orderbook.Output {
	sub.arbiter.restart()
	delete(s.pending, sub)
	return sub.book.change(now.UTC(), func(sy *orderbook.Syncer) orderbook.Output { return sy.Resync(now, gap) })
}

// disconnect takes a book offline: no connection carries its stream.
func (s *shard) disconnect(ctx context.Context, now time.Time, sub *subscription, cause error) error {
	s.snapshots.cancel(sub.book)
	out := sub.book.change(now.UTC(), func(sy *orderbook.Syncer) orderbook.Output { return sy.Disconnected(now, cause) })
	sub.book.SetWait(marketprism.Wait{For: marketprism.WaitSubscription, Err: cause})
	sub.arbiter.restart()
	delete(s.pending, sub)
	return s.applyOutput(ctx, now, moment{at: now.UTC()}, sub.book, out)
}

// bookOffline ends a book with a gap of its own and takes it offline.
func (s *shard) bookOffline(ctx context.Context, now time.Time, sub *subscription, gap orderbook.Gap) error {
	if err := s.resync(ctx, now, sub, gap); err != nil {
		return err
	}
	return s.disconnect(ctx, now, sub, nil)
}

// resubscribe takes a book offline and subscribes its stream again; the acknowledgement starts the book
// over.
func (s *shard) resubscribe(ctx context.Context, now time.Time, sub *subscription) error {
	if err := s.bookOffline(ctx, now, sub, orderbook.Gap{Reason: orderbook.GapStale}); err != nil {
		return err
	}
	for c := range s.conns.all {
		if !sub.arbiter.legs[c.index].acked {
			continue
		}
		sub.arbiter.removeLeg(c.index)
		c.outbox.renew(sub.name)
		s.alarm.set(now, c.outbox.due(now))
	}
	return nil
}

// refused handles the refusal of a request. A stream that is refused alone is reported and asked for again
// later; the other streams of its connection go on.
func (s *shard) refused(ctx context.Context, now time.Time, c *conn, id RequestID, cause *StreamError) error {
	name, err := c.outbox.refused(id, cause, now)
	if err != nil {
		return s.connLost(ctx, now, c, err)
	}
	if sub := s.streams.byName[name]; sub != nil && !now.Before(sub.refusal.retryAt) {
		sub.refusal.count++
		delay := s.cfg.RetryMax << min(sub.refusal.count-1, maxRefusalDoublings)
		sub.refusal.retryAt = now.Add(delay)
		s.alarm.set(now, sub.refusal.retryAt)
		why := &SubscribeError{Streams: []string{name}, Err: cause}
		if sub.depth && !sub.book.synced() {
			sub.book.SetWait(marketprism.Wait{For: marketprism.WaitSubscription, Err: why, Attempt: sub.refusal.count, Next: sub.refusal.retryAt})
		}
		s.reportRefused(RefuseInfo{Instrument: sub.book.instrument, Stream: name, Retry: delay, Err: why})
	}
	s.alarm.set(now, c.outbox.due(now))
	s.checkSubscribed(now, c)
	return nil
}

// maxRefusalDoublings bounds the delay before a refused stream is asked for again, which begins at RetryMax.
const maxRefusalDoublings = 5

// retryRefused asks for a refused stream again, on a connection that does not carry it, if it is time.
func (s *shard) retryRefused(now time.Time, sub *subscription, c *conn) {
	if sub.refusal.count > 0 && !now.Before(sub.refusal.retryAt) && !sub.arbiter.legs[c.index].acked {
		c.outbox.retry(sub.name)
		s.alarm.set(now, c.outbox.due(now))
	}
}

// snapshotAnswered notes whether the exchange knows the symbol of a snapshot.
func (s *shard) snapshotAnswered(now time.Time, b *symbolBook, err error) {
	var refused *APIError
	unknown := errors.As(err, &refused) && refused.Code == codeBadSymbol
	if unknown && !b.unknown {
		s.reportRefused(RefuseInfo{Instrument: b.instrument, Retry: max(0, b.syncer.Deadline().Sub(now)), Err: err})
	}
	b.unknown = unknown
}

// reportRefused reports a name that the exchange refuses.
func (s *shard) reportRefused(info RefuseInfo) {
	s.count.refused.Add(1)
	hook.Call(s.client.hooks.Refused, info)
}

// report reports what a watchdog found.
func (s *shard) report(info WatchInfo) {
	s.count.watchdogs.Add(1)
	hook.Call(s.client.hooks.Watchdog, info)
}
