package orderbook

import "errors"

// A Continuity is the rule by which a venue's update ids prove that nothing was missed.
type Continuity uint8

const (
	// Contiguous ids count every change of one symbol: each update begins one after the last one's
	// end. Binance spot.
	Contiguous Continuity = iota
	// Linked ids jump, being shared by all symbols; each update names the one before it. Binance
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

// Follows reports whether u moves a book on from update id and nothing is missing between the two.
func (c Continuity) Follows(id int64, u *Update) bool { return c.judge(id, false, u) == apply }

// Predecessor returns the id of the last update before u: PrevLastID for Linked, FirstID-1 for Contiguous.
func (c Continuity) Predecessor(u *Update) int64 {
	if c == Linked {
		return u.PrevLastID
	}
	return u.FirstID - 1
}

var errContinuity = errors.New("orderbook: unknown Continuity")

// A verdict is what is to be done with an update.
type verdict uint8

const (
	apply verdict = iota
	drop          // the book already holds it
	gap           // something between the book and it is missing
)

// noID is the LastID of the snapshot of an instrument that has never had an update.
const noID = -1

// judge compares an update with a book that stands at id. fresh means that the book is a snapshot
// to which nothing has been applied yet.
//
// An update that begins at or before the book's id and ends after it overlaps. It is applied whole:
// quantities are absolute, so the part the book already holds does no harm. Overlap is normal for
// the first update after a snapshot and when another connection takes over.
func (c Continuity) judge(id int64, fresh bool, u *Update) verdict {
	if fresh && id == noID {
		return apply
	}
	if c == Linked {
		return judgeLinked(id, fresh, u)
	}
	// Binance spot, WebSocket Streams, How to manage a local order book correctly:
	//  - "If the event u (last update ID) is < the update ID of your local order book, ignore the
	//    event." At u == id the book holds it too.
	//  - "If the event U (first update ID) is > the update ID of your local order book + 1, you have
	//    missed some events. Discard your local order book and restart the process."
	// The same page asks of the first event after the snapshot that lastUpdateId lie within [U;u].
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

// judgeLinked enforces Binance USDⓈ-M and COIN-M Futures, How to manage a local order book correctly:
//   - 4. "Drop any event where u is < lastUpdateId in the snapshot."
//   - 5. "The first processed event should have U <= lastUpdateId AND u >= lastUpdateId."
//   - 6. "While listening to the stream, each new event's pu should be equal to the previous event's
//     u, otherwise initialize the process from step 3."
//
// For the first event pu <= lastUpdateId stands in for U: it is true of every event that rule 5
// accepts, and of the direct successor of the snapshot (pu == lastUpdateId, U above it), which
// occurs live when the event that ends at the snapshot was sent before the connection existed.
func judgeLinked(id int64, fresh bool, u *Update) verdict {
	switch {
	case u.LastID < id, u.LastID == id && !fresh:
		return drop
	case u.PrevLastID > id:
		return gap
	}
	return apply
}

// sequenceError describes the gap that judge found.
func (c Continuity) sequenceError(id int64, u *Update) *SequenceError {
	if c == Linked {
		return &SequenceError{Want: id, Got: u.PrevLastID}
	}
	return &SequenceError{Want: id + 1, Got: u.FirstID}
}
