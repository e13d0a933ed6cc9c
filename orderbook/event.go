package orderbook

import (
	"errors"
	"fmt"
	"time"
)

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

// ErrGapReason is the error of ParseGapReason for an unknown name.
var ErrGapReason = errors.New("orderbook: unknown gap reason")

// A SequenceError tells which update id was wanted and which came. For contiguous ids Want is the
// first id that had to be covered and Got the update's FirstID; for linked ids they are the book's
// id and the update's PrevLastID.
type SequenceError struct {
	Want, Got int64
}

func (e *SequenceError) Error() string {
	return fmt.Sprintf("orderbook: update id %d wanted, %d came", e.Want, e.Got)
}

// A State says how far a book can be trusted.
type State uint8

const (
	// Offline: there is no feed. The book is not known.
	Offline State = iota
	// Buffering: updates come in and wait for a snapshot. The book is not known.
	Buffering
	// Synced: the book is the exchange's book at its update id.
	Synced
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Offline:
		return "offline"
	case Buffering:
		return "buffering"
	case Synced:
		return "synced"
	}
	return "unknown"
}

// An Event is one step in the life of a book. Exactly one field is set.
type Event struct {
	Snapshot *Snapshot // the book is known from here on; if it was known already, this is the same book from a refresh
	Update   *Update   // the book changed
	Gap      *Gap      // the book is not known until the next Snapshot

	ReceivedAt time.Time // of an Update: when it was received, which may be long before its snapshot; else zero
}

// A FetchID numbers a request for a snapshot; 0 is none.
type FetchID uint64

// An Output tells the driver of a Syncer what to do. It is read-only and valid until the next call.
type Output struct {
	Events []Event // hand them on, in order
	Fetch  FetchID // if not 0, request one snapshot and answer with this id; any earlier request is void. In state Synced it is for a refresh
	Audit  *Audit  // if not nil, a refresh ended
}

// SyncerStats counts what a Syncer did since it was made.
type SyncerStats struct {
	Received  uint64 // updates given to Update
	Applied   uint64 // updates emitted
	Dropped   uint64 // updates the book already held
	Gaps      uint64 // Gap events emitted
	Fetches   uint64 // snapshots asked for
	Snapshots uint64 // snapshots installed, and Swaps
	TooOld    uint64 // snapshots refused for being older than the first waiting update, or perhaps than a loss, or than the first update kept for a refresh
	Discarded uint64 // updates thrown away: invalid or without a connection; waiting ones at a disconnect, a full buffer or a Resync
	Buffered  int    // updates waiting at present

	Refreshes   uint64 // begun; each one that is not under way any more is in Audits or in Abandoned
	Audits      uint64 // refreshes that compared the book with a fresh one
	Abandoned   uint64 // refreshes that did not
	Differences uint64 // levels found different
	Swaps       uint64 // Snapshot events from a refresh
	Kept        int    // updates kept at present for a refresh
}
