package binancetest

import (
	"encoding/json"
	"fmt"
	"time"
)

// wireFaults change what all events look like.
type wireFaults struct {
	clock       time.Duration // ahead of the real one
	extraFields bool
	mute        bool // pings of clients are not answered
	sbe         sbeFaults
}

// extraFields are such as no document knows.
const extraFields = `,"zz":{"deep":[1,-2.5e3,"\u00e9\"}",null,true,{}]},"0":[]}`

// dress lets the faults have the payload of an event.
func (f *wireFaults) dress(p payload) payload {
	if !f.extraFields {
		return p
	}
	return func(b []byte, as form) []byte {
		if b = p(b, as); b == nil || as == inSBE {
			return b
		}
		return append(b[:len(b)-1], extraFields...)
	}
}

// ExtraFields adds fields that no document knows to every event, until it is switched off.
func (s *Server) ExtraFields(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire.extraFields = on
}

// IgnorePings leaves the pings of clients unanswered, until it is switched off. They count as messages all
// the same.
func (s *Server) IgnorePings(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire.mute = on
}

// ThirdElements gives every level of events and snapshots an empty third element, as the exchange did
// until 2019, until it is switched off.
func (s *Server) ThirdElements(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.encode.third = on
}

// SetClock makes the exchange's clock differ from the real one by an offset, negative for behind it, in
// all events and answers from now on. Event times jump, and go backwards when the offset shrinks. The
// limits, the pings and the intervals keep to the real clock.
func (s *Server) SetClock(offset time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire.clock = offset
}

// SendEvent sends a payload, a JSON object, to the subscribers of a stream, wrapped as each connection
// wants it: an event of a type that nobody knows, or one of an all-market stream. The error is ErrConfig
// for what is no JSON object.
func (s *Server) SendEvent(stream, payload string) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payload), &object); err != nil || object == nil {
		return fmt.Errorf("%w: event %q is no JSON object", ErrConfig, payload)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish(stream, func(b []byte, as form) []byte {
		if as == inSBE {
			return nil
		}
		return append(b, payload...)
	})
	return nil
}
