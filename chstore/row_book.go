package chstore

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

type depthRow struct {
	sides
	transact, own           int64
	firstID, lastID, prevID int64
}

func (r *depthRow) scanned() []target {
	return append(r.sides.scanned(),
		target{"toUnixTimestamp64Nano(transact_time)", &r.transact},
		target{"own_time", &r.own},
		target{"first_id", &r.firstID},
		target{"last_id", &r.lastID},
		target{"prev_id", &r.prevID},
	)
}

func (r *depthRow) payload(rec *marketprism.Record) (rank, error) {
	_, bids, asks, err := r.levels(nil)
	rec.Update = &orderbook.Update{
		FirstID: r.firstID, LastID: r.lastID, PrevLastID: r.prevID,
		EventTime: payloadTime(rec.EventTime, r.own), TransactTime: fromNanos(r.transact),
		Bids: bids, Asks: asks,
	}
	return rank{marketprism.KindUpdate, r.lastID, r.firstID}, err
}

type snapshotRow struct {
	sides
	transact, own          int64
	lastID                 int64
	bidLimited, askLimited bool
	bidBound, askBound     int64
}

func (r *snapshotRow) scanned() []target {
	return append(r.sides.scanned(),
		target{"toUnixTimestamp64Nano(transact_time)", &r.transact},
		target{"own_time", &r.own},
		target{"last_id", &r.lastID},
		target{"bid_limited", &r.bidLimited},
		target{"bid_bound_e8", &r.bidBound},
		target{"ask_limited", &r.askLimited},
		target{"ask_bound_e8", &r.askBound},
	)
}

func (r *snapshotRow) payload(rec *marketprism.Record) (rank, error) {
	_, bids, asks, err := r.levels(nil)
	rec.Snapshot = &orderbook.Snapshot{
		LastID:    r.lastID,
		EventTime: payloadTime(rec.EventTime, r.own), TransactTime: fromNanos(r.transact),
		Bids: bids, Asks: asks,
		BidBound: orderbook.Bound{Price: orderbook.Fixed(r.bidBound), Limited: r.bidLimited},
		AskBound: orderbook.Bound{Price: orderbook.Fixed(r.askBound), Limited: r.askLimited},
	}
	return rank{marketprism.KindSnapshot, r.lastID, int64(len(bids))<<32 | int64(len(asks))}, err
}

type gapRow struct {
	after         int64
	reason, cause string
}

func (r *gapRow) scanned() []target {
	return []target{{"after_id", &r.after}, {"reason", &r.reason}, {"error", &r.cause}}
}

func (r *gapRow) payload(rec *marketprism.Record) (rank, error) {
	reason, err := orderbook.ParseGapReason(r.reason)
	rec.Gap = &orderbook.Gap{After: r.after, Reason: reason}
	if r.cause != "" {
		rec.Gap.Err = orderbook.Cause(r.cause)
	}
	return rank{marketprism.KindGap, r.after, int64(reason)}, err
}
