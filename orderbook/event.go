package orderbook

import (
	"errors"
	"fmt"
	"time"
)

// A Gap says that a book is not synced from here on: updates are missing or cannot be trusted, up to the
// next Snapshot.
type Gap struct {
	// After is the last update id before the missing range; 0 if the book was never synced. Where a queue has lost a record
	// and does not know the book's id, it is the id of what was lost: the book is not synced from there on at the latest.
	After  int64
	Reason GapReason
	Err    error // the cause in detail; may be nil. One read back from a bus or a store is a Cause
}

// A GapReason is why a book is no longer synced.
type GapReason uint8

// The reasons of a Gap. Their numbers and names are stored: they never change.
const (
	GapSequence   GapReason = 1 // an update id was skipped; Err is a *SequenceError
	GapDisconnect GapReason = 2 // the connection ended
	GapOverflow   GapReason = 3 // a bounded buffer or queue was full
	GapRegressed  GapReason = 4 // the venue's ids went back and stayed there
	GapRemoved    GapReason = 5 // the symbol was removed from the driver
	GapStale      GapReason = 6 // no data came for too long, or a watchdog rejected the book
	GapInvalid    GapReason = 7 // data could not be decoded or was implausible
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

// ErrGapReason is the error of ParseGapReason for an unknown name.
var ErrGapReason = errors.New("orderbook: unknown gap reason")

// A Cause is the text of an error that crossed a process border, where its type was lost.
type Cause string

func (c Cause) Error() string { return string(c) }

// A SequenceError names the update id that was expected and the one that came. For Contiguous ids Want is
// the first id after the book's and Got the update's FirstID; for Linked ids they are the book's id and
// the update's PrevLastID.
type SequenceError struct {
	Want, Got int64
}

func (e *SequenceError) Error() string {
	return fmt.Sprintf("orderbook: update id %d wanted, %d came", e.Want, e.Got)
}

// A State says how far a book can be trusted.
type State uint8

const (
	// Offline: there is no connection, and the book is not synced.
	Offline State = iota
	// Buffering: updates come and wait for a snapshot. The book is not synced.
	Buffering
	// Synced: the book equals the exchange's book at its update id.
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

// An Event is one step in the life of a book. Exactly one of Snapshot, Update and Gap is set.
type Event struct {
	Snapshot *Snapshot // the book is synced from here on; if it was synced already, this is the same book after a refresh
	Update   *Update   // the book changed
	Gap      *Gap      // the book is not synced until the next Snapshot

	// ReceivedAt is when an Update was received, which may be long before its snapshot; zero for other
	// events of a Syncer.
	ReceivedAt time.Time
}

// A FetchID numbers a request for a snapshot; 0 is none.
type FetchID uint64

// An Output is what the driver of a Syncer must do next. It is read-only and valid until the next call.
type Output struct {
	Events []Event // pass them on, in order
	Fetch  FetchID // if not 0, request one snapshot and answer with this id; any earlier request is void. In state Synced it is for a refresh
	Audit  *Audit  // if not nil, a refresh ended
}

// SyncerStats counts the calls and events of a Syncer.
type SyncerStats struct {
	Received  uint64 // updates given to Update
	Applied   uint64 // updates emitted
	Dropped   uint64 // updates that the book had already
	Gaps      uint64 // Gap events emitted
	Fetches   uint64 // snapshots requested
	Snapshots uint64 // snapshots installed, and Swaps
	TooOld    uint64 // snapshots refused as older than the first pending update, than the first update kept for a refresh, or perhaps than a loss
	Discarded uint64 // updates thrown away: invalid or without a connection; pending ones at a disconnect, a full buffer or a Resync
	Buffered  int    // updates pending now

	Refreshes   uint64 // begun; each ends in Audits or in Abandoned
	Audits      uint64 // refreshes that compared the book with a fresh one
	Abandoned   uint64 // refreshes that ended without a comparison
	Differences uint64 // levels that differed
	Swaps       uint64 // Snapshot events from a refresh
	Kept        int    // updates kept now for a refresh
}

// countAudit counts an Audit that compared two books.
func (s *SyncerStats) countAudit(a *Audit) {
	s.Audits++
	s.Differences += uint64(a.Different)
	if a.Swapped {
		s.Swaps++
	}
}
