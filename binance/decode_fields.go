package binance

import (
	"bytes"
	"math/bits"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A field is a key this package knows. A letter is one field, though it means different things in
// different events.
type field uint8

const (
	fieldUnknown    field = iota
	fieldEvent            // e
	fieldEventTime        // E
	fieldSymbol           // s
	fieldTime             // T
	fieldPrevious         // pu
	fieldLowerA           // a
	fieldUpperA           // A
	fieldLowerB           // b
	fieldUpperB           // B
	fieldLowerU           // u
	fieldUpperU           // U
	fieldLowerT           // t
	fieldPrice            // p
	fieldQuantity         // q
	fieldFirst            // f
	fieldLast             // l
	fieldMaker            // m
	fieldBestMatch        // M
	fieldTradeType        // X
	fieldStream           // stream
	fieldData             // data
	fieldResult           // result
	fieldID               // id
	fieldError            // error
	fieldCode             // code
	fieldMessage          // msg
	fieldWrapped          // event
	fieldLastID           // lastUpdateId
	fieldBids             // bids
	fieldAsks             // asks
	fieldLongSymbol       // symbol
	fieldCount
)

var fieldNames = [fieldCount]string{
	fieldEvent: "e", fieldEventTime: "E", fieldSymbol: "s", fieldTime: "T", fieldPrevious: "pu",
	fieldLowerA: "a", fieldUpperA: "A", fieldLowerB: "b", fieldUpperB: "B", fieldLowerU: "u", fieldUpperU: "U",
	fieldLowerT: "t", fieldPrice: "p", fieldQuantity: "q", fieldFirst: "f", fieldLast: "l",
	fieldMaker: "m", fieldBestMatch: "M", fieldTradeType: "X",
	fieldStream: "stream", fieldData: "data",
	fieldResult: "result", fieldID: "id", fieldError: "error", fieldCode: "code", fieldMessage: "msg",
	fieldWrapped: "event",
	fieldLastID:  "lastUpdateId", fieldBids: "bids", fieldAsks: "asks", fieldLongSymbol: "symbol",
}

// fieldOf returns the field of a key.
func fieldOf(key []byte) field {
	if len(key) == 1 && int(key[0]) < len(letterFields) {
		return letterFields[key[0]]
	}
	switch string(key) {
	case "pu":
		return fieldPrevious
	case "stream":
		return fieldStream
	case "data":
		return fieldData
	case "result":
		return fieldResult
	case "id":
		return fieldID
	case "error":
		return fieldError
	case "code":
		return fieldCode
	case "msg":
		return fieldMessage
	case "event":
		return fieldWrapped
	case "lastUpdateId":
		return fieldLastID
	case "bids":
		return fieldBids
	case "asks":
		return fieldAsks
	case "symbol":
		return fieldLongSymbol
	}
	return fieldUnknown
}

// letterFields holds the fields whose key is one letter.
var letterFields = ['z' + 1]field{
	'e': fieldEvent, 'E': fieldEventTime, 's': fieldSymbol, 'T': fieldTime,
	'a': fieldLowerA, 'A': fieldUpperA, 'b': fieldLowerB, 'B': fieldUpperB, 'u': fieldLowerU, 'U': fieldUpperU,
	't': fieldLowerT, 'p': fieldPrice, 'q': fieldQuantity, 'f': fieldFirst, 'l': fieldLast,
	'm': fieldMaker, 'M': fieldBestMatch, 'X': fieldTradeType,
}

// A fieldSet is a set of fields.
type fieldSet uint32

func (s fieldSet) has(f field) bool { return s>>f&1 != 0 }

func (s fieldSet) hasAll(t fieldSet) bool { return s&t == t }

// next moves to the next member of an object and returns its field. A known field that is in seen
// already is an error: it is unclear which of the two values counts.
func (d *Decoder) next(seen *fieldSet) (f field, ok bool) {
	at := d.scan.Offset()
	key, ok := d.scan.Key()
	if !ok {
		return fieldUnknown, false
	}
	f = fieldOf(key)
	if seen.has(f) {
		d.scan.Fail(at, namedField(errDuplicateField, fieldNames[f]))
		return fieldUnknown, false
	}
	*seen |= 1 << f &^ 1
	return f, true
}

// require fails, at the end of an object, unless seen has all wanted fields.
func (d *Decoder) require(seen, wanted fieldSet) bool {
	if missing := wanted &^ seen; missing != 0 && d.scan.Err() == nil {
		name := fieldNames[bits.TrailingZeros32(uint32(missing))]
		d.scan.Fail(d.scan.Offset(), namedField(errMissingField, name))
	}
	return d.scan.Err() == nil
}

// A survey is the layout of an object: which fields it has, and where.
type survey struct {
	fieldSet
	at    [fieldCount]int // offset of each field's value
	start int             // offset of the object
	end   int             // offset behind it
}

// survey skips an object and notes its layout. It reports whether the object is well formed.
func (d *Decoder) survey(v *survey) bool {
	s := &d.scan
	v.fieldSet, v.start = 0, s.Offset()
	s.Object()
	for f, ok := d.next(&v.fieldSet); ok; f, ok = d.next(&v.fieldSet) {
		v.at[f] = s.Offset()
		s.Skip()
	}
	v.end = s.Offset()
	return s.Err() == nil
}

func (d *Decoder) symbol(m *Message) { m.Symbol = d.scan.Interned(&d.names.symbols) }

// Times are milliseconds, or microseconds where the connection was opened with timeUnit=MICROSECOND
// (web-socket-streams.md, General WSS information). A frame does not say which, but 10^14 is the year
// 5138 in milliseconds and 1973 in microseconds. Times must fit time.Time.UnixNano.
const (
	firstMicros = 100_000_000_000_000
	maxMillis   = (1<<63 - 1) / 1_000_000
	maxMicros   = (1<<63 - 1) / 1_000
)

func (d *Decoder) time() time.Time {
	at := d.scan.Offset()
	switch t := d.scan.Int(); {
	case 0 <= t && t <= maxMillis:
		return time.UnixMilli(t).UTC()
	case firstMicros < t && t <= maxMicros:
		return time.UnixMicro(t).UTC()
	}
	d.scan.Fail(at, orderbook.ErrRange)
	return time.Time{}
}

// eventTime returns the event time of a frame without decoding it; ok is false if it has none near its
// start, where the exchange writes it: {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":…
func eventTime(frame []byte) (t time.Time, ok bool) {
	if isSBE(frame) {
		if len(frame) < sbeHeader+8 {
			return t, false
		}
		return time.UnixMicro(number(frame[sbeHeader:])), true
	}
	_, rest, ok := bytes.Cut(frame[:min(len(frame), 256)], []byte(`"E":`))
	n := int64(0)
	for ; ok && len(rest) > 0 && '0' <= rest[0] && rest[0] <= '9' && n < 1000*maxMillis; rest = rest[1:] {
		n = 10*n + int64(rest[0]-'0')
	}
	if n > firstMicros {
		return time.UnixMicro(n), true
	}
	return time.UnixMilli(n), n > 0
}
