package binancetest

import (
	"maps"
	"time"
)

// Stats are what a Server has counted since New.
type Stats struct {
	Connections int // websockets opened
	Open        int // of these open at the moment
	Messages    int // text messages, pings and pongs received

	Requests   map[string]int // REST requests by path, refused ones included
	WeightUsed int            // request weight in the current minute

	// The limits that clients broke, and what it cost them.
	WeightViolations  int // REST requests answered 429 or 418 for their weight
	EarlyRequests     int // other REST requests more than 100 ms after a 429 or 418 and before its Retry-After was over
	Bans              int // times that an address was banned
	MessageViolations int // connections closed for more messages in a second than allowed
	StreamViolations  int // connections closed for more streams than allowed
	ConnectViolations int // connections refused for more in five minutes than allowed
	StalledMessages   int // messages of more than 4,088 bytes, which stalled their connection
	PongTimeouts      int // connections closed because a ping was not answered in time
	SlowConsumers     int // connections cut because their queue was full
}

// Violations is the number of limits broken, of every kind. It is 0 for a well-behaved client.
func (s Stats) Violations() int {
	return s.WeightViolations + s.EarlyRequests + s.MessageViolations + s.StreamViolations + s.ConnectViolations +
		s.StalledMessages + s.PongTimeouts + s.SlowConsumers
}

// Stats returns the counts. The map is the caller's.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Requests = maps.Clone(s.stats.Requests)
	st.Open = len(s.conns)
	s.weight.roll(time.Now())
	st.WeightUsed = s.weight.used
	return st
}
