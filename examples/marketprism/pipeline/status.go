package pipeline

import (
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sink"
)

// A status shows the state of a run: in place on a terminal, else as a line every few seconds.
type status struct {
	p        *Pipeline
	started  time.Time
	inPlace  bool // on a terminal
	interval time.Duration
	warm     bool // all books have been synced once

	seen uint64 // records received, or for an archiver stored, when the status was last shown
	at   time.Time
	rate float64
}

func newStatus(p *Pipeline) *status {
	s := &status{p: p, started: time.Now(), at: time.Now(), interval: 5 * time.Second}
	if p.out.terminal {
		s.inPlace, s.interval = true, 500*time.Millisecond
	}
	return s
}

func (s *status) show() { s.p.out.show(s.line(time.Now())) }

func (s *status) line(now time.Time) string {
	p := s.p
	flow := received
	if p.collector == nil {
		flow = stored
	}
	s.measure(now, p.tally.total(flow))
	parts := []string{fmt.Sprintf("%5.0fs", now.Sub(s.started).Seconds())}
	if p.collector != nil {
		if name := p.cfg.Origin(); name != "" {
			parts = append(parts, name)
		}
		synced, all := p.collector.synced()
		parts = append(parts, s.books(synced, all, now.Sub(s.started)))
	}
	parts = append(parts, fmt.Sprintf("%.0f events/s", s.rate))
	if p.collector != nil {
		usage := p.collector.client.Usage()
		parts = append(parts, fmt.Sprintf("published %d", p.tally.total(acked)), fmt.Sprintf("weight %d/%d", usage.Used, usage.Limit))
		parts = append(parts, spillStatus(p.collector.spill.Stats())...)
	}
	if p.archiver != nil {
		parts = append(parts, fmt.Sprintf("stored %d", p.tally.total(stored)),
			fmt.Sprintf("lag %v", p.tally.lastLag().Round(time.Millisecond)), fmt.Sprintf("behind %d", p.archiver.behind()), fmt.Sprintf("dlq %d", p.letters.count.Load()))
	}
	return strings.Join(parts, "  ")
}

// spillStatus says whether the bus is away, and whether the disk queue is behind, which it is for a while after that.
func spillStatus(s sink.SpillStats) (parts []string) {
	if s.Away {
		parts = append(parts, "bus away")
	}
	if s.Spilling {
		parts = append(parts, fmt.Sprintf("disk queue behind by %d", s.Queued))
	}
	return parts
}

// barWidth is the width of the bar of a cold start, in characters.
const barWidth = 20

// books returns how many books are synced, and during a cold start the estimated time left.
func (s *status) books(synced, all int, elapsed time.Duration) string {
	text := fmt.Sprintf("%d of %d books synced", synced, all)
	if all == 0 || synced == all {
		s.warm = true
	}
	if s.warm {
		return text
	}
	if synced > 0 {
		left := elapsed * time.Duration(all-synced) / time.Duration(synced)
		text += fmt.Sprintf(", about %v left", left.Round(time.Second))
	}
	if s.inPlace {
		done := barWidth * synced / all
		text = "[" + strings.Repeat("=", done) + strings.Repeat(" ", barWidth-done) + "] " + text
	}
	return text
}

// measure smooths the rate, so that it is readable.
func (s *status) measure(now time.Time, seen uint64) {
	if elapsed := now.Sub(s.at).Seconds(); elapsed > 0 {
		present := float64(seen-s.seen) / elapsed
		if s.rate == 0 || !s.inPlace {
			s.rate = present
		}
		s.rate += (present - s.rate) / 4
	}
	s.seen, s.at = seen, now
}
