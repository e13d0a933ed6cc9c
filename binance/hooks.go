package binance

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// Hooks observe a Client and the DepthSyncers on it. Any field may be nil. A hook runs on the
// goroutine that caused the event, after the state has changed, several at a time on different
// goroutines; it must return soon, for what called it waits.
type Hooks struct {
	ListingDone    func(ListingInfo)    // an attempt to learn which symbols exist ended; the goroutine of Run
	StatusChanged  func(StatusInfo)     // the exchange gives a symbol another status; the goroutine of Run
	SymbolsChanged func(SymbolsInfo)    // AllTrading has led to other symbols; the goroutine of Run
	ConnectDone    func(ConnectInfo)    // an attempt to open a connection ended; the connection's goroutine
	Subscribed     func(SubscribeInfo)  // every stream of a connection is acknowledged; the connection's goroutine
	Rotated        func(RotateInfo)     // a connection was replaced without a gap; the owner of its books
	Watchdog       func(WatchInfo)      // something that is open is not alive; the owner of the connection's books
	TradeGap       func(TradeGapInfo)   // trades that no connection brought were fetched, or are missing; the owner of the connection's books
	Disconnected   func(DisconnectInfo) // an open connection ended; the connection's goroutine
	SnapshotDone   func(SnapshotInfo)   // a depth request ended; the goroutine of the request
	Synced         func(SyncInfo)       // a book became known; the connection's goroutine
	Audited        func(AuditInfo)      // the refresh of a book ended; the owner of its connection
	Mismatch       func(MismatchInfo)   // a book differs from the exchange's bookTicker; the owner of its connection
	Gap            func(GapInfo)        // a book stopped being known, or what waited for its snapshot was lost; the connection's goroutine
	Dropped        func(DropInfo)       // frames were dropped since the queue to the books was full; the connection's goroutine
	Throttled      func(ThrottleInfo)   // requests have to wait; any goroutine that uses the Budget
	DecodeFailed   func(DecodeInfo)     // a frame made no sense; the connection's goroutine
}

// A ListingInfo tells of an attempt to learn which symbols the exchange lists, which Run does first.
type ListingInfo struct {
	Symbols int // listed
	Elapsed time.Duration
	Err     error // if it is one that may pass, the next attempt follows after a delay
}

// A StatusInfo tells that the exchange gives a symbol that is followed another status.
type StatusInfo struct {
	Instrument marketprism.Instrument
	From, To   string // "TRADING", "BREAK", …; "" for one that is not listed
}

// A SymbolsInfo tells that symbols are followed, or no longer followed, because of AllTrading.
type SymbolsInfo struct {
	Added, Removed []string
	Symbols        int // followed now
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

// A RotateInfo tells that a connection was replaced by another one, which carries all its streams. The
// end of the old one follows from Disconnected, with ErrReplaced.
type RotateInfo struct {
	Conn    int // the same before and after
	Streams int
	Reason  RotateReason
	Age     time.Duration // of the old connection
	Overlap time.Duration // how long both were open
}

// A WatchInfo tells what a watchdog found, and so what is done about it.
type WatchInfo struct {
	Conn   int
	Stream string // "" if it is the whole connection
	Reason WatchReason
	Silent time.Duration
}

// A TradeGapInfo tells of trades that no connection has brought.
type TradeGapInfo struct {
	Instrument      marketprism.Instrument
	Aggregate       bool
	FirstID, LastID int64 // the ids missing
	Backfilled      int   // how many of them were fetched, and are records
	Elapsed         time.Duration
	Err             error // nil if all were; ErrTradesMissing, or why they could not be fetched
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
	Priority   Priority // why it was made
	Limit      int      // levels a side that were asked for
	Weight     int      // request weight
	LastID     int64    // update id of the answer
	Bids, Asks int      // levels in it
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

// An AuditInfo tells how the refresh of a book ended: what came of comparing it with a fresh snapshot at
// one update id.
type AuditInfo struct {
	Instrument  marketprism.Instrument
	LastID      int64                  // update id of the comparison
	Compared    int                    // levels within what both knew
	Different   int                    // of these that were not equal
	Differences []orderbook.Difference // the first of them, with both quantities
	Swapped     bool                   // the fresh book took the place of the running one, since it differed or is known further
	Elapsed     time.Duration          // since the request could be sent
	Err         error                  // not nil if there was no comparison; the book is none the worse for it
}

// A MismatchInfo tells that a book, though no update is missing, does not have the best levels that the
// exchange's bookTicker has at the same update id. A refresh is asked for; Audited tells what came of it.
type MismatchInfo struct {
	Instrument marketprism.Instrument
	Ticker     marketprism.Ticker
	Bid, Ask   orderbook.Level // the book's; zero where a side is empty
	LastID     int64           // update id of both
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

// A ThrottleInfo tells that requests of a Client wait, once for each time until which they do.
type ThrottleInfo struct {
	Status int       // 429 or 418 if the exchange asks for it; 0 if a limit of the Budget is reached
	Until  time.Time // local clock
	Weight int       // of the first request that waits; 0 if it is a connection, or the answer that asked to wait
}

// A DecodeInfo tells of a frame that made no sense. If it is one of a depth stream, a Gap follows.
type DecodeInfo struct {
	Conn int
	Err  error // a *DecodeError with the place and the data
}

func (h *Hooks) throttled(info ThrottleInfo) { hook.Call(h.Throttled, info) }
