package binance

import "github.com/marketprism/marketprism/internal/hook"

// TeeHooks returns Hooks that call those of every argument, in order. Nil arguments are left out.
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
