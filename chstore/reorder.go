package chstore

import "github.com/marketprism/marketprism/orderbook"

// maxHeld bounds the updates in a reorder.
const maxHeld = 1 << 14

// A reorder puts updates that come in order of time into order of id. The two differ where several
// connections to servers with different clocks were recorded.
type reorder struct {
	held []*heldUpdate // by id
	free []*heldUpdate
	last *heldUpdate // handed out, free at the next call
}

type heldUpdate struct {
	ts     int64
	update orderbook.Update
	levels []orderbook.Level // the memory of both sides
}

// add takes the next row.
func (o *reorder) add(b *base, r *depthRow) error {
	h := new(heldUpdate)
	if n := len(o.free); n > 0 {
		h, o.free = o.free[n-1], o.free[:n-1]
	}
	levels, bids, asks, err := r.levels(h.levels[:0])
	if err != nil {
		return err
	}
	h.ts, h.levels = b.ts, levels
	h.update = orderbook.Update{
		FirstID: r.firstID, LastID: r.lastID, PrevLastID: r.prevID,
		EventTime: payloadTime(b.eventTime(), r.own), TransactTime: fromNanos(r.transact),
		Bids: bids, Asks: asks,
	}
	// From the end: nearly every update is the newest by id too.
	i := len(o.held)
	for i > 0 && o.held[i-1].after(h) {
		i--
	}
	o.held = append(o.held, nil)
	copy(o.held[i+1:], o.held[i:])
	o.held[i] = h
	return nil
}

func (h *heldUpdate) after(k *heldUpdate) bool {
	if h.update.FirstID != k.update.FirstID {
		return h.update.FirstID > k.update.FirstID
	}
	return h.update.LastID > k.update.LastID
}

// next returns the update with the lowest id, if it is from before until, or room is short; nil if
// there is none. It is valid until the next call.
func (o *reorder) next(until int64) *heldUpdate {
	if o.last != nil {
		o.free = append(o.free, o.last)
		o.last = nil
	}
	if len(o.held) == 0 || o.held[0].ts > until && len(o.held) <= maxHeld {
		return nil
	}
	o.last = o.held[0]
	o.held = o.held[1:]
	return o.last
}
