package binance

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Hooks observe a Client and the DepthSyncers on it. Any field may be nil. A hook runs on the
// goroutine that caused the event, after the state has changed, several at a time on different
// goroutines; it must return soon, for what called it waits.
type Hooks struct {
	ListingDone  func(ListingInfo)    // an attempt to learn which symbols exist ended; the goroutine of Run
	ConnectDone  func(ConnectInfo)    // an attempt to open a connection ended; the connection's goroutine
	Subscribed   func(SubscribeInfo)  // every stream of a connection is acknowledged; the connection's goroutine
	Disconnected func(DisconnectInfo) // an open connection ended; the connection's goroutine
	SnapshotDone func(SnapshotInfo)   // a depth request ended; the goroutine of the request
	Synced       func(SyncInfo)       // a book became known; the connection's goroutine
	Gap          func(GapInfo)        // a book stopped being known, or what waited for its snapshot was lost; the connection's goroutine
	Dropped      func(DropInfo)       // frames were dropped since the queue to the books was full; the connection's goroutine
	Throttled    func(ThrottleInfo)   // requests have to wait; the goroutine of a request
	DecodeFailed func(DecodeInfo)     // a frame made no sense; the connection's goroutine
}

// A ListingInfo tells of an attempt to learn which symbols the exchange lists, which Run does first.
type ListingInfo struct {
	Symbols int // listed
	Elapsed time.Duration
	Err     error // if it is one that may pass, the next attempt follows after a delay
}

// A ConnectInfo tells of an attempt to open a connection.
type ConnectInfo struct {
	Conn    int    // number of the connection within its DepthSyncer, from 0; the same after a reconnect
	Host    string // the URL without streams
	Attempt int    // from 1, counting on until a connection has lasted
	Elapsed time.Duration
	Err     error // nil if it is open
}

// A SubscribeInfo tells that a connection has all its streams.
type SubscribeInfo struct {
	Conn    int
	Streams int
	Elapsed time.Duration // since the connection was opened
}

// A DisconnectInfo tells of the end of a connection.
type DisconnectInfo struct {
	Conn    int
	Host    string
	Symbols int // how many are cut off
	Uptime  time.Duration
	Err     error // why: ErrSilent, ErrShutdown, ErrNoAck, a *SubscribeError, what the network or the handler said, or the error of Run's context
}

// A SnapshotInfo tells of a depth request that a DepthSyncer made.
type SnapshotInfo struct {
	Instrument marketprism.Instrument
	Limit      int   // levels a side that were asked for
	Weight     int   // request weight
	LastID     int64 // update id of the answer
	Bids, Asks int   // levels in it
	Elapsed    time.Duration
	Err        error
}

// A SyncInfo tells that a book is known.
type SyncInfo struct {
	Instrument marketprism.Instrument
	LastID     int64         // of the snapshot
	Applied    int           // updates that had waited for the snapshot and were applied to it
	Elapsed    time.Duration // since the book was last known, or since its connection was opened
}

// A GapInfo tells that a book is no longer known.
type GapInfo struct {
	Instrument marketprism.Instrument
	Gap        orderbook.Gap
}

// A DropInfo tells how many frames of a stream were lost to a full queue. If it is a depth stream, a
// Gap follows.
type DropInfo struct {
	Conn   int
	Stream string // "" if the frames did not tell; then every book of the connection is resynced
	Frames uint64
}

// A ThrottleInfo tells that requests wait.
type ThrottleInfo struct {
	Status int       // 429 or 418 if the exchange asks for it; 0 if the request weight of the minute is used up
	Until  time.Time // local clock
	Weight int       // of the request that waits; 0 if it is the answer that closed the gate
}

// A DecodeInfo tells of a frame that made no sense. If it is one of a depth stream, a Gap follows.
type DecodeInfo struct {
	Conn int
	Err  error // a *DecodeError with the place and the data
}

func (h *Hooks) throttled(info ThrottleInfo) { call(h.Throttled, info) }

func call[T any](hook func(T), info T) {
	if hook != nil {
		hook(info)
	}
}
