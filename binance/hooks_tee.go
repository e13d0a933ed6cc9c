package binance

// TeeHooks returns Hooks that call those of every argument, in order. Nil arguments are left out.
func TeeHooks(hooks ...*Hooks) *Hooks {
	return &Hooks{
		ListingDone:    tee(hooks, func(h *Hooks) func(ListingInfo) { return h.ListingDone }),
		StatusChanged:  tee(hooks, func(h *Hooks) func(StatusInfo) { return h.StatusChanged }),
		SymbolsChanged: tee(hooks, func(h *Hooks) func(SymbolsInfo) { return h.SymbolsChanged }),
		ConnectDone:    tee(hooks, func(h *Hooks) func(ConnectInfo) { return h.ConnectDone }),
		Subscribed:     tee(hooks, func(h *Hooks) func(SubscribeInfo) { return h.Subscribed }),
		Rotated:        tee(hooks, func(h *Hooks) func(RotateInfo) { return h.Rotated }),
		Watchdog:       tee(hooks, func(h *Hooks) func(WatchInfo) { return h.Watchdog }),
		TradeGap:       tee(hooks, func(h *Hooks) func(TradeGapInfo) { return h.TradeGap }),
		Disconnected:   tee(hooks, func(h *Hooks) func(DisconnectInfo) { return h.Disconnected }),
		SnapshotDone:   tee(hooks, func(h *Hooks) func(SnapshotInfo) { return h.SnapshotDone }),
		Synced:         tee(hooks, func(h *Hooks) func(SyncInfo) { return h.Synced }),
		Audited:        tee(hooks, func(h *Hooks) func(AuditInfo) { return h.Audited }),
		Mismatch:       tee(hooks, func(h *Hooks) func(MismatchInfo) { return h.Mismatch }),
		Gap:            tee(hooks, func(h *Hooks) func(GapInfo) { return h.Gap }),
		Dropped:        tee(hooks, func(h *Hooks) func(DropInfo) { return h.Dropped }),
		Throttled:      tee(hooks, func(h *Hooks) func(ThrottleInfo) { return h.Throttled }),
		DecodeFailed:   tee(hooks, func(h *Hooks) func(DecodeInfo) { return h.DecodeFailed }),
	}
}

// tee joins one field of all hooks; nil if none has it.
func tee[T any](hooks []*Hooks, field func(*Hooks) func(T)) func(T) {
	var all []func(T)
	for _, h := range hooks {
		if h != nil && field(h) != nil {
			all = append(all, field(h))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return func(info T) {
		for _, f := range all {
			f(info)
		}
	}
}
