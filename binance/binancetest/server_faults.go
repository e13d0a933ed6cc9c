package binancetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// DropDepth loses the next n depth events of a symbol that somebody would have got, for all its
// subscribers: the ids are used up, so that the event after them shows a gap. The error is
// ErrUnknownSymbol.
func (s *Server) DropDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.dropDepth = n })
}

// DropDepthAtSnapshot is DropDepth from the next snapshot of the symbol on: the events lost are those
// that follow the snapshot. The error is ErrUnknownSymbol.
func (s *Server) DropDepthAtSnapshot(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.dropAtSnapshot = n })
}

// DuplicateDepth sends the next n depth events of a symbol twice. The error is ErrUnknownSymbol.
func (s *Server) DuplicateDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.duplicateDepth = n })
}

// SwapDepth sends each of the next n depth events of a symbol behind the one that follows it. It does
// nothing on a playback. The error is ErrUnknownSymbol.
func (s *Server) SwapDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.swapDepth = n })
}

// HoldDepth keeps the next n depth events of a symbol back. They go out in order ahead of the one that
// comes then, or with Calm; a snapshot meanwhile is newer than all that was sent. It does nothing on a
// playback. The error is ErrUnknownSymbol.
func (s *Server) HoldDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.holdDepth = n })
}

// StaleSnapshots makes the next n snapshots of a symbol show the book as it was the given number of
// borders before the last, as the exchange does when REST lags behind the streams. It goes back no
// further than Config.History. The error is ErrUnknownSymbol.
func (s *Server) StaleSnapshots(symbol string, n, borders int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.stale, f.staleBorders = n, borders })
}

// MidBatchSnapshots is Config.MidBatchSnapshots for the next n snapshots of a symbol. The error is
// ErrUnknownSymbol.
func (s *Server) MidBatchSnapshots(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.midBatches = n })
}

// DelaySnapshots holds back the answers to the next n depth requests. Each shows the book as it was
// when the request came.
func (s *Server) DelaySnapshots(n int, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.slow, s.faults.delay = n, delay
}

// DelaySnapshotsFor is DelaySnapshots for the requests of one symbol. The error is ErrUnknownSymbol.
func (s *Server) DelaySnapshotsFor(symbol string, n int, delay time.Duration) error {
	return s.fault(symbol, func(f *symbolFaults) { f.rest.slow, f.rest.delay = n, delay })
}

// DropTrades keeps the next n executions of a symbol from the trade and aggTrade streams. REST has them.
// The error is ErrUnknownSymbol.
func (s *Server) DropTrades(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.dropTrades = n })
}

// DuplicateTrades sends the next n executions of a symbol twice on the trade and aggTrade streams. The
// error is ErrUnknownSymbol.
func (s *Server) DuplicateTrades(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.duplicateTrades = n })
}

// SkipTradeIDs uses up n trade ids without a trade, as executions of the futures' insurance fund do: no
// stream and no answer ever has them. The error is ErrUnknownSymbol.
func (s *Server) SkipTradeIDs(symbol string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) { sym.tradeID += int64(n) })
}

// BreakAggregate puts an aggregate that has lost its trades into the history of a symbol: the next
// aggregate id, price and quantity "0", and first and last trade id -1. Some of the exchange's history
// is like that. The error is ErrUnknownSymbol.
func (s *Server) BreakAggregate(symbol string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) {
		sym.aggTradeID++
		sym.tape.add(execution{id: noTrade, aggregate: sym.aggTradeID, millis: s.now().UnixMilli()})
	})
}

func (s *Server) fault(symbol string, f func(*symbolFaults)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) { f(&sym.faults) })
}

// RejectREST answers the next n REST requests with an error status and the body the exchange has for
// it: 429 and 418 with Retry-After, rounded up to seconds (429 names the weight limit, 418 the end of
// the ban); 403, 502 and 504 with HTML and without the exchange's headers, as a firewall or a proxy sends
// it; others with the JSON of an overloaded server. A retryAfter of 0 sends no such header; a status
// outside 400 to 599 stands for 500.
func (s *Server) RejectREST(n, status int, retryAfter time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.rejectWith(n, status, retryAfter)
}

// RejectRESTFor is RejectREST for the requests that name one symbol. The error is ErrUnknownSymbol.
func (s *Server) RejectRESTFor(symbol string, n, status int, retryAfter time.Duration) error {
	return s.fault(symbol, func(f *symbolFaults) { f.rest.rejectWith(n, status, retryAfter) })
}

// HangREST holds back the answers to the next n REST requests of any kind. The client that gives up
// before gets none.
func (s *Server) HangREST(n int, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.hang, s.faults.hangFor = n, delay
}

// TruncateREST ends the connection in the middle of the answers to the next n REST requests.
func (s *Server) TruncateREST(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.truncate = n
}

// GzipREST compresses the answers to clients that accept gzip, until it is switched off. They are not
// compressed by default.
func (s *Server) GzipREST(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.gzip = on
}

// Codes for Disconnect that the exchange is known to send.
const (
	CloseGoingAway       = websocket.CloseGoingAway       // 1001: the server is being replaced
	ClosePolicyViolation = websocket.ClosePolicyViolation // 1008: a limit was broken
)

// Disconnect closes every websocket with a close frame of this code and reason; code 0 cuts them
// without one. New connections are welcome.
func (s *Server) Disconnect(code int, reason string) {
	s.eachConn(0, func(c *conn) { c.disconnect(code, reason) })
}

// DisconnectOne is Disconnect for the connection with this ID, of those that Connections lists. It
// returns false if there is none.
func (s *Server) DisconnectOne(id, code int, reason string) bool {
	return s.eachConn(id, func(c *conn) { c.disconnect(code, reason) })
}

// RejectStreams answers the next n handshakes of websockets with an HTTP status, below 400 for 503. They
// count as attempts to connect.
func (s *Server) RejectStreams(n, status int) {
	if status < 400 {
		status = http.StatusServiceUnavailable
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.rejectStreams, s.faults.streamStatus = n, status
}

// Silence makes every open websocket half-open: the exchange neither sends on it nor answers it any
// more, and does not end it. New connections are not affected.
func (s *Server) Silence() {
	s.eachConn(0, func(c *conn) { c.silent = true })
}

// SilenceOne is Silence for the connection with this ID. It returns false if there is none.
func (s *Server) SilenceOne(id int) bool {
	return s.eachConn(id, func(c *conn) { c.silent = true })
}

// SkipPings leaves out the next n pings of every open websocket. All else goes on.
func (s *Server) SkipPings(n int) {
	s.eachConn(0, func(c *conn) { c.skipPings = n })
}

// IgnorePings leaves the pings of clients unanswered, until it is switched off. They count as messages all
// the same.
func (s *Server) IgnorePings(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire.mute = on
}

// SendRaw sends a text frame, whatever it holds, to every websocket.
func (s *Server) SendRaw(text string) {
	s.eachConn(0, func(c *conn) { c.push(frame{data: []byte(text)}) })
}

// SendRawOne is SendRaw to the connection with this ID. It returns false if there is none.
func (s *Server) SendRawOne(id int, text string) bool {
	return s.eachConn(id, func(c *conn) { c.push(frame{data: []byte(text)}) })
}

// SendServerShutdown announces to every websocket that the exchange is about to end it, in the form
// that fits the connection. Nothing else happens; Disconnect does the rest, or GoAway both.
func (s *Server) SendServerShutdown() {
	s.eachConn(0, (*conn).announceShutdown)
}

// SendServerShutdownOne is SendServerShutdown to the connection with this ID. It returns false if there
// is none.
func (s *Server) SendServerShutdownOne(id int) bool {
	return s.eachConn(id, (*conn).announceShutdown)
}

// GoAway announces the end to every open websocket, as SendServerShutdown does, and cuts those that
// are still open after a while, with a close frame of code 1001.
func (s *Server) GoAway(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.goAway(after)
	}
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

// ExtraFields adds fields that no document knows to every event, until it is switched off.
func (s *Server) ExtraFields(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire.extraFields = on
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

// LengthenSBE writes SBE messages as a newer version of the schema would, with fields at the ends of blocks and of
// entries that version 0 does not know, until it is switched off.
func (s *Server) LengthenSBE(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.encode.sbe.longer = on
}

// VarySBEExponents gives each SBE message the largest exponents that its numbers allow, so that they differ from
// message to message, until it is switched off. Otherwise they are -8.
func (s *Server) VarySBEExponents(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.encode.sbe.vary = on
}

// UnknownSBE sends a message of a template that nobody knows ahead of each of the next n SBE messages.
func (s *Server) UnknownSBE(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire.sbe.unknown = n
}

// TruncateSBE cuts off the end of the next n SBE messages.
func (s *Server) TruncateSBE(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire.sbe.truncate = n
}
