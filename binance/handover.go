package binance

import "time"

// handoverPatience is how long a replacement may take from its last acknowledgement until it carries
// every stream.
const handoverPatience = time.Minute

// afterAck is how long after the acknowledgement of a subscription an event from before it may still
// come on another connection.
const afterAck = 2 * time.Second

// continues tells whether the lane to can stand in for the lane from: its own events have met the
// sequence, or the stream is silent on both.
func (m *arbiter) continues(from, to int, now time.Time) bool {
	t, f := &m.legs[to], &m.legs[from]
	switch {
	case !t.acked:
		return false
	case t.heard:
		return m.begun && t.seen <= m.at
	}
	return now.Sub(t.since) >= settleTime && f.last.Before(t.since.Add(afterAck))
}
