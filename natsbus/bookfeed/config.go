package bookfeed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/signature"
	"github.com/marketprism/marketprism/orderbook"
)

// A Config names the instruments of a Feed and sets its bounds. Only Instruments is required.
type Config struct {
	Prefix string // of the subjects; "" means natsbus.DefaultPrefix
	Stream string // "" means the name that natsbus.BooksStream gives

	// Instruments share one consumer on the server. Up to 32 are listed in its filter. For more it reads the whole
	// stream, and the feed leaves out what it does not need: the server is several times slower with a filter. While it
	// joins, a feed has up to four consumers. A server allows 1000 a stream by default (max_consumers), for all feeds
	// together; beyond that, a feed waits for room.
	Instruments []marketprism.Instrument

	// Handler receives the Snapshot, Update and Gap records that make up the books, one call at a time; nil means
	// none. The record and the values that it points to are valid until Handler returns. Handler is also called with
	// the records before the book has caught up with the stream. It may call any method; View and Status show the book
	// after all records of one message. An error that it returns stops Run. ReceivedAt and Origin are those of the
	// message that caused the record.
	//
	// ctx has the values of Run's context and ends five seconds after it, so that the handler can finish
	// the current record and the Gap records that end every synced book.
	Handler func(ctx context.Context, rec *marketprism.Record) error

	// MaxDepth bounds the levels of a side of a book. 0 means 10,000, negative means no bound.
	MaxDepth int
	// MaxPending and MaxPendingBytes bound the updates of an instrument that wait for a snapshot. 0 means 4096
	// updates and 16 MiB.
	MaxPending      int
	MaxPendingBytes int
	// MaxStale is the number of updates in a row below the book's id after which the venue's ids count as gone back. 0
	// means 512, negative means any number.
	MaxStale int

	// MaxJump is by how much an update id may exceed that of the book. A snapshot or an update with a higher one is no
	// record: a book that believed it would take every later update for an old one. 0 means 10^12, about what the futures
	// markets count in a year; negative means any number. The first id of a Feed may be any.
	MaxJump int64

	// Verifier refuses messages that none of its keys has signed. nil means that every message will do.
	Verifier *signature.Verifier

	// Lookback is how long before the last snapshot the reading begins, by the clock of the server: with several
	// collectors the updates that follow a snapshot may be stored before it. 0 means 5 s, negative means at the
	// snapshot.
	Lookback time.Duration

	// CatchUp is how long a book may be behind a snapshot on the bus, whose updates another collector may still
	// publish, until the feed continues from the snapshot. 0 means 1 s.
	CatchUp time.Duration

	// RetryMin and RetryMax bound the random delay before a request to the server is repeated: its bound doubles from
	// the first to the second. 0 means 200 ms and 30 s.
	RetryMin, RetryMax time.Duration

	Hooks *Hooks // nil means none
}

func (cfg Config) withDefaults() (Config, error) {
	defaults.Set(&cfg.Prefix, natsbus.DefaultPrefix)
	if err := check.Prefix(cfg.Prefix); err != nil {
		return cfg, fmt.Errorf("bookfeed: %w", err)
	}
	defaults.Set(&cfg.Stream, natsbus.BooksStream(cfg.Prefix))
	if err := check.Names("Stream", cfg.Stream); err != nil {
		return cfg, fmt.Errorf("bookfeed: %w", err)
	}
	if len(cfg.Instruments) == 0 {
		return cfg, errors.New("bookfeed: Instruments is empty")
	}
	seen := make(map[marketprism.Instrument]bool, len(cfg.Instruments))
	for _, instrument := range cfg.Instruments {
		if seen[instrument] {
			return cfg, fmt.Errorf("bookfeed: Instruments: %s is named twice", instrument)
		}
		seen[instrument] = true
	}
	defaults.Set(&cfg.Lookback, 5*time.Second)
	defaults.Set(&cfg.CatchUp, time.Second)
	if cfg.CatchUp < 0 {
		return cfg, fmt.Errorf("bookfeed: CatchUp %v: want a positive time", cfg.CatchUp)
	}
	defaults.Set(&cfg.MaxDepth, 10_000)
	defaults.Set(&cfg.MaxJump, 1_000_000_000_000)
	if cfg.Hooks == nil {
		cfg.Hooks = &Hooks{}
	}
	if err := check.Retry(&cfg.RetryMin, &cfg.RetryMax, 200*time.Millisecond, 30*time.Second); err != nil {
		return cfg, fmt.Errorf("bookfeed: %w", err)
	}
	return cfg, nil
}

// Hooks observe a Feed. Any field may be nil. They are called by several goroutines at once, for one instrument one at a
// time, with no lock held and after Status has changed, and must not block: they would delay the books.
type Hooks struct {
	Synced       func(SyncedInfo)               // a book is synced, and has caught up with the stream
	Lost         func(LostInfo)                 // a book is not synced any more, or may be behind
	Audited      func(AuditInfo)                // a book was compared with a later snapshot on the bus
	ServerFailed func(natsbus.ServerFailedInfo) // the server did not answer a request, which will be repeated; no book is synced
	Undecodable  func(natsbus.UndecodableInfo)  // a message is no record, is not signed, or has an unbelievable id; the book continues only if the ids prove that nothing is missing
}

// SyncedInfo describes a book that became synced.
type SyncedInfo struct {
	Instrument marketprism.Instrument
	LastID     int64  // update id of the book
	Sequence   uint64 // in the stream, of the last message read
}

// LostInfo describes a book that is not synced any more.
type LostInfo struct {
	Instrument marketprism.Instrument
	LastID     int64         // update id of the book
	Gap        orderbook.Gap // Reason is 0 for an outage of the bus
}

// AuditInfo describes a comparison of a book with a snapshot of the same update id.
type AuditInfo struct {
	Instrument marketprism.Instrument
	Audit      orderbook.Audit // Different is more than 0 if the book was wrong, and has been replaced
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

// LogHooks returns Hooks that log: progress at debug or info level, passing failures at warn, and errors in the data at
// error. The log handler must not block.
func LogHooks(l *slog.Logger) *Hooks {
	return &Hooks{
		Synced: func(i SyncedInfo) {
			l.Info("book from the bus is synced", "instrument", i.Instrument, "last_id", i.LastID, "sequence", i.Sequence)
		},
		Lost: func(i LostInfo) {
			l.Warn("book from the bus is lost", "instrument", i.Instrument, "last_id", i.LastID, "reason", i.Gap.Reason, "err", i.Gap.Err)
		},
		Audited: func(i AuditInfo) {
			level := slog.LevelDebug
			if i.Audit.Different > 0 {
				level = slog.LevelError
			}
			l.Log(context.Background(), level, "book from the bus is audited", "instrument", i.Instrument, "last_id", i.Audit.LastID,
				"compared", i.Audit.Compared, "different", i.Audit.Different)
		},
		ServerFailed: func(i natsbus.ServerFailedInfo) {
			l.Warn("server does not answer", "attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
		Undecodable: func(i natsbus.UndecodableInfo) {
			l.Error("message is no record", "stream", i.Stream, "sequence", i.Sequence, "subject", i.Subject, "err", i.Err)
		},
	}
}
