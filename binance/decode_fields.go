package binance

import "math/bits"

// A field is a key this package knows. One letter means different things in different events, but it
// is one field.
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

// fieldOf returns the field whose key this is.
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

// letterFields are the fields whose key is one letter.
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

// next moves to the next member of an object and returns its field. One that is known and has been
// seen in this object is an error: nobody could say which of the two values counts.
func (d *Decoder) next(seen *fieldSet) (f field, ok bool) {
	at := d.scan.Offset()
	key, ok := d.scan.Key()
	if !ok {
		return fieldUnknown, false
	}
	f = fieldOf(key)
	if seen.has(f) {
		d.scan.Fail(at, namedField(ErrDuplicateField, fieldNames[f]))
		return fieldUnknown, false
	}
	*seen |= 1 << f &^ 1
	return f, true
}

// require fails, at the end of an object, unless all wanted fields were seen.
func (d *Decoder) require(seen, wanted fieldSet) bool {
	if missing := wanted &^ seen; missing != 0 && d.scan.Err() == nil {
		name := fieldNames[bits.TrailingZeros32(uint32(missing))]
		d.scan.Fail(d.scan.Offset(), namedField(ErrMissingField, name))
	}
	return d.scan.Err() == nil
}

// A survey is what an object has, without what it says.
type survey struct {
	fieldSet
	at    [fieldCount]int // offset of the value of each field that it has
	start int             // offset of the object
	end   int             // offset behind it
}

// survey reads over an object; false if it fails.
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
