package bookfeed

import (
	"context"
	"log/slog"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
)

// Hooks observe a Feed. Any field may be nil. They are called by the goroutine of an
// instrument, so by several at once, with no lock held and after Status has changed, and must not
// block: what they hold up is the instrument's book.
type Hooks struct {
	Synced       func(SyncedInfo)              // a book is known, and has caught up with the stream
	Lost         func(LostInfo)                // a book is not known any more, or may be behind
	Audited      func(AuditInfo)               // a book was compared with a later snapshot on the bus
	ServerFailed func(ServerFailedInfo)        // the server did not give messages; it will be asked again
	Undecodable  func(natsbus.UndecodableInfo) // a message is no record; the book goes on only if the ids prove that it can
}

// SyncedInfo describes a book that became known.
type SyncedInfo struct {
	Instrument marketprism.Instrument
	LastID     int64  // update id of the book
	Sequence   uint64 // in the stream, of the last message read
}

// LostInfo describes a book that stopped being known.
type LostInfo struct {
	Instrument marketprism.Instrument
	LastID     int64         // update id of the book
	Gap        orderbook.Gap // Reason is 0 if only the bus is away
}

// AuditInfo describes a comparison of a book with a snapshot of the same update id.
type AuditInfo struct {
	Instrument marketprism.Instrument
	Audit      orderbook.Audit // Different is 0 unless the book was wrong; it was replaced if so
}

// ServerFailedInfo is the natsbus.ServerFailedInfo of one instrument.
type ServerFailedInfo struct {
	Instrument marketprism.Instrument
	natsbus.ServerFailedInfo
}

// TeeHooks returns Hooks that call each of hooks, in order. Nil ones are left out.
func TeeHooks(hooks ...*Hooks) *Hooks {
	var all Hooks
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

// LogHooks returns Hooks that log: what is sound at debug or info level, what is waited out at
// warn, and what is wrong at error. The log handler must not block.
func LogHooks(l *slog.Logger) *Hooks {
	return &Hooks{
		Synced: func(i SyncedInfo) {
			l.Info("book from the bus is synced", "instrument", i.Instrument, "last_id", i.LastID, "sequence", i.Sequence)
		},
		Lost: func(i LostInfo) {
			l.Warn("book from the bus is not known", "instrument", i.Instrument, "last_id", i.LastID, "reason", i.Gap.Reason, "err", i.Gap.Err)
		},
		Audited: func(i AuditInfo) {
			level := slog.LevelDebug
			if i.Audit.Different > 0 {
				level = slog.LevelError
			}
			l.Log(context.Background(), level, "book from the bus is audited", "instrument", i.Instrument, "last_id", i.Audit.LastID,
				"compared", i.Audit.Compared, "different", i.Audit.Different)
		},
		ServerFailed: func(i ServerFailedInfo) {
			l.Warn("server does not answer", "instrument", i.Instrument, "attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
		Undecodable: func(i natsbus.UndecodableInfo) {
			l.Error("message is no record", "stream", i.Stream, "sequence", i.Sequence, "subject", i.Subject, "err", i.Err)
		},
	}
}
