package binancetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// commandFaults are the faults waiting for control messages, on whatever connection.
type commandFaults struct {
	reject int // messages
	with   requestError

	lateAcks int // messages
	ackDelay time.Duration

	lingering int // UNSUBSCRIBE messages
	lingerFor time.Duration

	flat bool
}

// RejectCommands refuses the next n control messages with this error. They have no effect.
func (s *Server) RejectCommands(n, code int, msg string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands.reject, s.commands.with = n, requestError{code, msg}
}

// DelayAcks sends the answers to the next n control messages late. They take effect at once, so that
// the data of a new stream comes before its acknowledgement.
func (s *Server) DelayAcks(n int, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands.lateAcks, s.commands.ackDelay = n, delay
}

// DelayUnsubscribes acknowledges the next n UNSUBSCRIBE messages at once and goes on to send the data
// for a while.
func (s *Server) DelayUnsubscribes(n int, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands.lingering, s.commands.lingerFor = n, delay
}

// FlatErrors makes the answers to wrong control messages {"code":…,"msg":…,"id":…}, as the documents
// show them, in place of the nested form on the wire, until it is switched off.
func (s *Server) FlatErrors(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands.flat = on
}

// rejection is the error that a fault has for the next control message, or nil.
func (f *commandFaults) rejection() *requestError {
	if f.reject <= 0 {
		return nil
	}
	f.reject--
	return &requestError{f.with.Code, f.with.Msg}
}

// send queues an answer to a control message, late if a fault says so.
func (f *commandFaults) send(c *conn, answer frame) {
	if f.lateAcks <= 0 {
		c.push(answer)
		return
	}
	f.lateAcks--
	c.server.later(f.ackDelay, func() { c.push(answer) })
}

// unsubscribe takes streams from a connection, late if a fault says so.
func (f *commandFaults) unsubscribe(c *conn, streams []string) {
	if f.lingering <= 0 {
		c.server.unsubscribe(c, streams)
		return
	}
	f.lingering--
	c.streams = slices.DeleteFunc(c.streams, func(name string) bool { return slices.Contains(streams, name) })
	c.server.later(f.lingerFor, func() {
		again := func(name string) bool { return slices.Contains(c.streams, name) }
		c.server.unsubscribe(c, slices.DeleteFunc(slices.Clone(streams), again))
	})
}

// errorReply is the answer to a wrong control message.
func (f *commandFaults) errorReply(id json.RawMessage, e *requestError) frame {
	body, _ := json.Marshal(e) // a struct of plain fields always marshals
	if f.flat {
		return frame{data: fmt.Appendf(nil, `%s,"id":%s}`, body[:len(body)-1], orNull(id))}
	}
	return frame{data: fmt.Appendf(nil, `{"error":%s,"id":%s}`, body, orNull(id))}
}
