package orderbook

import (
	"fmt"
	"time"
)

// A JoinerConfig sets a Joiner's rule and bounds. The zero value is a spot market with the defaults.
type JoinerConfig struct {
	Continuity Continuity

	// MaxPending and MaxPendingBytes bound the updates kept while the book is not synced; the updates with
	// the lowest ids are discarded beyond that. 0 means 4096 updates and 16 MiB.
	MaxPending      int
	MaxPendingBytes int

	// MaxDepth bounds the levels of a side of the book. A side that exceeds it by an eighth is pruned
	// to it (Book.Prune). 0 or negative means no bound.
	MaxDepth int

	// MaxStale is how many updates in a row may end at or before the book's id until the Joiner concludes that
	// the venue's ids went back (a restored or wiped market). 0 means 512, negative means any number.
	MaxStale int

	// Replace makes every snapshot at or beyond the book's id the book at once. Otherwise the book stays,
	// and is compared with the snapshot once its updates reach the same id.
	Replace bool
}

// withDefaults validates cfg and replaces zeros by the defaults.
func (cfg JoinerConfig) withDefaults() (JoinerConfig, error) {
	if cfg.Continuity > Linked {
		return cfg, errContinuity
	}
	if cfg.MaxPending < 0 || cfg.MaxPendingBytes < 0 {
		return cfg, fmt.Errorf("orderbook: MaxPending %d, MaxPendingBytes %d: they cannot be unbounded", cfg.MaxPending, cfg.MaxPendingBytes)
	}
	setDefault(&cfg.MaxPending, 4096)
	setDefault(&cfg.MaxPendingBytes, 16<<20)
	setDefault(&cfg.MaxStale, 512)
	return cfg, nil
}

// A Joiner makes one instrument's book from the records of a bus, an archive or a file: the Events of
// Syncers, of one collector or of several that saw the same exchange. It is the counterpart of the Syncer for
// input that cannot be requested again: snapshots come unrequested and may be late, updates may
// come more than once, with other borders, or before their predecessors.
//
// Its Events keep the Syncer's contract: between a Snapshot and the next Gap, applying every Update to
// a Book seeded by the Snapshot gives exactly Book(), and outside such a span no Update is emitted. A
// Snapshot whose LastID is the After of the Gap before it refutes that Gap: nothing was missed.
//
// It does no IO, reads no clock and starts no goroutine. It is not safe for concurrent use.
type Joiner struct {
	cfg   JoinerConfig
	state State
	book  *Book
	fresh bool // no update was applied since the snapshot
	stale int  // updates in a row that the book had already

	pending    pendingUpdates
	tooOld     int       // snapshots in a row that the pending updates did not follow
	overflowed bool      // pending has lost updates since the book was synced
	resumable  bool      // the book goes on if pending follows it without a missing id
	floor      time.Time // when the ids were last seen to go back
	ended      int64     // After of the record that said so; 0 if none did

	// ahead is a snapshot that waits for updates: of a later id than the synced book, which they
	// may reach, or of an earlier one than a resumable book. nil if there is none.
	ahead *Snapshot

	events  []Event
	audit   Audit
	audited bool // audit belongs to the Output
	stats   SyncerStats
}

// NewJoiner returns a Joiner in state Buffering. It fails if cfg is contradictory.
func NewJoiner(cfg JoinerConfig) (*Joiner, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Joiner{cfg: cfg, state: Buffering, book: new(Book)}, nil
}

// State returns Synced or Buffering.
func (j *Joiner) State() State { return j.state }

// Book returns the book, which may be read until the next call. While State is Buffering it is the last one
// that was synced.
func (j *Joiner) Book() *Book { return j.book }

// Detach replaces Book() by a copy of it. The book that Book() returned before does not change any more.
func (j *Joiner) Detach() { j.book = j.book.Clone() }

// Stats returns the counters. Those of fetches and refreshes stay 0, but for Audits, Differences and Swaps.
func (j *Joiner) Stats() SyncerStats {
	stats := j.stats
	stats.Buffered = len(j.pending.byID)
	return stats
}

// Join takes the next record and keeps nothing of it, but the Output may point to it. Output.Fetch is 0. A
// Snapshot or an Update that is not valid is left out and emits a Gap, unless the book is not synced.
//
// A Gap record counts only if it concerns this book: Gap.After is not before its id, or the
// reason is GapRegressed. After the latter, ids prove nothing: Join ignores records received before it, by
// ReceivedAt if both have it. A second one with the same After is another collector's, if the book is at a lower id.
func (j *Joiner) Join(e Event) Output {
	j.begin()
	switch {
	case e.Gap != nil:
		j.missed(e.Gap, e.ReceivedAt)
	case !e.ReceivedAt.IsZero() && e.ReceivedAt.Before(j.floor):
		j.countOld(e)
	case e.Update != nil:
		j.update(e.Update, e.ReceivedAt)
	case e.Snapshot != nil:
		j.snapshot(e.Snapshot)
	}
	return j.output()
}

// Ahead reports whether a snapshot waits for updates that lead to it. If none come in time, because
// the collector that had them is gone, call Jump to go on from the snapshot.
func (j *Joiner) Ahead() bool { return j.ahead != nil }

// Jump makes the snapshot that waits for updates the book, if there is one. A synced book ends with a Gap.
func (j *Joiner) Jump() Output {
	j.begin()
	if j.state == Synced && j.ahead != nil {
		j.lose(GapSequence, &SequenceError{Want: j.book.lastID + 1, Got: j.ahead.LastID})
	}
	j.takeAhead()
	return j.output()
}

// Reset discards pending updates, for a source that does not continue the records so far: the next
// Snapshot begins the book. A synced book ends with a Gap of g's Reason and Err.
func (j *Joiner) Reset(g Gap) Output {
	j.begin()
	if j.state == Synced {
		j.lose(g.Reason, g.Err)
	}
	j.forget()
	return j.output()
}

// begin clears the last Output.
func (j *Joiner) begin() {
	clear(j.events)
	j.events = j.events[:0]
	j.audited = false
	j.pending.recycle()
}

func (j *Joiner) output() Output {
	out := Output{Events: j.events}
	if j.audited {
		out.Audit = &j.audit
	}
	return out
}
