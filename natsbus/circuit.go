package natsbus

import (
	"time"

	"github.com/marketprism/marketprism/internal/hook"
)

// A CircuitState says how a Consumer stands to its sink. It is open while the sink fails for a reason
// that no record is to blame for: then the batch in hand waits, and nothing more is fetched than the
// next one.
type CircuitState uint8

// The states.
const (
	CircuitClosed  CircuitState = iota // the last Write was answered for
	CircuitOpen                        // the sink has failed, and is left alone until the back-off has passed
	CircuitProbing                     // the batch in hand is being written again, to see
)

// String returns closed, open or probing; "unknown" for a value that is none of the constants.
func (s CircuitState) String() string {
	names := [...]string{"closed", "open", "probing"}
	if int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

func (r *reader) setCircuit(state CircuitState, err error) {
	info := CircuitInfo{State: state, Err: err}
	r.count(func(s *ConsumerStats) {
		info.Before = s.Circuit
		if state == CircuitOpen && s.CircuitOpenSince.IsZero() {
			s.CircuitOpenSince = time.Now()
		}
		info.Since = s.CircuitOpenSince
		if state == CircuitClosed {
			s.CircuitOpenSince = time.Time{}
		}
		s.Circuit = state
	})
	if info.Before != state {
		hook.Call(r.cfg.Hooks.Circuit, info)
	}
}
