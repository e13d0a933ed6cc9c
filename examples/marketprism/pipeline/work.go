package pipeline

import (
	"time"

	"github.com/marketprism/marketprism/natsbus"
)

// stuck is for how long an archiver may have messages in hand and neither store them nor fail. It is longer than
// an INSERT may take, after which that has failed.
const stuck = 2 * time.Minute

// A work tells whether consumers get on with what they have in hand. An outage of the bus or the store is no
// reason to say that they do not: they go on trying, and a restart would not help.
type work struct {
	done  uint64
	moved time.Time // when that was another, or there was nothing to do
}

// getsOn is told how the consumers stand at a time, by the local clock.
func (w *work) getsOn(now time.Time, consumers ...natsbus.ConsumerStats) bool {
	var done uint64
	waits := false
	for _, s := range consumers {
		done += s.Batches + s.Refusals + s.SinkFailures + s.ServerFailures
		waits = waits || s.InFlight > 0 && s.Circuit == natsbus.CircuitClosed
	}
	if !waits || done != w.done || w.moved.IsZero() {
		w.done, w.moved = done, now
	}
	return now.Sub(w.moved) < stuck
}

// beat says that the main loop turns, unless the archiver it stands for is stuck.
func (p *Pipeline) beat() {
	if p.archiver == nil || p.work.getsOn(time.Now(), p.archiver.stats()...) {
		p.watch.beat()
	}
}
