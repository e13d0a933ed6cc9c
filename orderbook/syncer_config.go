package orderbook

import (
	"fmt"
	"time"
)

// A SyncerConfig sets a Syncer's rule and bounds. The zero value is a spot market with the defaults.
type SyncerConfig struct {
	Continuity Continuity

	// MaxBuffered and MaxBufferedBytes bound the updates that wait for a snapshot, and those that are
	// kept for one during a refresh. 0 means 4096 updates and 16 MiB.
	MaxBuffered      int
	MaxBufferedBytes int

	// MaxDepth bounds the levels of a side of the book. A side that exceeds it by an eighth is pruned
	// to it (Book.Prune). 0 or negative means no bound.
	MaxDepth int

	// RefreshEvery is the time from a sync or the end of a refresh to the next refresh. 0 or negative
	// means never.
	RefreshEvery time.Duration
	// RefreshDepth begins a refresh when the best so many levels of a side are no longer known
	// (Book.KnowsTops): at once after a sync, at the earliest RetryMax after another refresh. 0 or
	// negative means never. It must be less than MaxDepth.
	RefreshDepth int

	// SnapshotTimeout is the time for the answer to a Fetch, after which there is another Fetch, and the
	// time that the updates have to reach the snapshot of a refresh. 0 means 20 s. Negative means no limit
	// for an answer, and RetryMax for a refresh.
	SnapshotTimeout time.Duration

	// RetryMin and RetryMax bound the delay before the next Fetch after one that failed or was too
	// old: it doubles from the first to the second. Two Fetches are never closer than RetryMin. 0
	// means 250 ms and 30 s, or the other one where that is beyond it.
	RetryMin, RetryMax time.Duration

	// MaxStale is how many updates in a row may end at or before the book's id until the Syncer concludes that
	// the venue's ids went back (a restored or wiped market). 0 means 512, negative means any number.
	MaxStale int
}

// maxTooOld is how many snapshots in a row may be older than the first pending update before that
// update, not the snapshot, is taken to be wrong.
const maxTooOld = 8

// withDefaults validates cfg and replaces zeros by the defaults.
func (cfg SyncerConfig) withDefaults() (SyncerConfig, error) {
	if cfg.Continuity > Linked {
		return cfg, errContinuity
	}
	if cfg.MaxBuffered < 0 || cfg.MaxBufferedBytes < 0 {
		return cfg, fmt.Errorf("orderbook: MaxBuffered %d, MaxBufferedBytes %d: the buffer cannot be unbounded", cfg.MaxBuffered, cfg.MaxBufferedBytes)
	}
	setDefault(&cfg.MaxBuffered, 4096)
	setDefault(&cfg.MaxBufferedBytes, 16<<20)
	setDefault(&cfg.SnapshotTimeout, 20*time.Second)
	if cfg.RetryMax > 0 {
		setDefault(&cfg.RetryMin, min(250*time.Millisecond, cfg.RetryMax))
	}
	setDefault(&cfg.RetryMin, 250*time.Millisecond)
	setDefault(&cfg.RetryMax, max(30*time.Second, cfg.RetryMin))
	setDefault(&cfg.MaxStale, 512)
	if cfg.RetryMin < 0 || cfg.RetryMax < cfg.RetryMin {
		return cfg, fmt.Errorf("orderbook: RetryMin %v, RetryMax %v: want 0 < RetryMin <= RetryMax", cfg.RetryMin, cfg.RetryMax)
	}
	if cfg.MaxDepth > 0 && cfg.RefreshDepth >= cfg.MaxDepth {
		return cfg, fmt.Errorf("orderbook: RefreshDepth %d, MaxDepth %d: a book would never be deep enough", cfg.RefreshDepth, cfg.MaxDepth)
	}
	return cfg, nil
}

// refreshes reports whether the Syncer begins refreshes by itself.
func (cfg *SyncerConfig) refreshes() bool { return cfg.RefreshEvery > 0 || cfg.RefreshDepth > 0 }

// setDefault is defaults.Set: this package imports nothing of the module.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
