package binance

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strconv"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/internal/scan"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// The oracle decodes with encoding/json and adds the documented strictness. It panics with a refusal for
// a frame that must be refused.
type refusal string

type object map[string]json.RawMessage

func refuseUnless(ok bool, why string) {
	if !ok {
		panic(refusal(why))
	}
}

// objectOf returns the members of an object. It refuses a known key that occurs twice.
func objectOf(text []byte) (o object, firstKey string) {
	list, ok := membersOf(text)
	refuseUnless(ok, "not an object")
	o = object{}
	for i, mem := range list {
		if i == 0 {
			firstKey = mem.key
		}
		_, twice := o[mem.key]
		refuseUnless(!twice || fieldOf([]byte(mem.key)) == fieldUnknown, "twice "+mem.key)
		o[mem.key] = mem.value
	}
	return o, firstKey
}

func (o object) has(keys ...string) bool {
	for _, key := range keys {
		if _, ok := o[key]; !ok {
			return false
		}
	}
	return true
}

func textOf(raw json.RawMessage) string {
	var s *string
	refuseUnless(json.Unmarshal(raw, &s) == nil && s != nil, "not a string")
	return *s
}

var integer = regexp.MustCompile(`^-?[0-9]+$`)

func intOf(raw json.RawMessage) int64 {
	refuseUnless(integer.Match(raw), "not an integer")
	n, err := strconv.ParseInt(string(raw), 10, 64)
	refuseUnless(err == nil, "range")
	return n
}

func codeOf(raw json.RawMessage) int {
	n := intOf(raw)
	refuseUnless(n == int64(int32(n)), "range")
	return int(n)
}

func boolOf(raw json.RawMessage) bool {
	var b *bool
	refuseUnless(json.Unmarshal(raw, &b) == nil && b != nil, "not a bool")
	return *b
}

func timeOf(raw json.RawMessage) time.Time {
	n := intOf(raw)
	if n > 1e14 {
		refuseUnless(n <= 1<<63/1000-1, "range")
		return time.UnixMicro(n).UTC()
	}
	refuseUnless(0 <= n && n <= 1<<63/1000000-1, "range")
	return millis(n)
}

var plain = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// numberOf reads a number with shopspring/decimal.
func numberOf(raw json.RawMessage) decimal.Decimal {
	text := textOf(raw)
	refuseUnless(plain.MatchString(text), "not a number")
	d, err := decimal.NewFromString(text)
	refuseUnless(err == nil && d.Equal(d.Truncate(8)), "decimals")
	refuseUnless(!d.IsNegative(), "below zero")
	return d
}

func fixedOf(raw json.RawMessage) orderbook.Fixed {
	d := numberOf(raw)
	refuseUnless(!d.GreaterThan(orderbook.MaxFixed.Decimal()), "range")
	return orderbook.Fixed(d.Shift(8).IntPart())
}

// quantityOf reads the quantity of a level: one that is too large is the largest, and counted.
func (m *Message) quantityOf(raw json.RawMessage) orderbook.Fixed {
	q := orderbook.Fixed(decimal.Min(numberOf(raw), orderbook.MaxFixed.Decimal()).Shift(8).IntPart())
	if q == orderbook.MaxFixed {
		m.Capped++
	}
	return q
}

func (m *Message) levelsOf(raw json.RawMessage) []orderbook.Level {
	var rows [][]json.RawMessage
	refuseUnless(json.Unmarshal(raw, &rows) == nil && rows != nil, "not levels")
	levels := []orderbook.Level{}
	for _, row := range rows {
		refuseUnless(len(row) >= 2, "not a level")
		levels = append(levels, orderbook.Level{Price: fixedOf(row[0]), Quantity: m.quantityOf(row[1])})
	}
	return levels
}

func frameOf(frame []byte) (m Message) {
	refuseUnless(json.Valid(frame) && utf8.Valid(frame), "not JSON")
	if isArray(frame) {
		return m
	}
	o, firstKey := objectOf(frame)
	switch {
	case firstKey != "e" && (o.has("stream") || o.has("data")):
		refuseUnless(o.has("stream", "data"), "missing")
		if !isArray(o["data"]) {
			m = eventOf(o["data"])
		}
		m.Stream = textOf(o["stream"])
		if m.Type == MessageDepth && !regexp.MustCompile(`^([^@]*@)?depth(@|$)`).MatchString(m.Stream) {
			m.Type, m.Update = MessageUnknown, orderbook.Update{}
		}
	case firstKey != "e" && (o.has("result") || o.has("error") || o.has("code", "msg")):
		m = answerOf(o)
	case firstKey != "e" && o.has("event"):
		m = eventOf(o["event"])
	default:
		m = eventOf(frame)
	}
	return m
}

func isArray(text []byte) bool {
	var list []json.RawMessage
	return json.Unmarshal(text, &list) == nil && list != nil
}

func answerOf(o object) (m Message) {
	m.Type = MessageAck
	switch {
	case o.has("error"):
		e, _ := objectOf(o["error"])
		refuseUnless(e.has("code", "msg"), "missing")
		m.Type, m.Err = MessageError, &StreamError{Code: codeOf(e["code"]), Message: textOf(e["msg"])}
	case o.has("code", "msg"):
		m.Type, m.Err = MessageError, &StreamError{Code: codeOf(o["code"]), Message: textOf(o["msg"])}
	case isArray(o["result"]):
		m.Result = []string{}
		var list []json.RawMessage
		refuseUnless(json.Unmarshal(o["result"], &list) == nil, "list")
		for _, raw := range list {
			m.Result = append(m.Result, textOf(raw))
		}
	}
	switch id := o["id"]; {
	case id == nil || string(id) == "null":
		m.RequestID.Null = true
	case id[0] == '"':
		m.RequestID.Text = textOf(id)
	default:
		m.RequestID.Number = intOf(id)
	}
	return m
}

func eventOf(text []byte) (m Message) {
	o, _ := objectOf(text)
	name := ""
	switch {
	case o.has("e"):
		name = textOf(o["e"])
	case o.has("u", "s", "b", "B", "a", "A"):
		name = "bookTicker"
	}
	need := func(keys ...string) { refuseUnless(o.has(keys...), "missing") }
	optional := func(key string) (t time.Time) {
		if o.has(key) {
			t = timeOf(o[key])
		}
		return t
	}
	switch name {
	default:
		return m
	case "serverShutdown":
		m.Type = MessageShutdown
		m.EventTime = optional("E")
		return m
	case "depthUpdate":
		need("E", "U", "u", "b", "a", "s")
		m.Type = MessageDepth
		m.Update = orderbook.Update{
			FirstID: intOf(o["U"]), LastID: intOf(o["u"]), EventTime: timeOf(o["E"]), TransactTime: optional("T"),
			Bids: m.levelsOf(o["b"]), Asks: m.levelsOf(o["a"]),
		}
		if o.has("pu") {
			m.Update.PrevLastID = intOf(o["pu"])
		}
	case "bookTicker":
		need("u", "b", "B", "a", "A", "s")
		m.Type = MessageTicker
		m.Ticker = marketprism.Ticker{
			UpdateID: intOf(o["u"]), TransactTime: optional("T"),
			Bid: orderbook.Level{Price: fixedOf(o["b"]), Quantity: m.quantityOf(o["B"])},
			Ask: orderbook.Level{Price: fixedOf(o["a"]), Quantity: m.quantityOf(o["A"])},
		}
	case "trade", "aggTrade":
		need("E", "p", "q", "T", "m", "s")
		m.Type = MessageTrade
		m.Trade = marketprism.Trade{
			Price: fixedOf(o["p"]), Quantity: fixedOf(o["q"]), TradeTime: timeOf(o["T"]), BuyerMaker: boolOf(o["m"]),
		}
		if o.has("M") {
			m.Trade.BestMatch = boolOf(o["M"])
		}
		if name == "aggTrade" {
			need("a", "f", "l")
			m.Trade.Aggregate, m.Trade.ID, m.Trade.FirstID, m.Trade.LastID = true, intOf(o["a"]), intOf(o["f"]), intOf(o["l"])
			break
		}
		need("t")
		m.Trade.ID = intOf(o["t"])
		if o.has("X") {
			m.TradeType = textOf(o["X"])
		}
	}
	m.Symbol, m.EventTime = textOf(o["s"]), optional("E")
	return m
}

func snapshotOf(body []byte) (s orderbook.Snapshot, symbol string) {
	refuseUnless(json.Valid(body) && utf8.Valid(body), "not JSON")
	o, _ := objectOf(body)
	refuseUnless(o.has("lastUpdateId", "bids", "asks"), "missing")
	s = orderbook.Snapshot{LastID: intOf(o["lastUpdateId"]), Bids: []orderbook.Level{}, Asks: []orderbook.Level{}}
	var m Message
	for _, l := range m.levelsOf(o["bids"]) {
		if l.Quantity != 0 {
			s.Bids = append(s.Bids, l)
		}
	}
	for _, l := range m.levelsOf(o["asks"]) {
		if l.Quantity != 0 {
			s.Asks = append(s.Asks, l)
		}
	}
	if o.has("E") {
		s.EventTime = timeOf(o["E"])
	}
	if o.has("T") {
		s.TransactTime = timeOf(o["T"])
	}
	if o.has("symbol") {
		symbol = textOf(o["symbol"])
	}
	return s, symbol
}

// try calls f and returns its refusal, "" if there was none.
func try(f func()) (why refusal) {
	defer func() {
		if r, ok := recover().(refusal); ok {
			why = r
		}
	}()
	f()
	return ""
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		f.Add([]byte(s.frame))
		f.Add(reordered([]byte(s.frame), 1))
	}
	for _, frame := range eventgen.New(eventgen.Config{Levels: 100, Events: 3}).CombinedFrames() {
		f.Add(frame)
	}
	f.Add([]byte("0\x00000\x00\x00\x00")) // SBE of an unknown template
	var d Decoder                         // one for all: names and forms learned from one frame must not affect the next
	var m Message
	f.Fuzz(func(t *testing.T, frame []byte) { compareWithOracle(t, &d, &m, frame) })
}

// The oracle and the Decoder agree on every frame made by removing one byte, or replacing it by one that
// has a meaning in JSON.
func TestDecodeWithOneByteChanged(t *testing.T) {
	short.SkipWhole(t)
	var d Decoder
	var m Message
	for _, s := range samples() {
		for i := range s.frame {
			before, after := s.frame[:i], s.frame[i+1:]
			compareWithOracle(t, &d, &m, []byte(before+after))
			for _, c := range []byte("\"\\,]}0-. \xff") {
				compareWithOracle(t, &d, &m, append(append([]byte(before), c), after...))
			}
		}
	}
}

func compareWithOracle(t *testing.T, d *Decoder, m *Message, frame []byte) {
	t.Helper()
	if isSBE(frame) { // no JSON: its own oracle says what is refused
		checkSBE(t, d, m, frame)
		return
	}
	if nesting(frame) > scan.MaxDepth {
		return
	}
	var want Message
	why := try(func() { want = frameOf(frame) })
	err := d.Decode(frame, m)
	switch {
	case why == "" && err != nil:
		t.Fatalf("%s\nrefused: %v\nwant %+v", frame, err, want)
	case why != "" && err == nil:
		t.Fatalf("%s\naccepted as %+v\nbut must be refused: %s", frame, *m, why)
	case why == "" && !reflect.DeepEqual(payload(m), want):
		t.Fatalf("%s\ngot  %+v\nwant %+v", frame, payload(m), want)
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	f.Add([]byte(`{"lastUpdateId":1027024,"bids":[["4.00000000","431.00000000"]],"asks":[["4.00000200","0.00000000"]]}`))
	f.Add([]byte(`{"symbol":"X","pair":"X","lastUpdateId":-1,"E":1626992741264,"T":1626992741261,"bids":[],"asks":[["4","12"],["5","0"]]}`))
	f.Add([]byte(`{"lastUpdateId":9,"bids":[["0.00000048","310000000000.0"]],"asks":[["0.00000049","92233720368.54775807"]]}`))
	f.Add(eventgen.New(eventgen.Config{Levels: 20, Events: 1}).SnapshotJSON())
	var d Decoder
	var got orderbook.Snapshot
	f.Fuzz(func(t *testing.T, body []byte) {
		if nesting(body) > scan.MaxDepth {
			return
		}
		var want orderbook.Snapshot
		var wantSymbol string
		why := try(func() { want, wantSymbol = snapshotOf(body) })
		symbol, err := d.DecodeSnapshot(body, &got)
		switch {
		case (why == "") != (err == nil):
			t.Fatalf("%s\nerror %v, want %q", body, err, why)
		case why == "" && (symbol != wantSymbol || !reflect.DeepEqual(got.Clone(), want.Clone())):
			t.Fatalf("%s\ngot  %q %+v\nwant %q %+v", body, symbol, got, wantSymbol, want)
		}
	})
}

// nesting returns a bound of how deeply arrays and objects are nested.
func nesting(text []byte) int {
	deepest, now := 0, 0
	for _, c := range text {
		switch c {
		case '[', '{':
			now++
			deepest = max(deepest, now)
		case ']', '}':
			now--
		}
	}
	return deepest
}
