package orderbook

import "time"

// A Level is one price of one side of a book and the quantity resting there. In an Update quantity 0
// removes the level; in a Snapshot and in a Book it does not occur.
type Level struct {
	Price, Quantity Fixed
}

// An Update is one diff of the exchange: the absolute new quantities of the levels that changed.
//
// Ids are the venue's and signed. Levels come in any order; a price may stand for several changes
// merged by the venue. Both sides may be empty: the update then only advances the id.
type Update struct {
	FirstID, LastID int64 // the inclusive range of update ids it covers (Binance U and u)
	PrevLastID      int64 // LastID of the update before it (Binance futures pu); 0 where the venue sends none

	EventTime    time.Time // exchange clock, when it was sent (Binance E)
	TransactTime time.Time // exchange clock of the matching engine (Binance T); zero where the venue sends none

	Bids, Asks []Level
}

// Clone returns a copy of u that shares no memory with it.
func (u *Update) Clone() *Update {
	c := *u
	c.Bids, c.Asks = cloneSides(u.Bids, u.Asks)
	return &c
}

// A Snapshot is the state of a book at one update id. Levels beyond a side's bound are right too, but
// there can be others.
type Snapshot struct {
	LastID int64 // the update id up to which it is complete; -1 for an instrument that never had one

	EventTime    time.Time // exchange clock; zero where the venue does not say (Binance spot)
	TransactTime time.Time // exchange clock of the matching engine; zero where the venue sends none

	Bids, Asks []Level // best first, quantities not 0

	BidBound, AskBound Bound // how far the sides are known; zero: to their end. SetLimit sets them
}

// Clone returns a copy of s that shares no memory with it.
func (s *Snapshot) Clone() *Snapshot {
	c := *s
	c.Bids, c.Asks = cloneSides(s.Bids, s.Asks)
	return &c
}

// cloneSides copies both sides into one allocation. The capacity of the first part ends at its
// length, so that appending to it cannot reach the second.
func cloneSides(bids, asks []Level) (b, a []Level) {
	both := make([]Level, len(bids)+len(asks))
	n := copy(both, bids)
	copy(both[n:], asks)
	return both[:n:n], both[n:]
}

// A Gap says that a book is not known from here on: what follows it, up to the next Snapshot, was
// missed or cannot be trusted.
type Gap struct {
	After  int64 // the last update id before the hole; 0 if the book was never known
	Reason GapReason
	Err    error // the cause in detail; may be nil. One read back from a bus or a store is a Cause
}

// A GapReason is why a book stopped being known.
type GapReason uint8

// The reasons of a Gap. Their numbers and names are stored: they never change.
const (
	GapSequence   GapReason = 1 // an update id was skipped; Err is a *SequenceError
	GapDisconnect GapReason = 2 // the connection ended
	GapOverflow   GapReason = 3 // a bounded buffer or queue was full
	GapRegressed  GapReason = 4 // the venue's ids went back and stayed there
	GapRemoved    GapReason = 5 // the symbol is no longer followed
	GapStale      GapReason = 6 // the feed was silent for too long, or a watchdog gave it up
	GapInvalid    GapReason = 7 // data came that could not be decoded or believed
)

var gapReasons = [...]string{
	GapSequence: "sequence", GapDisconnect: "disconnect", GapOverflow: "overflow", GapRegressed: "regressed",
	GapRemoved: "removed", GapStale: "stale", GapInvalid: "invalid",
}

// String returns the reason's one-word name, "unknown" for a value that is none of the constants.
func (r GapReason) String() string {
	if r == 0 || int(r) >= len(gapReasons) {
		return "unknown"
	}
	return gapReasons[r]
}

// ParseGapReason is the inverse of String. Its error is ErrGapReason.
func ParseGapReason(s string) (GapReason, error) {
	for r, name := range gapReasons {
		if name == s && name != "" {
			return GapReason(r), nil
		}
	}
	return 0, ErrGapReason
}

// A Cause is the text of an error that crossed a process border, where its type was lost.
type Cause string

func (c Cause) Error() string { return string(c) }
