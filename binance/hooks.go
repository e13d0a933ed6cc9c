package binance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// Hooks observe a Client and the DepthSyncers on it. Any field may be nil. A hook runs on the
// goroutine that caused the event, after the state has changed, and hooks of different goroutines run at
// the same time. It must return soon, since its caller waits. It may call any method: see DepthSyncer. A shard is the connections that carry one
// group of symbols; its goroutine owns their books and calls the Handler.
type Hooks struct {
	ListingDone    func(ListingInfo)        // an attempt to list the symbols ended; the goroutine of Run, that of its polls, or that of a call of Add
	StatusChanged  func(StatusInfo)         // the exchange gives a symbol another status; the same
	SymbolsChanged func(SymbolsInfo)        // AllTrading has added or removed symbols, or leaves out others than before; the same
	ConnectDone    func(ConnectInfo)        // an attempt to open a connection ended; the connection's goroutine
	Subscribed     func(SubscribeInfo)      // every stream of a connection is acknowledged; the shard's goroutine
	Refused        func(RefuseInfo)         // the exchange refuses a symbol, alone, and is asked again later; the shard's goroutine
	Rotated        func(RotateInfo)         // a connection was replaced without a gap; the shard's goroutine
	Watchdog       func(WatchInfo)          // something that is open is not alive; the shard's goroutine
	TradeGap       func(TradeGapInfo)       // trades that no connection brought were fetched, or are missing; the shard's goroutine
	Disconnected   func(DisconnectInfo)     // an open connection ended; the shard's goroutine
	SnapshotDone   func(SnapshotInfo)       // a depth request ended; the request's goroutine
	RequestDone    func(RequestInfo)        // a REST request of the Client ended, also one for a snapshot; any goroutine that makes one
	Synced         func(SyncInfo)           // a book was synced; the shard's goroutine
	Audited        func(AuditInfo)          // the refresh of a book ended; the shard's goroutine
	Mismatch       func(MismatchInfo)       // a book differs from the exchange's bookTicker; the shard's goroutine
	Capped         func(CappedInfo)         // a book, or its ticker, has a quantity of orderbook.MaxFixed or more, the first since it was synced; the shard's goroutine
	Gap            func(GapInfo)            // a book is no longer synced, or updates that waited for its snapshot are lost; the shard's goroutine
	Dropped        func(DropInfo)           // frames were dropped since the queue to the books was full; the shard's goroutine
	Paused         func(late time.Duration) // a shard went on so late: the process was stopped, or the Handler took long; the shard's goroutine
	Throttled      func(ThrottleInfo)       // requests have to wait; a goroutine of its own
	DecodeFailed   func(DecodeInfo)         // a frame could not be decoded; the shard's goroutine
}

// A ListingInfo describes an attempt to list the exchange's symbols, which Run does first.
type ListingInfo struct {
	Symbols int      // listed
	Unread  int      // see ExchangeInfo
	Invalid []string // see ExchangeInfo
	Missing int      // symbols of the DepthSyncer that were listed before; they are delisted if the next listing, soon, lacks them too
	Elapsed time.Duration
	Err     error // if it is temporary, another attempt follows after a delay
}

// A StatusInfo describes a change of a symbol's status.
type StatusInfo struct {
	Instrument marketprism.Instrument
	From, To   string // "TRADING", "BREAK", …; "" if the symbol is not listed
}

// A SymbolsInfo names the symbols that AllTrading has added and removed.
type SymbolsInfo struct {
	Added, Removed []string
	Symbols        int // of the DepthSyncer now
	LeftOut        int // symbols that AllTrading chooses and SymbolFilter.Max leaves out
}

// A ConnectInfo describes an attempt to open a connection.
type ConnectInfo struct {
	Conn    int    // number of the connection within its DepthSyncer, from 0; the same after a reconnect
	Host    string // the URL without streams
	Attempt int    // from 1, counting on until a connection has lasted
	Elapsed time.Duration
	Err     error // nil if it is open
}

// A SubscribeInfo says that a connection has all its streams.
type SubscribeInfo struct {
	Conn    int
	Streams int
	Elapsed time.Duration // since the connection was opened
}

// A RefuseInfo describes a name that the exchange refuses: in a subscription, each time, or in the snapshots of
// a book, the first time. It is asked for again, less often each time; nothing else waits for it.
type RefuseInfo struct {
	Instrument marketprism.Instrument
	Stream     string        // "" if it is the snapshot
	Retry      time.Duration // until it is asked for again
	Err        error         // a *SubscribeError, or an *APIError of code -1121
}

// A RotateInfo describes the replacement of a connection by another one, which carries all its streams.
// The end of the old connection is reported by Disconnected, with ErrReplaced.
type RotateInfo struct {
	Conn    int // the same before and after
	Streams int
	Reason  RotateReason
	Age     time.Duration // of the old connection
	Overlap time.Duration // how long both were open
}

// A WatchInfo describes what a watchdog found; the reason says what is done about it.
type WatchInfo struct {
	Conn   int
	Stream string // "" if it is the whole connection
	Reason WatchReason
	Silent time.Duration
}

// A TradeGapInfo describes a missing range of trades, which no connection has brought.
type TradeGapInfo struct {
	Instrument      marketprism.Instrument
	Aggregate       bool
	FirstID, LastID int64 // the missing ids
	Backfilled      int   // how many of them were fetched, and are records
	Others          int   // how many are no trades of the market: the history of a futures market passes over them
	Elapsed         time.Duration
	Err             error // nil if none is left; ErrTradesMissing, or why they could not be fetched
}

// A DisconnectInfo describes the end of a connection.
type DisconnectInfo struct {
	Conn    int
	Host    string
	Symbols int // whose books no connection carries now
	Uptime  time.Duration
	Err     error // why: ErrSilent, ErrShutdown, ErrNoAck, ErrClosed if no symbol is left on it, a *SubscribeError, a *PanicError, an error of the network or of the Handler, or of Run's context
}

// A SnapshotInfo describes a depth request of a DepthSyncer.
type SnapshotInfo struct {
	Instrument marketprism.Instrument
	Priority   Priority // why it was made
	Limit      int      // levels a side that were requested
	Weight     int      // request weight
	LastID     int64    // update id of the answer
	Bids, Asks int      // levels in it
	Elapsed    time.Duration
	Err        error
}

// A RequestInfo describes a REST request that was sent.
type RequestInfo struct {
	Path    string        // the last part of it: "depth", "exchangeInfo", …
	Status  int           // HTTP status of the answer; 0 if none came
	Elapsed time.Duration // until the head of the answer, or the error
	Err     error         // also if the body could not be read; nil does not mean that it makes sense
}

// A SyncInfo says that a book was synced.
type SyncInfo struct {
	Instrument marketprism.Instrument
	LastID     int64         // of the snapshot
	Applied    int           // updates that waited for the snapshot and were applied to it
	Elapsed    time.Duration // since the book was last synced, or since its connection was opened
}

// An AuditInfo describes the result of a refresh: the comparison of a book with a fresh snapshot at one
// update id.
type AuditInfo struct {
	Instrument  marketprism.Instrument
	LastID      int64                  // update id of the comparison
	Compared    int                    // levels within the known depth of both
	Different   int                    // of these that were not equal
	Differences []orderbook.Difference // the first of them, with both quantities
	Swapped     bool                   // the fresh book replaced the running one, since it differed or is known to a greater depth
	Elapsed     time.Duration          // since the request could be sent
	Err         error                  // not nil if there was no comparison; the running book is unaffected
}

// A MismatchInfo says that a book, though no update is missing, does not have the best levels of the
// exchange's bookTicker at the same update id. A refresh follows; Audited has its result.
type MismatchInfo struct {
	Instrument marketprism.Instrument
	Ticker     marketprism.Ticker
	Bid, Ask   orderbook.Level // the book's; zero where a side is empty
	LastID     int64           // update id of both
}

// A CappedInfo says that a book has levels whose quantity is orderbook.MaxFixed, which means this or more: sums that
// contain them are not exact. It is the first message with such levels since the book was synced; Stats.Capped counts
// all.
type CappedInfo struct {
	Instrument marketprism.Instrument
	Levels     int // in that message
}

// A GapInfo says that a book is no longer synced.
type GapInfo struct {
	Instrument marketprism.Instrument
	Gap        orderbook.Gap
}

// A DropInfo counts the frames of a stream that were dropped by a full queue. A Gap follows if it is a
// depth stream.
type DropInfo struct {
	Conn   int
	Stream string // "" if it is not known; then every book of the connection is resynced
	Frames uint64
}

// A ThrottleInfo says that requests of a Client wait, once for each time until which they do.
type ThrottleInfo struct {
	Status int       // 429 or 418 if the exchange asks for it; 0 if a limit of the Budget is reached
	Until  time.Time // local clock
	Weight int       // of the first request that waits; 0 if it is a connection, or the answer that asked to wait
}

// A DecodeInfo describes a frame that could not be decoded. A Gap follows if it is of a depth stream.
type DecodeInfo struct {
	Conn int
	Err  error // a *DecodeError with the place and the data
}

// throttled calls the hook on a goroutine of its own: the one that uses the Budget may hold locks, or be needed by the
// requests that a hook makes.
func (h *Hooks) throttled(info ThrottleInfo) {
	if h.Throttled != nil {
		go h.Throttled(info)
	}
}

// TeeHooks returns Hooks that call those of every argument, in order. It ignores nil arguments.
func TeeHooks(hooks ...*Hooks) *Hooks {
	var all Hooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		all.ListingDone = hook.Join(all.ListingDone, h.ListingDone)
		all.StatusChanged = hook.Join(all.StatusChanged, h.StatusChanged)
		all.SymbolsChanged = hook.Join(all.SymbolsChanged, h.SymbolsChanged)
		all.ConnectDone = hook.Join(all.ConnectDone, h.ConnectDone)
		all.Subscribed = hook.Join(all.Subscribed, h.Subscribed)
		all.Refused = hook.Join(all.Refused, h.Refused)
		all.Rotated = hook.Join(all.Rotated, h.Rotated)
		all.Watchdog = hook.Join(all.Watchdog, h.Watchdog)
		all.TradeGap = hook.Join(all.TradeGap, h.TradeGap)
		all.Disconnected = hook.Join(all.Disconnected, h.Disconnected)
		all.SnapshotDone = hook.Join(all.SnapshotDone, h.SnapshotDone)
		all.RequestDone = hook.Join(all.RequestDone, h.RequestDone)
		all.Synced = hook.Join(all.Synced, h.Synced)
		all.Audited = hook.Join(all.Audited, h.Audited)
		all.Mismatch = hook.Join(all.Mismatch, h.Mismatch)
		all.Capped = hook.Join(all.Capped, h.Capped)
		all.Gap = hook.Join(all.Gap, h.Gap)
		all.Dropped = hook.Join(all.Dropped, h.Dropped)
		all.Paused = hook.Join(all.Paused, h.Paused)
		all.Throttled = hook.Join(all.Throttled, h.Throttled)
		all.DecodeFailed = hook.Join(all.DecodeFailed, h.DecodeFailed)
	}
	return &all
}

// LogHooks returns Hooks that log every event: failures as warnings, normal events as information,
// frequent ones as debugging.
func LogHooks(l *slog.Logger) *Hooks {
	log := func(level slog.Level, err error, msg string, attrs ...slog.Attr) {
		if errors.Is(err, ErrReplaced) || errors.Is(err, ErrClosed) {
			level = min(level, slog.LevelInfo) // another connection continues, or none is needed
		} else if errors.Is(err, context.Canceled) {
			level = min(level, slog.LevelDebug) // the program ends
		} else if err != nil {
			level = slog.LevelWarn
		}
		if err != nil {
			attrs = append(attrs, slog.Any("err", err))
			if p := (*PanicError)(nil); errors.As(err, &p) {
				attrs = append(attrs, slog.String("stack", string(p.Stack)))
			}
		}
		l.LogAttrs(context.Background(), level, "binance: "+msg, attrs...)
	}
	return &Hooks{
		ListingDone: func(i ListingInfo) {
			level := slog.LevelInfo
			if i.Unread > 0 {
				level = slog.LevelWarn
			}
			log(level, i.Err, "listing", slog.Int("symbols", i.Symbols), slog.Int("unread", i.Unread), slog.String("invalid", fmt.Sprintf("%q", i.Invalid)),
				slog.Int("missing", i.Missing), slog.Duration("elapsed", i.Elapsed))
		},
		StatusChanged: func(i StatusInfo) {
			log(slog.LevelWarn, nil, "status changed", slog.String("instrument", i.Instrument.String()), slog.String("from", i.From), slog.String("to", i.To))
		},
		SymbolsChanged: func(i SymbolsInfo) {
			level := slog.LevelInfo
			if i.LeftOut > 0 {
				level = slog.LevelError
			}
			log(level, nil, "symbols changed", slog.Any("added", i.Added), slog.Any("removed", i.Removed), slog.Int("symbols", i.Symbols),
				slog.Int("left_out", i.LeftOut))
		},
		ConnectDone: func(i ConnectInfo) {
			log(slog.LevelInfo, i.Err, "connect", slog.Int("conn", i.Conn), slog.String("host", i.Host),
				slog.Int("attempt", i.Attempt), slog.Duration("elapsed", i.Elapsed))
		},
		Subscribed: func(i SubscribeInfo) {
			log(slog.LevelInfo, nil, "subscribed", slog.Int("conn", i.Conn), slog.Int("streams", i.Streams),
				slog.Duration("elapsed", i.Elapsed))
		},
		Refused: func(i RefuseInfo) {
			log(slog.LevelWarn, i.Err, "refused", slog.String("instrument", i.Instrument.String()), slog.String("stream", i.Stream),
				slog.Duration("retry", i.Retry))
		},
		Rotated: func(i RotateInfo) {
			log(slog.LevelInfo, nil, "rotated", slog.Int("conn", i.Conn), slog.Int("streams", i.Streams),
				slog.Duration("age", i.Age), slog.Duration("overlap", i.Overlap), slog.String("reason", i.Reason.String()))
		},
		Watchdog: func(i WatchInfo) {
			log(slog.LevelWarn, nil, "watchdog", slog.Int("conn", i.Conn), slog.String("stream", i.Stream),
				slog.String("reason", i.Reason.String()), slog.Duration("silent", i.Silent))
		},
		TradeGap: func(i TradeGapInfo) {
			log(slog.LevelInfo, i.Err, "trade gap", slog.String("instrument", i.Instrument.String()), slog.Bool("aggregate", i.Aggregate),
				slog.Int64("first_id", i.FirstID), slog.Int64("last_id", i.LastID), slog.Int("filled", i.Backfilled), slog.Int("others", i.Others), slog.Duration("elapsed", i.Elapsed))
		},
		Disconnected: func(i DisconnectInfo) {
			log(slog.LevelInfo, i.Err, "disconnected", slog.Int("conn", i.Conn), slog.String("host", i.Host),
				slog.Int("symbols", i.Symbols), slog.Duration("uptime", i.Uptime))
		},
		SnapshotDone: func(i SnapshotInfo) {
			log(slog.LevelDebug, i.Err, "snapshot", slog.String("instrument", i.Instrument.String()), slog.String("priority", i.Priority.String()),
				slog.Int("limit", i.Limit),
				slog.Int("weight", i.Weight), slog.Int64("last_id", i.LastID), slog.Int("bids", i.Bids), slog.Int("asks", i.Asks),
				slog.Duration("elapsed", i.Elapsed))
		},
		RequestDone: func(i RequestInfo) {
			log(slog.LevelDebug, i.Err, "request", slog.String("path", i.Path), slog.Int("status", i.Status), slog.Duration("elapsed", i.Elapsed))
		},
		Synced: func(i SyncInfo) {
			log(slog.LevelInfo, nil, "synced", slog.String("instrument", i.Instrument.String()), slog.Int64("last_id", i.LastID),
				slog.Int("applied", i.Applied), slog.Duration("elapsed", i.Elapsed))
		},
		Audited: func(i AuditInfo) {
			level := slog.LevelDebug
			if i.Different > 0 {
				level = slog.LevelWarn
			}
			log(level, i.Err, "audited", slog.String("instrument", i.Instrument.String()), slog.Int64("last_id", i.LastID),
				slog.Int("compared", i.Compared), slog.Int("different", i.Different), slog.Any("differences", i.Differences),
				slog.Bool("swapped", i.Swapped), slog.Duration("elapsed", i.Elapsed))
		},
		Mismatch: func(i MismatchInfo) {
			log(slog.LevelWarn, nil, "mismatch", slog.String("instrument", i.Instrument.String()), slog.Int64("last_id", i.LastID),
				slog.Any("bid", i.Bid), slog.Any("ask", i.Ask), slog.Any("ticker", i.Ticker))
		},
		Capped: func(i CappedInfo) {
			log(slog.LevelInfo, nil, "capped", slog.String("instrument", i.Instrument.String()), slog.Int("levels", i.Levels))
		},
		Gap: func(i GapInfo) {
			log(slog.LevelWarn, i.Gap.Err, "gap", slog.String("instrument", i.Instrument.String()),
				slog.Int64("after", i.Gap.After), slog.String("reason", i.Gap.Reason.String()))
		},
		Dropped: func(i DropInfo) {
			log(slog.LevelWarn, nil, "dropped", slog.Int("conn", i.Conn), slog.String("stream", i.Stream), slog.Uint64("frames", i.Frames))
		},
		Paused: func(late time.Duration) { log(slog.LevelWarn, nil, "paused", slog.Duration("late", late)) },
		Throttled: func(i ThrottleInfo) {
			log(slog.LevelWarn, nil, "throttled", slog.Int("status", i.Status), slog.Time("until", i.Until), slog.Int("weight", i.Weight))
		},
		DecodeFailed: func(i DecodeInfo) {
			log(slog.LevelWarn, i.Err, "decode failed", slog.Int("conn", i.Conn))
		},
	}
}
