package metrics

import (
	"sync"

	"github.com/marketprism/marketprism/sink"
)

// A Spill measures the disk queue before the bus.
type Spill struct {
	mu       sync.Mutex
	spill    *sink.Spill
	maxBytes int64
}

// Observe sets the disk queue that scrapes read, and its SpillConfig.MaxBytes.
func (s *Spill) Observe(spill *sink.Spill, maxBytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spill, s.maxBytes = spill, maxBytes
}

func (s *Spill) collect(give emit) {
	s.mu.Lock()
	spill, maxBytes := s.spill, s.maxBytes
	s.mu.Unlock()
	var stats sink.SpillStats
	if spill != nil {
		stats = spill.Stats()
	}
	give(SpillAway, truth(stats.Away))
	give(SpillBehind, truth(stats.Spilling))
	give(SpillQueued, float64(stats.Queued))
	give(SpillQueuedBytes, float64(stats.QueuedBytes))
	give(SpillMaxBytes, float64(maxBytes))
	var dropped uint64
	for _, n := range stats.Dropped {
		dropped += n
	}
	give(SpillRecords, float64(stats.Direct), "direct")
	give(SpillRecords, float64(stats.Spilled), "spilled")
	give(SpillRecords, float64(stats.Drained), "drained")
	give(SpillRecords, float64(stats.Refused), "refused")
	give(SpillRecords, float64(dropped), "dropped")
	give(SpillRetries, float64(stats.Retries))
	give(SpillFull, float64(stats.Full))
	give(SpillCorrupt, float64(stats.Corrupt))
	give(SpillKept, float64(stats.Kept))
	give(SpillUnkept, float64(stats.Unkept))
}
