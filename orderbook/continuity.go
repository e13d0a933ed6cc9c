package orderbook

import "errors"

// A Continuity is the rule by which a venue's update ids prove that no update is missing.
type Continuity uint8

const (
	// Contiguous ids count every change of one symbol: each update begins one after the end of the
	// last one. Binance spot.
	Contiguous Continuity = iota
	// Linked ids jump, because all symbols share them; each update names the one before it. Binance
	// futures.
	Linked
)

// String returns the rule's name.
func (c Continuity) String() string {
	switch c {
	case Contiguous:
		return "contiguous"
	case Linked:
		return "linked"
	}
	return "unknown"
}

// Follows reports whether u brings a book at update id to a later id with no update missing between.
func (c Continuity) Follows(id int64, u *Update) bool { return c.decide(id, false, u) == apply }

// Predecessor returns the id of the last update before u: PrevLastID for Linked, FirstID-1 for Contiguous.
func (c Continuity) Predecessor(u *Update) int64 {
	if c == Linked {
		return u.PrevLastID
	}
	return u.FirstID - 1
}

var errContinuity = errors.New("orderbook: unknown Continuity")

// A decision says how to treat an update.
type decision uint8

const (
	apply decision = iota
	drop           // the book has it already
	gap            // updates between the book and it are missing
)

// noID is the LastID of the snapshot of an instrument that never had an update.
const noID = -1

// decide compares an update with a book at id. fresh means that the book is a snapshot to which no
// update was applied yet.
//
// An update that begins at or before the book's id and ends after it overlaps, and is applied whole:
// quantities are absolute, so changes that the book has already do no harm. Overlap is normal for
// the first update after a snapshot and after a change of connection.
func (c Continuity) decide(id int64, fresh bool, u *Update) decision {
	if fresh && id == noID {
		return apply
	}
	if c == Linked {
		return decideLinked(id, fresh, u)
	}
	// Binance spot, WebSocket Streams, How to manage a local order book correctly:
	//  - "If the event u (last update ID) is < the update ID of your local order book, ignore the
	//    event." At u == id the book has it too.
	//  - "If the event U (first update ID) is > the update ID of your local order book + 1, you have
	//    missed some events. Discard your local order book and restart the process."
	// The same page demands of the first event after the snapshot that lastUpdateId is within [U;u].
	// That fails on the usual case, a snapshot at the border of two events, where U is
	// lastUpdateId + 1 and nothing is missing; the two rules above are exact for it as well.
	switch {
	case u.LastID <= id:
		return drop
	case u.FirstID > id+1:
		return gap
	}
	return apply
}

// decideLinked enforces Binance USDⓈ-M and COIN-M Futures, How to manage a local order book correctly:
//   - 4. "Drop any event where u is < lastUpdateId in the snapshot."
//   - 5. "The first processed event should have U <= lastUpdateId AND u >= lastUpdateId."
//   - 6. "While listening to the stream, each new event's pu should be equal to the previous event's
//     u, otherwise initialize the process from step 3."
//
// For the first event it tests pu <= lastUpdateId instead of U: that is true of every event that rule 5
// accepts, and of the direct successor of the snapshot (pu == lastUpdateId, U above it), which
// occurs live when the event that ends at the snapshot was sent before the connection existed.
func decideLinked(id int64, fresh bool, u *Update) decision {
	switch {
	case u.LastID < id, u.LastID == id && !fresh:
		return drop
	case u.PrevLastID > id:
		return gap
	}
	return apply
}

// sequenceError describes the gap that decide found.
func (c Continuity) sequenceError(id int64, u *Update) *SequenceError {
	if c == Linked {
		return &SequenceError{Want: id, Got: u.PrevLastID}
	}
	return &SequenceError{Want: id + 1, Got: u.FirstID}
}
