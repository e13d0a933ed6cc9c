package binance

import (
	"context"
	"errors"
	"log/slog"

	"github.com/marketprism/marketprism/internal/hook"
)

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
		all.Rotated = hook.Join(all.Rotated, h.Rotated)
		all.Watchdog = hook.Join(all.Watchdog, h.Watchdog)
		all.TradeGap = hook.Join(all.TradeGap, h.TradeGap)
		all.Disconnected = hook.Join(all.Disconnected, h.Disconnected)
		all.SnapshotDone = hook.Join(all.SnapshotDone, h.SnapshotDone)
		all.Synced = hook.Join(all.Synced, h.Synced)
		all.Audited = hook.Join(all.Audited, h.Audited)
		all.Mismatch = hook.Join(all.Mismatch, h.Mismatch)
		all.Gap = hook.Join(all.Gap, h.Gap)
		all.Dropped = hook.Join(all.Dropped, h.Dropped)
		all.Throttled = hook.Join(all.Throttled, h.Throttled)
		all.DecodeFailed = hook.Join(all.DecodeFailed, h.DecodeFailed)
	}
	return &all
}

// LogHooks returns Hooks that log every event: failures as warnings, normal events as information,
// frequent ones as debugging.
func LogHooks(l *slog.Logger) *Hooks {
	log := func(level slog.Level, err error, msg string, attrs ...slog.Attr) {
		if errors.Is(err, ErrReplaced) || errors.Is(err, context.Canceled) {
			level = min(level, slog.LevelInfo) // another connection continues, or the program ends
		} else if err != nil {
			level = slog.LevelWarn
		}
		if err != nil {
			attrs = append(attrs, slog.Any("err", err))
		}
		l.LogAttrs(context.Background(), level, "binance: "+msg, attrs...)
	}
	return &Hooks{
		ListingDone: func(i ListingInfo) {
			log(slog.LevelInfo, i.Err, "listing", slog.Int("symbols", i.Symbols), slog.Duration("elapsed", i.Elapsed))
		},
		StatusChanged: func(i StatusInfo) {
			log(slog.LevelWarn, nil, "status changed", slog.String("instrument", i.Instrument.String()), slog.String("from", i.From), slog.String("to", i.To))
		},
		SymbolsChanged: func(i SymbolsInfo) {
			log(slog.LevelInfo, nil, "symbols changed", slog.Any("added", i.Added), slog.Any("removed", i.Removed), slog.Int("symbols", i.Symbols))
		},
		ConnectDone: func(i ConnectInfo) {
			log(slog.LevelInfo, i.Err, "connect", slog.Int("conn", i.Conn), slog.String("host", i.Host),
				slog.Int("attempt", i.Attempt), slog.Duration("elapsed", i.Elapsed))
		},
		Subscribed: func(i SubscribeInfo) {
			log(slog.LevelInfo, nil, "subscribed", slog.Int("conn", i.Conn), slog.Int("streams", i.Streams),
				slog.Duration("elapsed", i.Elapsed))
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
				slog.Int64("first_id", i.FirstID), slog.Int64("last_id", i.LastID), slog.Int("filled", i.Backfilled), slog.Duration("elapsed", i.Elapsed))
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
		Gap: func(i GapInfo) {
			log(slog.LevelWarn, i.Gap.Err, "gap", slog.String("instrument", i.Instrument.String()),
				slog.Int64("after", i.Gap.After), slog.String("reason", i.Gap.Reason.String()))
		},
		Dropped: func(i DropInfo) {
			log(slog.LevelWarn, nil, "dropped", slog.Int("conn", i.Conn), slog.String("stream", i.Stream), slog.Uint64("frames", i.Frames))
		},
		Throttled: func(i ThrottleInfo) {
			log(slog.LevelWarn, nil, "throttled", slog.Int("status", i.Status), slog.Time("until", i.Until), slog.Int("weight", i.Weight))
		},
		DecodeFailed: func(i DecodeInfo) {
			log(slog.LevelWarn, i.Err, "decode failed", slog.Int("conn", i.Conn))
		},
	}
}
