package natsbus

import (
	"context"
	"log/slog"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// FeedHooks observe a DepthFeed. Any field may be nil. They are called by the goroutine of an
// instrument, so by several at once, with no lock held and after Status has changed, and must not
// block: what they hold up is the instrument's book.
type FeedHooks struct {
	Synced       func(FeedSyncedInfo)  // a book is known, and has caught up with the stream
	Lost         func(FeedLostInfo)    // a book is not known any more, or may be behind
	Audited      func(FeedAuditInfo)   // a book was compared with a later snapshot on the bus
	ServerFailed func(FeedFailedInfo)  // the server did not give messages; it will be asked again
	Undecodable  func(UndecodableInfo) // a message is no record; the book goes on only if the ids prove that it can
}

// FeedSyncedInfo describes a book that became known.
type FeedSyncedInfo struct {
	Instrument marketprism.Instrument
	LastID     int64  // update id of the book
	Sequence   uint64 // in the stream, of the last message read
}

// FeedLostInfo describes a book that stopped being known.
type FeedLostInfo struct {
	Instrument marketprism.Instrument
	LastID     int64         // update id of the book
	Gap        orderbook.Gap // Reason is 0 if only the bus is away
}

// FeedAuditInfo describes a comparison of a book with a snapshot of the same update id.
type FeedAuditInfo struct {
	Instrument marketprism.Instrument
	Audit      orderbook.Audit // Different is 0 unless the book was wrong; it was replaced if so
}

// FeedFailedInfo is the ServerFailedInfo of one instrument.
type FeedFailedInfo struct {
	Instrument marketprism.Instrument
	ServerFailedInfo
}

// TeeFeedHooks returns FeedHooks that call each of hooks, in order. Nil ones are left out.
func TeeFeedHooks(hooks ...*FeedHooks) *FeedHooks {
	var all FeedHooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		all.Synced = hook.Join(all.Synced, h.Synced)
		all.Lost = hook.Join(all.Lost, h.Lost)
		all.Audited = hook.Join(all.Audited, h.Audited)
		all.ServerFailed = hook.Join(all.ServerFailed, h.ServerFailed)
		all.Undecodable = hook.Join(all.Undecodable, h.Undecodable)
	}
	return &all
}

// LogFeedHooks returns FeedHooks that log: what is sound at debug or info level, what is waited out at
// warn, and what is wrong at error. The log handler must not block.
func LogFeedHooks(l *slog.Logger) *FeedHooks {
	return &FeedHooks{
		Synced: func(i FeedSyncedInfo) {
			l.Info("book from the bus is synced", "instrument", i.Instrument, "last_id", i.LastID, "sequence", i.Sequence)
		},
		Lost: func(i FeedLostInfo) {
			l.Warn("book from the bus is not known", "instrument", i.Instrument, "last_id", i.LastID, "reason", i.Gap.Reason, "err", i.Gap.Err)
		},
		Audited: func(i FeedAuditInfo) {
			level := slog.LevelDebug
			if i.Audit.Different > 0 {
				level = slog.LevelError
			}
			l.Log(context.Background(), level, "book from the bus is audited", "instrument", i.Instrument, "last_id", i.Audit.LastID,
				"compared", i.Audit.Compared, "different", i.Audit.Different)
		},
		ServerFailed: func(i FeedFailedInfo) {
			l.Warn("server does not answer", "instrument", i.Instrument, "attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
		Undecodable: func(i UndecodableInfo) {
			l.Error("message is no record", "stream", i.Stream, "sequence", i.Sequence, "subject", i.Subject, "err", i.Err)
		},
	}
}
