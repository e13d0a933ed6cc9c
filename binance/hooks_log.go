package binance

import (
	"context"
	"log/slog"
)

// LogHooks returns Hooks that log every event: failures as warnings, what is normal as information,
// what is frequent as debugging.
func LogHooks(l *slog.Logger) *Hooks {
	log := func(level slog.Level, err error, msg string, attrs ...slog.Attr) {
		if err != nil {
			level = slog.LevelWarn
			attrs = append(attrs, slog.Any("err", err))
		}
		l.LogAttrs(context.Background(), level, "binance: "+msg, attrs...)
	}
	return &Hooks{
		ListingDone: func(i ListingInfo) {
			log(slog.LevelInfo, i.Err, "listing", slog.Int("symbols", i.Symbols), slog.Duration("elapsed", i.Elapsed))
		},
		ConnectDone: func(i ConnectInfo) {
			log(slog.LevelInfo, i.Err, "connect", slog.Int("conn", i.Conn), slog.String("host", i.Host),
				slog.Int("attempt", i.Attempt), slog.Duration("elapsed", i.Elapsed))
		},
		Subscribed: func(i SubscribeInfo) {
			log(slog.LevelInfo, nil, "subscribed", slog.Int("conn", i.Conn), slog.Int("streams", i.Streams),
				slog.Duration("elapsed", i.Elapsed))
		},
		Disconnected: func(i DisconnectInfo) {
			log(slog.LevelWarn, i.Err, "disconnected", slog.Int("conn", i.Conn), slog.String("host", i.Host),
				slog.Int("symbols", i.Symbols), slog.Duration("uptime", i.Uptime))
		},
		SnapshotDone: func(i SnapshotInfo) {
			log(slog.LevelDebug, i.Err, "snapshot", slog.String("instrument", i.Instrument.String()), slog.Int("limit", i.Limit),
				slog.Int("weight", i.Weight), slog.Int64("last_id", i.LastID), slog.Int("bids", i.Bids), slog.Int("asks", i.Asks),
				slog.Duration("elapsed", i.Elapsed))
		},
		Synced: func(i SyncInfo) {
			log(slog.LevelInfo, nil, "synced", slog.String("instrument", i.Instrument.String()), slog.Int64("last_id", i.LastID),
				slog.Int("applied", i.Applied), slog.Duration("elapsed", i.Elapsed))
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
