package binance

import (
	"slices"
	"time"

	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// shallowLimit is the most levels for the least weight but one, 5, on every market.
const shallowLimit = 100

// A refreshSchedule says when a synced book is refreshed next.
type refreshSchedule struct {
	deep      bool      // a snapshot of the full limit has been joined since the book was synced
	begun     time.Time // when the refresh that is under way began; zero if there is none
	due       time.Time // of the next refresh in any case; zero if never
	notBefore time.Time // of the next refresh for depth or for a mismatch
}

// priority is more urgent for a book that was never more than shallow.
func (rs *refreshSchedule) priority() Priority {
	if rs.deep {
		return PriorityRefresh
	}
	return PriorityDeepen
}

// bringForward moves the next refresh to at, if it is due later.
func (rs *refreshSchedule) bringForward(at time.Time) {
	if rs.due.IsZero() || at.Before(rs.due) {
		rs.due = at
	}
}

// A refresher decides when the books of a shard are refreshed, and so audited. In the Budget's queue a
// refresh costs nothing: the Syncer keeps updates for it only once its request may be sent.
type refresher struct {
	client    *Client
	cfg       *DepthConfig
	snapshots *snapshotFetcher
	count     *counters
	alarm     *alarm
}

// pause is the least time between two refreshes of a book for depth or for a mismatch.
func (r *refresher) pause() time.Duration { return r.cfg.RetryMax }

// request asks for a refresh.
func (r *refresher) request(now time.Time, b *symbolBook) {
	b.refresh.notBefore = now.Add(r.pause()) // the Audit sets it again, unless the refresh becomes void
	r.snapshots.requestRefresh(b, r.cfg.SnapshotLimit, b.refresh.priority())
}

// synced starts the schedule of a book that was synced now. Its Syncer lets the next request out RetryMin
// after the last one, and would keep updates until then.
func (r *refresher) synced(now time.Time, b *symbolBook) {
	b.refresh = refreshSchedule{deep: b.snapshotLimit >= r.cfg.SnapshotLimit, notBefore: now.Add(r.cfg.RetryMin)}
	r.schedule(now, b)
	if r.shallow(b) {
		b.refresh.due = b.refresh.notBefore
		r.alarm.set(now, b.refresh.due)
	}
}

// schedule sets the next regular refresh.
func (r *refresher) schedule(now time.Time, b *symbolBook) {
	b.refresh.due = time.Time{}
	if r.cfg.RefreshEvery > 0 {
		b.refresh.due = now.Add(r.cfg.RefreshEvery)
		r.alarm.set(now, b.refresh.due)
	}
}

// changed decides about a refresh after a change of the book. It costs next to nothing where there is
// nothing to do.
func (r *refresher) changed(now time.Time, b *symbolBook, audit *orderbook.Audit) {
	if audit != nil {
		r.audited(now, b, audit)
	}
	switch {
	case !b.synced():
	case !now.Before(b.refresh.notBefore):
		if r.shallow(b) {
			r.request(now, b)
		}
	case unknown(b.syncer.Book()): // it may not change again
		b.refresh.bringForward(b.refresh.notBefore)
		r.alarm.set(now, b.refresh.due)
	}
}

// unknown reports whether nothing is known of a book, as after the first update of a new instrument.
func unknown(book *orderbook.Book) bool {
	known, limited := book.Known(orderbook.Bid)
	return limited && known == orderbook.MaxFixed
}

// shallow reports whether the known depth of the book is less than RefreshDepth, or nothing is known of it.
func (r *refresher) shallow(b *symbolBook) bool {
	n, book := r.cfg.RefreshDepth, b.syncer.Book()
	if n <= 0 {
		return unknown(book)
	}
	return !book.KnowsTops(n)
}

// requestIfDue asks for the refresh that is due at this time.
func (r *refresher) requestIfDue(now time.Time, b *symbolBook) {
	switch due := b.refresh.due; {
	case due.IsZero() || !b.synced():
	case now.Before(due):
		r.alarm.set(now, due)
	default:
		r.schedule(now, b)
		r.request(now, b)
	}
}

// begin begins a refresh whose request has its weight, and sends the request. It does neither if the
// request has become void, or if the exchange wants no requests now or too many are on their way,
// which may have changed since the weight was granted.
func (r *refresher) begin(now time.Time, req *fetch) (out orderbook.Output, begun bool) {
	b := req.book
	if !r.snapshots.claim(req) {
		return out, false
	}
	if r.client.budget.isBlocked() || !req.reservation.unpark() {
		r.snapshots.requeue(req)
		return out, false
	}
	b.refresh.begun = now
	out = b.change(now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Refresh(now) })
	r.snapshots.send(req, out.Fetch)
	out.Fetch = 0
	return out, true
}

// audited reports how a refresh ended. One that failed is not the last one of a quiet book.
func (r *refresher) audited(now time.Time, b *symbolBook, a *orderbook.Audit) {
	elapsed := now.Sub(b.refresh.begun)
	b.refresh.begun = time.Time{}
	b.refresh.notBefore = now.Add(r.pause())
	r.count.audits.Add(1)
	r.count.differences.Add(uint64(a.Different))
	if a.Err != nil {
		r.count.unaudited.Add(1)
		b.refresh.bringForward(b.refresh.notBefore)
		r.alarm.set(now, b.refresh.due)
	} else {
		b.refresh.deep = true
	}
	hook.Call(r.client.hooks.Audited, AuditInfo{
		Instrument: b.instrument, LastID: a.LastID, Compared: a.Compared, Different: a.Different,
		Differences: slices.Clone(a.Differences), Swapped: a.Swapped, Elapsed: elapsed, Err: a.Err,
	})
}

// checkTicker compares the book with its latest ticker, where both have the same update id: at that id
// there is one truth, whichever of them comes first. It costs no request. A book whose best levels are
// not the ticker's is reported and refreshed.
func (r *refresher) checkTicker(now time.Time, b *symbolBook) {
	book, t := b.syncer.Book(), &b.ticker
	if !b.ticked || t.UpdateID != book.LastID() {
		return
	}
	if !b.synced() || !b.trading() || !book.KnowsTops(1) {
		return
	}
	r.count.checks.Add(1)
	bid, _ := book.BestBid()
	ask, _ := book.BestAsk()
	if sameBest(bid, t.Bid) && sameBest(ask, t.Ask) {
		return
	}
	r.count.mismatches.Add(1)
	hook.Call(r.client.hooks.Mismatch, MismatchInfo{
		Instrument: b.instrument, LastID: book.LastID(), Bid: bid, Ask: ask, Ticker: *t,
	})
	if !now.Before(b.refresh.notBefore) {
		r.request(now, b)
	} else {
		b.refresh.bringForward(b.refresh.notBefore)
		r.alarm.set(now, b.refresh.due)
	}
}

// sameBest compares the best level of a book with that of a ticker. A side without any has quantity 0, whatever its
// price. A book's quantity of MaxFixed agrees with any: the exchange caps those of depth streams and snapshots, and
// says nothing of bookTicker (binance-spot-api-docs CHANGELOG, 2022-05-23).
func sameBest(book, ticker orderbook.Level) bool {
	switch {
	case book.Quantity == 0 || ticker.Quantity == 0:
		return book.Quantity == ticker.Quantity
	case book.Quantity == orderbook.MaxFixed:
		return book.Price == ticker.Price
	}
	return book == ticker
}
