package binancetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism"
)

// DropDepth loses the next n depth events of a symbol with a subscriber, for all its subscribers. Their ids
// are used, so that the next event shows a gap. It returns ErrUnknownSymbol.
func (s *Server) DropDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.dropDepth = n })
}

// DropDepthAtSnapshot loses the n depth events that follow the next snapshot of the symbol. It returns
// ErrUnknownSymbol.
func (s *Server) DropDepthAtSnapshot(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.dropAtSnapshot = n })
}

// DuplicateDepth sends the next n depth events of a symbol twice. It returns ErrUnknownSymbol.
func (s *Server) DuplicateDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.duplicateDepth = n })
}

// SwapDepth sends each of the next n depth events of a symbol after its successor. It does nothing on a
// playback. It returns ErrUnknownSymbol.
func (s *Server) SwapDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.swapDepth = n })
}

// HoldDepth keeps back the next n depth events of a symbol. They are sent in order before the event after
// them, or by Calm; a snapshot meanwhile is newer than every event sent. It does nothing on a playback. It
// returns ErrUnknownSymbol.
func (s *Server) HoldDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.holdDepth = n })
}

// StaleSnapshots makes the next n snapshots of a symbol show the book of the given number of borders
// before the last, at most Config.History, as the exchange does when REST lags behind the streams. It returns ErrUnknownSymbol.
func (s *Server) StaleSnapshots(symbol string, n, borders int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.stale, f.staleBorders = n, borders })
}

// MidBatchSnapshots is Config.MidBatchSnapshots for the next n snapshots of a symbol. It returns
// ErrUnknownSymbol.
func (s *Server) MidBatchSnapshots(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.midBatches = n })
}

// DelaySnapshots delays the answers to the next n depth requests. Each shows the book at the time of the
// request.
func (s *Server) DelaySnapshots(n int, delay time.Duration) {
	s.locked(func() { s.faults.slow, s.faults.delay = n, delay })
}

// DelaySnapshotsFor is DelaySnapshots for the requests of one symbol. It returns ErrUnknownSymbol.
func (s *Server) DelaySnapshotsFor(symbol string, n int, delay time.Duration) error {
	return s.fault(symbol, func(f *symbolFaults) { f.rest.slow, f.rest.delay = n, delay })
}

// DropTrades omits the next n executions of a symbol from the trade and aggTrade streams. REST has them.
// It returns ErrUnknownSymbol.
func (s *Server) DropTrades(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.dropTrades = n })
}

// DuplicateTrades sends the next n executions of a symbol twice on the trade and aggTrade streams. It
// returns ErrUnknownSymbol.
func (s *Server) DuplicateTrades(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.duplicateTrades = n })
}

// SkipTradeIDs uses n trade ids without a trade: no stream and no answer ever has them. It returns ErrUnknownSymbol.
func (s *Server) SkipTradeIDs(symbol string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) { sym.tradeID += int64(n) })
}

// OtherTrades uses a trade id for each type of what is no trade of a futures market: "INSURANCE_FUND" and "ADL", at a
// price off the market, and "NA", which is no trade at all, with price and quantity "0". The trade stream has
// them in sequence, historicalTrades and aggregates never. It returns ErrConfig on spot, ErrUnknownSymbol, ErrPlayback or
// ErrClosed.
func (s *Server) OtherTrades(symbol string, types ...string) error {
	if s.cfg.Market == marketprism.Spot {
		return fmt.Errorf("%w: spot has trades of the market alone", ErrConfig)
	}
	return s.script(symbol, func(sym *symbolState) {
		for _, kind := range types {
			s.otherTrade(sym, kind)
		}
	})
}

// BreakAggregate adds an aggregate without trades to the history of a symbol: the next aggregate id,
// price and quantity "0", and first and last trade id -1. Some of the exchange's history is like that. It returns ErrUnknownSymbol.
func (s *Server) BreakAggregate(symbol string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) {
		sym.aggTradeID++
		sym.tape.add(execution{id: noTrade, aggregate: sym.aggTradeID, millis: s.now().UnixMilli()})
	})
}

func (s *Server) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *Server) fault(symbol string, f func(*symbolFaults)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(sym *symbolState) { f(&sym.faults) })
}

// RejectREST answers the next n REST requests with an error status and the exchange's body for it: 429
// and 418 with Retry-After, rounded up to seconds (429 names the weight limit, 418 the end of the ban);
// 403, 502 and 504 with HTML and without the exchange's headers, as a firewall or proxy answers; others
// with the JSON of an overloaded server. A retryAfter of 0 omits the header; a status outside 400 to 599
// means 500.
func (s *Server) RejectREST(n, status int, retryAfter time.Duration) {
	s.locked(func() { s.faults.rejectWith(n, status, retryAfter) })
}

// RejectRESTFor is RejectREST for the requests that name one symbol. It returns ErrUnknownSymbol.
func (s *Server) RejectRESTFor(symbol string, n, status int, retryAfter time.Duration) error {
	return s.fault(symbol, func(f *symbolFaults) { f.rest.rejectWith(n, status, retryAfter) })
}

// Ban answers every REST request with a 418 until the time has passed, as the exchange does with a banned IP address.
// BanForms lists the forms in which the answers say when it ends. It returns ErrConfig for another one. Requests more
// than 100 ms after the first answer count as EarlyRequests.
func (s *Server) Ban(d time.Duration, form string) error {
	f, err := byName("form of a ban", form, banForms(), BanForms())
	if err == nil {
		s.locked(func() { s.faults.ban = banFault{banEnd(time.Now(), d), f} })
	}
	return err
}

// BanForms returns the forms of Ban. Retry-After is a number of "seconds", with the end of the ban in the message; an
// HTTP "date"; absent, with the end in the "message" alone, and "undated" if the Date header is absent too; "negative" or
// "garbage" with the end in the message; "huge"; or there is "nothing" that says it.
func BanForms() (names []string) {
	for _, f := range banForms() {
		names = append(names, f.name)
	}
	return names
}

// HangREST delays the answers to the next n REST requests of any kind.
func (s *Server) HangREST(n int, delay time.Duration) {
	s.locked(func() { s.faults.hang, s.faults.hangFor = n, delay })
}

// TrickleREST sends the bodies of the answers to the next n REST requests byte by byte, at this interval: an hour
// stalls them after the headers.
func (s *Server) TrickleREST(n int, every time.Duration) {
	s.locked(func() { s.faults.trickle, s.faults.trickleEvery = n, every })
}

// TruncateREST ends the connection in the middle of the answers to the next n REST requests.
func (s *Server) TruncateREST(n int) {
	s.locked(func() { s.faults.truncate = n })
}

// ListNames adds rows with these names, whatever they are, to every answer to exchangeInfo that has all symbols, as of
// symbols that trade. The exchange knows none of them otherwise. No names, the default, end it.
func (s *Server) ListNames(names ...string) {
	s.locked(func() { s.faults.names = names })
}

// MisleadListings makes the next n answers to exchangeInfo no listing, or a wrong one, with status 200. ListingFaults
// lists the ways. It returns ErrConfig for another one.
func (s *Server) MisleadListings(n int, way string) error {
	f, err := byName("listing fault", way, listingFaults(), ListingFaults())
	if err == nil {
		s.locked(func() { s.faults.listing.n, s.faults.listing.fault = n, f })
	}
	return err
}

// ListingFaults returns the ways in which MisleadListings misleads: an "object", "null", an "error" or a "page" in
// place of a listing; a "torn" or an "empty" one; one that lacks "half" of the symbols; "broken rows" among the
// others; "statuses" that are no text; a second row of each symbol in "contradiction" to the first; and unexpected
// "types" of fields and filters that matter little.
func ListingFaults() (names []string) {
	for _, f := range listingFaults() {
		names = append(names, f.name)
	}
	return names
}

// byName returns the one of all whose name is wanted; names are theirs. If there is none the error is ErrConfig.
func byName[T any](what, wanted string, all []T, names []string) (found T, err error) {
	if i := slices.Index(names, wanted); i >= 0 {
		return all[i], nil
	}
	return found, fmt.Errorf("%w: unknown %s %q; there are %s", ErrConfig, what, wanted, strings.Join(names, ", "))
}

// GzipREST switches compression of the answers to clients that accept gzip on or off. The default is off.
func (s *Server) GzipREST(on bool) {
	s.locked(func() { s.faults.gzip = on })
}

// Close codes for Disconnect that the exchange sends.
const (
	CloseGoingAway       = websocket.CloseGoingAway       // 1001: the server is being replaced
	ClosePolicyViolation = websocket.ClosePolicyViolation // 1008: a limit was broken
)

// Disconnect closes every websocket with a close frame of this code and reason, or with code 0 without a
// close frame. New connections are accepted.
func (s *Server) Disconnect(code int, reason string) {
	s.eachConn(0, func(c *conn) { c.disconnect(code, reason) })
}

// DisconnectOne is Disconnect for the connection with this ID (see Connections), and reports whether there
// is one.
func (s *Server) DisconnectOne(id, code int, reason string) bool {
	return s.eachConn(id, func(c *conn) { c.disconnect(code, reason) })
}

// RejectStreams answers the next n websocket handshakes with an HTTP status; below 400 means 503. They
// count against the connection limit.
func (s *Server) RejectStreams(n, status int) {
	if status < 400 {
		status = http.StatusServiceUnavailable
	}
	s.locked(func() { s.faults.rejectStreams, s.faults.streamStatus = n, status })
}

// Silence makes every open websocket half-open: the exchange neither sends, answers nor closes. New
// connections are not affected.
func (s *Server) Silence() {
	s.eachConn(0, func(c *conn) { c.silent = true })
}

// SilenceOne is Silence for the connection with this ID, and reports whether there is one.
func (s *Server) SilenceOne(id int) bool {
	return s.eachConn(id, func(c *conn) { c.silent = true })
}

// SkipPings omits the next n pings of every open websocket.
func (s *Server) SkipPings(n int) {
	s.eachConn(0, func(c *conn) { c.skipPings = n })
}

// IgnorePings leaves the pings of clients unanswered, until it is switched off. They still count as messages.
func (s *Server) IgnorePings(on bool) {
	s.locked(func() { s.wire.mute = on })
}

// SendRaw sends a text frame with any content to every websocket.
func (s *Server) SendRaw(text string) {
	s.eachConn(0, func(c *conn) { c.push(frame{data: []byte(text)}) })
}

// SendRawOne is SendRaw to the connection with this ID, and reports whether there is one.
func (s *Server) SendRawOne(id int, text string) bool {
	return s.eachConn(id, func(c *conn) { c.push(frame{data: []byte(text)}) })
}

// SendServerShutdown sends the serverShutdown event to every websocket, in the connection's form. It
// closes nothing; see Disconnect and GoAway.
func (s *Server) SendServerShutdown() {
	s.eachConn(0, (*conn).announceShutdown)
}

// SendServerShutdownOne is SendServerShutdown to the connection with this ID, and reports whether there is
// one.
func (s *Server) SendServerShutdownOne(id int) bool {
	return s.eachConn(id, (*conn).announceShutdown)
}

// GoAway sends the serverShutdown event to every open websocket and closes those that are still open
// after that time with code 1001.
func (s *Server) GoAway(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.goAway(after)
	}
}

// RejectCommands rejects the next n control messages with this error. They have no effect.
func (s *Server) RejectCommands(n, code int, msg string) {
	s.locked(func() { s.commands.reject, s.commands.with = n, requestError{code, msg} })
}

// RefuseUnknownStreams makes the exchange refuse a SUBSCRIBE that names the stream of a symbol that is not listed,
// with all its other streams, until it is switched off. The default is to acknowledge it. A name with a
// space is refused in any case.
func (s *Server) RefuseUnknownStreams(on bool) {
	s.locked(func() { s.commands.unknown = on })
}

// DelayAcks delays the answers to the next n control messages. They take effect at once, so that the data
// of a new stream precedes its acknowledgement.
func (s *Server) DelayAcks(n int, delay time.Duration) {
	s.locked(func() { s.commands.lateAcks, s.commands.ackDelay = n, delay })
}

// DelayUnsubscribes acknowledges the next n UNSUBSCRIBE messages at once and continues to send the data
// for that time.
func (s *Server) DelayUnsubscribes(n int, delay time.Duration) {
	s.locked(func() { s.commands.lingering, s.commands.lingerFor = n, delay })
}

// FlatErrors switches the answers to wrong control messages to {"code":…,"msg":…,"id":…}, as the
// documents show them, in place of the nested form on the wire.
func (s *Server) FlatErrors(on bool) {
	s.locked(func() { s.commands.flat = on })
}

// ExtraFields adds undocumented fields to every event, until it is switched off.
func (s *Server) ExtraFields(on bool) {
	s.locked(func() { s.wire.extraFields = on })
}

// ThirdElements gives every level of events and snapshots an empty third element, as the exchange did
// until 2019, until it is switched off.
func (s *Server) ThirdElements(on bool) {
	s.locked(func() { s.encode.third = on })
}

// SetClock makes the exchange's clock differ from the real one by an offset, in all events and answers
// from now on; negative is behind. Event times jump, and go backwards when the offset shrinks. Limits, pings
// and intervals follow the real clock.
func (s *Server) SetClock(offset time.Duration) {
	s.locked(func() { s.wire.clock = offset })
}

// SendEvent sends a payload, a JSON object, to the subscribers of a stream, wrapped on combined
// connections: an event of an unknown type, for example, or of an all-market stream. It returns ErrConfig
// for a payload that is not a JSON object.
func (s *Server) SendEvent(stream, payload string) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payload), &object); err != nil || object == nil {
		return fmt.Errorf("%w: event %q is not a JSON object", ErrConfig, payload)
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

// LengthenSBE writes SBE messages as a newer version of the schema does, with additional fields at the ends
// of blocks and entries, until it is switched off.
func (s *Server) LengthenSBE(on bool) {
	s.locked(func() { s.encode.sbe.longer = on })
}

// VarySBEExponents gives each SBE message the largest exponents that its numbers allow, so that they differ
// between messages, until it is switched off. Otherwise they are -8.
func (s *Server) VarySBEExponents(on bool) {
	s.locked(func() { s.encode.sbe.vary = on })
}

// UnknownSBE sends a message of an unknown template before each of the next n SBE messages.
func (s *Server) UnknownSBE(n int) {
	s.locked(func() { s.wire.sbe.unknown = n })
}

// TruncateSBE cuts off the end of the next n SBE messages.
func (s *Server) TruncateSBE(n int) {
	s.locked(func() { s.wire.sbe.truncate = n })
}
