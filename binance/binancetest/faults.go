package binancetest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// sharedFaults are the faults that are not of one symbol or connection.
type sharedFaults struct {
	faults   restFaults
	wire     wireFaults
	commands commandFaults
}

// symbolFaults are the pending faults of one symbol.
type symbolFaults struct {
	dropDepth, duplicateDepth, swapDepth, holdDepth int // events
	dropAtSnapshot                                  int // events after the next snapshot

	stale, staleBorders int // snapshots, and how old
	midBatches          int // snapshots

	dropTrades, duplicateTrades int // executions

	rest requestFaults
}

// onDepth reports whether a fault applies to the next depth event.
func (f *symbolFaults) onDepth() bool {
	return f.dropDepth > 0 || f.duplicateDepth > 0 || f.swapDepth > 0 || f.holdDepth > 0
}

// depthCopies returns how many copies of the next depth event to send: 1, or with a fault 0 or 2.
func (f *symbolFaults) depthCopies() int {
	switch {
	case f.dropDepth > 0:
		f.dropDepth--
		return 0
	case f.duplicateDepth > 0:
		f.duplicateDepth--
		return 2
	}
	return 1
}

// depthEvents returns the events to send in place of the next event of a depth stream, and moves those to
// keep back to k.
func (f *symbolFaults) depthEvents(k *keptEvents, e payload) []payload {
	switch copies := f.depthCopies(); {
	case copies == 0:
		return nil
	case copies == 2:
		return append(k.release(), e, e)
	case f.holdDepth > 0 && !k.reversed:
		f.holdDepth--
		k.events = append(k.events, e)
		return nil
	case f.swapDepth > 0 && len(k.events) == 0:
		f.swapDepth--
		k.events, k.reversed = append(k.events, e), true
		return nil
	case k.reversed:
		return append([]payload{e}, k.release()...)
	}
	return append(k.release(), e)
}

// keptEvents are the events of a depth stream that a fault keeps back.
type keptEvents struct {
	events   []payload
	reversed bool // they are sent after the next event, else before it
}

// release returns the events that were kept back, in their order.
func (k *keptEvents) release() []payload {
	events := k.events
	*k = keptEvents{}
	return events
}

// staleBy returns how many borders back the next snapshot is taken.
func (f *symbolFaults) staleBy() int {
	if f.stale <= 0 {
		return 0
	}
	f.stale--
	return f.staleBorders
}

// midBatch reports whether the next snapshot shows the book between two borders.
func (f *symbolFaults) midBatch() bool {
	if f.midBatches <= 0 {
		return false
	}
	f.midBatches--
	return true
}

// afterSnapshot starts the fault that waits for a snapshot.
func (f *symbolFaults) afterSnapshot() {
	if f.dropAtSnapshot > 0 {
		f.dropDepth, f.dropAtSnapshot = f.dropAtSnapshot, 0
	}
}

// tradeCopies returns how many copies of the next execution to send: 1, or with a fault 0 or 2.
func (f *symbolFaults) tradeCopies() int {
	switch {
	case f.dropTrades > 0:
		f.dropTrades--
		return 0
	case f.duplicateTrades > 0:
		f.duplicateTrades--
		return 2
	}
	return 1
}

// requestFaults are the pending faults of REST requests: of all, or of one symbol's.
type requestFaults struct {
	reject     int // requests
	status     int
	retryAfter time.Duration

	slow  int // snapshots
	delay time.Duration
}

func (f *requestFaults) rejectWith(n, status int, retryAfter time.Duration) {
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	f.reject, f.status, f.retryAfter = n, status, retryAfter
}

// rejection returns the answer of a fault to the next request, or nil.
func (f *requestFaults) rejection(now time.Time, m *weightMeter) *answer {
	if f.reject <= 0 {
		return nil
	}
	f.reject--
	var a *answer
	switch f.status {
	case http.StatusTooManyRequests:
		a = m.tooMany(now)
	case http.StatusTeapot:
		a = bannedAnswer(f.retryAfter, &banForms()[0])
	case http.StatusForbidden, http.StatusBadGateway, http.StatusGatewayTimeout:
		text := fmt.Sprintf("%d %s", f.status, http.StatusText(f.status))
		a = &answer{status: f.status, html: true, foreign: true, body: fmt.Appendf(nil,
			"<html>\r\n<head><title>%[1]s</title></head>\r\n<body>\r\n<center><h1>%[1]s</h1></center>\r\n</body>\r\n</html>\r\n", text)}
	default:
		a = apiError(f.status, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.")
	}
	a.retryAfter = f.retryAfter
	return a
}

func (f *requestFaults) snapshotDelay() time.Duration {
	if f.slow <= 0 {
		return 0
	}
	f.slow--
	return f.delay
}

// restFaults are the pending faults of all requests and handshakes.
type restFaults struct {
	requestFaults

	hang    int // requests
	hangFor time.Duration

	rejectStreams int // handshakes
	streamStatus  int

	trickle      int // requests
	trickleEvery time.Duration

	truncate int  // requests
	gzip     bool // until it is switched off

	names   []string // listed without being symbols
	listing pendingListings
	ban     banFault
}

// decorate applies the faults to an answer.
func (f *restFaults) decorate(a *answer) {
	if f.hang > 0 {
		f.hang--
		a.delay = max(a.delay, f.hangFor)
	}
	if f.trickle > 0 {
		f.trickle--
		a.trickle = f.trickleEvery
	}
	if f.truncate > 0 {
		f.truncate--
		a.truncated = true
	}
	a.gzip = f.gzip
}

// commandFaults are the pending faults of control messages, on any connection.
type commandFaults struct {
	reject int // messages
	with   requestError

	lateAcks int // messages
	ackDelay time.Duration

	unknown bool // names of symbols that are not listed are refused

	lingering int // UNSUBSCRIBE messages
	lingerFor time.Duration

	flat bool
}

// rejection returns the error of a fault for the next control message, or nil.
func (f *commandFaults) rejection() *requestError {
	if f.reject <= 0 {
		return nil
	}
	f.reject--
	return &requestError{f.with.Code, f.with.Msg}
}

// delayAck returns how late the next answer to a control message is sent.
func (f *commandFaults) delayAck() time.Duration {
	if f.lateAcks <= 0 {
		return 0
	}
	f.lateAcks--
	return f.ackDelay
}

// delayUnsubscribe returns how long the data of the next UNSUBSCRIBE message goes on.
func (f *commandFaults) delayUnsubscribe() time.Duration {
	if f.lingering <= 0 {
		return 0
	}
	f.lingering--
	return f.lingerFor
}

// errorReply returns the answer to a wrong control message. The documents show the flat form; on the wire
// it is nested.
func (f *commandFaults) errorReply(id json.RawMessage, e *requestError) []byte {
	body, _ := json.Marshal(e) // a struct of plain fields always marshals
	if f.flat {
		return fmt.Appendf(nil, `%s,"id":%s}`, body[:len(body)-1], orNull(id))
	}
	return fmt.Appendf(nil, `{"error":%s,"id":%s}`, body, orNull(id))
}

// wireFaults change every event.
type wireFaults struct {
	clock       time.Duration // ahead of the real one
	extraFields bool
	mute        bool // pings of clients stay unanswered
	sbe         sbeFaults
}

// extraFields are undocumented fields.
const extraFields = `,"zz":{"deep":[1,-2.5e3,"\u00e9\"}",null,true,{}]},"0":[]}`

// dress applies the faults to the payload of an event.
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

// sbeFaults count the SBE messages that are preceded by an unknown one, or cut short.
type sbeFaults struct {
	unknown, truncate int // messages
}

// frames returns the messages to send in place of one message.
func (f *sbeFaults) frames(message []byte) [][]byte {
	var all [][]byte
	if f.unknown > 0 {
		f.unknown--
		other := append([]byte(nil), message...)
		binary.LittleEndian.PutUint16(other[2:], sbeUnheardOf)
		all = append(all, other)
	}
	if f.truncate > 0 {
		f.truncate--
		message = message[:len(message)*2/3]
	}
	return append(all, message)
}
