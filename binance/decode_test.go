package binance

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/internal/scan"
	"github.com/marketprism/marketprism/orderbook"
)

func num(s string) orderbook.Fixed {
	f, err := orderbook.ParseFixed(s)
	if err != nil {
		panic(err)
	}
	return f
}

func lvl(price, quantity string) orderbook.Level {
	return orderbook.Level{Price: num(price), Quantity: num(quantity)}
}

func millis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// payload returns m without the fields that its type gives no meaning to.
func payload(m *Message) Message {
	p := *m
	if p.Type != MessageDepth {
		p.Update = orderbook.Update{}
	} else {
		p.Update.Bids = append([]orderbook.Level{}, p.Update.Bids...)
		p.Update.Asks = append([]orderbook.Level{}, p.Update.Asks...)
	}
	if p.Type != MessageTrade {
		p.Trade, p.TradeType = marketprism.Trade{}, ""
	}
	if p.Type != MessageTicker {
		p.Ticker = marketprism.Ticker{}
	}
	return p
}

type sample struct {
	name  string
	frame string
	want  Message
}

// samples has a frame of every shape the exchange sends or has sent.
func samples() []sample {
	no := []orderbook.Level{}
	return []sample{
		{"spot depth", `{"e":"depthUpdate","E":1770000000182,"s":"BNBBTC","U":157,"u":160,"b":[["0.00240000","10.00000000"]],"a":[]}`,
			Message{Type: MessageDepth, Symbol: "BNBBTC", EventTime: millis(1770000000182), Update: orderbook.Update{
				FirstID: 157, LastID: 160, EventTime: millis(1770000000182), Bids: []orderbook.Level{lvl("0.0024", "10")}, Asks: no}}},
		{"spot depth in microseconds", `{"e":"depthUpdate","E":1770000000182345,"s":"BNBBTC","U":157,"u":157,"b":[],"a":[["0.00240000","0.00000000"]]}`,
			Message{Type: MessageDepth, Symbol: "BNBBTC", EventTime: time.UnixMicro(1770000000182345).UTC(), Update: orderbook.Update{
				FirstID: 157, LastID: 157, EventTime: time.UnixMicro(1770000000182345).UTC(), Bids: no, Asks: []orderbook.Level{lvl("0.0024", "0")}}}},
		{"spot depth with the levels of 2018", `{"e":"depthUpdate","E":1540000000182,"s":"BNBBTC","U":157,"u":160,"b":[["0.0024","10",[]],["0.0023","1",[]]],"a":[["0.0026","100",[]]]}`,
			Message{Type: MessageDepth, Symbol: "BNBBTC", EventTime: millis(1540000000182), Update: orderbook.Update{
				FirstID: 157, LastID: 160, EventTime: millis(1540000000182), Bids: []orderbook.Level{lvl("0.0024", "10"), lvl("0.0023", "1")}, Asks: []orderbook.Level{lvl("0.0026", "100")}}}},
		{"spot depth of an asset with one decimal", `{"e":"depthUpdate","E":1787315652514,"s":"BTTCUSDT","U":10,"u":11,"b":[["0.00000047","184467440736.0"],["0.00000046","92233720368.0"]],"a":[["0.00000049","922337203685477580.7"]]}`,
			Message{Type: MessageDepth, Symbol: "BTTCUSDT", EventTime: millis(1787315652514), Capped: 2, Update: orderbook.Update{
				FirstID: 10, LastID: 11, EventTime: millis(1787315652514), Bids: []orderbook.Level{lvl("0.00000047", "92233720368.54775807"), lvl("0.00000046", "92233720368")},
				Asks: []orderbook.Level{lvl("0.00000049", "92233720368.54775807")}}}},
		{"USDM depth", `{"stream":"akrousdt@depth@100ms","data":{"e":"depthUpdate","E":1626992741077,"T":1626992740974,"s":"AKROUSDT","ps":"AKROUSDT","U":600859599831,"u":600859599840,"pu":600859598737,"b":[],"a":[["0.01737","437848"]],"st":1}}`,
			Message{Type: MessageDepth, Stream: "akrousdt@depth@100ms", Symbol: "AKROUSDT", EventTime: millis(1626992741077), Update: orderbook.Update{
				FirstID: 600859599831, LastID: 600859599840, PrevLastID: 600859598737, EventTime: millis(1626992741077), TransactTime: millis(1626992740974), Bids: no, Asks: []orderbook.Level{lvl("0.01737", "437848")}}}},
		{"COINM depth", `{"e":"depthUpdate","E":1626916434045,"T":1626916433991,"s":"BCHUSD_PERP","ps":"BCHUSD","U":167006263811,"u":167006263994,"pu":167006263196,"b":[["427.79","222"]],"a":[]}`,
			Message{Type: MessageDepth, Symbol: "BCHUSD_PERP", EventTime: millis(1626916434045), Update: orderbook.Update{
				FirstID: 167006263811, LastID: 167006263994, PrevLastID: 167006263196, EventTime: millis(1626916434045), TransactTime: millis(1626916433991), Bids: []orderbook.Level{lvl("427.79", "222")}, Asks: no}}},
		{"spot trade", `{"e":"trade","E":1770000000001,"s":"BNBBTC","t":12345,"p":"0.00100000","q":"100.00000000","T":1770000000000,"m":true,"M":true}`,
			Message{Type: MessageTrade, Symbol: "BNBBTC", EventTime: millis(1770000000001), Trade: marketprism.Trade{
				ID: 12345, Price: num("0.001"), Quantity: num("100"), BuyerMaker: true, BestMatch: true, TradeTime: millis(1770000000000)}}},
		{"spot trade with order ids", `{"e":"trade","E":1670000000001,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","b":88,"a":50,"T":1670000000000,"m":false,"M":true}`,
			Message{Type: MessageTrade, Symbol: "BNBBTC", EventTime: millis(1670000000001), Trade: marketprism.Trade{
				ID: 12345, Price: num("0.001"), Quantity: num("100"), BestMatch: true, TradeTime: millis(1670000000000)}}},
		{"futures trade", `{"e":"trade","E":1770000000001,"T":1770000000000,"s":"BTCUSDT","t":5,"p":"65000.10","q":"0.001","X":"INSURANCE_FUND","m":true}`,
			Message{Type: MessageTrade, Symbol: "BTCUSDT", EventTime: millis(1770000000001), TradeType: "INSURANCE_FUND", Trade: marketprism.Trade{
				ID: 5, Price: num("65000.1"), Quantity: num("0.001"), BuyerMaker: true, TradeTime: millis(1770000000000)}}},
		{"spot aggTrade", `{"stream":"nknusdt@aggTrade","data":{"e":"aggTrade","E":1633998523963,"s":"NKNUSDT","a":15683430,"p":"0.35280000","q":"58.00000000","f":19862790,"l":19862791,"T":1633998523962,"m":false,"M":true}}`,
			Message{Type: MessageTrade, Stream: "nknusdt@aggTrade", Symbol: "NKNUSDT", EventTime: millis(1633998523963), Trade: marketprism.Trade{
				ID: 15683430, Aggregate: true, FirstID: 19862790, LastID: 19862791, Price: num("0.3528"), Quantity: num("58"), BestMatch: true, TradeTime: millis(1633998523962)}}},
		{"broken aggTrade", `{"e":"aggTrade","E":1600000000001,"s":"BNBBTC","a":7,"p":"0","q":"0","f":-1,"l":-1,"T":1600000000000,"m":true,"M":true}`,
			Message{Type: MessageTrade, Symbol: "BNBBTC", EventTime: millis(1600000000001), Trade: marketprism.Trade{
				ID: 7, Aggregate: true, FirstID: -1, LastID: -1, BuyerMaker: true, BestMatch: true, TradeTime: millis(1600000000000)}}},
		{"USDM aggTrade", `{"e":"aggTrade","E":1770000000001,"a":16599292,"s":"CTKUSDT","p":"1.01100","q":"10","nq":"9","f":23961322,"l":23961322,"T":1770000000000,"m":true,"st":1}`,
			Message{Type: MessageTrade, Symbol: "CTKUSDT", EventTime: millis(1770000000001), Trade: marketprism.Trade{
				ID: 16599292, Aggregate: true, FirstID: 23961322, LastID: 23961322, Price: num("1.011"), Quantity: num("10"), BuyerMaker: true, TradeTime: millis(1770000000000)}}},
		{"spot bookTicker of an asset with one decimal", `{"u":400900217,"s":"BTTCUSDT","b":"0.00000048","B":"310000000000.0","a":"0.00000049","A":"1.0"}`,
			Message{Type: MessageTicker, Symbol: "BTTCUSDT", Capped: 1, Ticker: marketprism.Ticker{
				UpdateID: 400900217, Bid: lvl("0.00000048", "92233720368.54775807"), Ask: lvl("0.00000049", "1")}}},
		{"spot bookTicker", `{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}`,
			Message{Type: MessageTicker, Symbol: "BNBUSDT", Ticker: marketprism.Ticker{
				UpdateID: 400900217, Bid: lvl("25.3519", "31.21"), Ask: lvl("25.3652", "40.66")}}},
		{"combined spot bookTicker", `{"stream":"bnbusdt@bookTicker","data":{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}}`,
			Message{Type: MessageTicker, Stream: "bnbusdt@bookTicker", Symbol: "BNBUSDT", Ticker: marketprism.Ticker{
				UpdateID: 400900217, Bid: lvl("25.3519", "31.21"), Ask: lvl("25.3652", "40.66")}}},
		{"futures bookTicker", `{"e":"bookTicker","u":600859600576,"s":"SUSHIUSDT","b":"7.6110","B":"2","a":"7.6120","A":"297","T":1626992741012,"E":1626992741017}`,
			Message{Type: MessageTicker, Symbol: "SUSHIUSDT", EventTime: millis(1626992741017), Ticker: marketprism.Ticker{
				UpdateID: 600859600576, TransactTime: millis(1626992741012), Bid: lvl("7.611", "2"), Ask: lvl("7.612", "297")}}},
		{"ack", `{"result":null,"id":1}`, Message{Type: MessageAck, RequestID: RequestID{Number: 1}}},
		{"ack of a text id", `{"id":"abc9","result":null}`, Message{Type: MessageAck, RequestID: RequestID{Text: "abc9"}}},
		{"ack of a negative id", `{"result":null,"id":-9223372036854775808}`, Message{Type: MessageAck, RequestID: RequestID{Number: -1 << 63}}},
		{"ack of no id", `{"result":null,"id":null}`, Message{Type: MessageAck, RequestID: RequestID{Null: true}}},
		{"list", `{"result":["btcusdt@depth@100ms","btcusdt@trade"],"id":3}`,
			Message{Type: MessageAck, RequestID: RequestID{Number: 3}, Result: []string{"btcusdt@depth@100ms", "btcusdt@trade"}}},
		{"empty list", `{"result":[],"id":3}`, Message{Type: MessageAck, RequestID: RequestID{Number: 3}, Result: []string{}}},
		{"property", `{"result":true,"id":2}`, Message{Type: MessageAck, RequestID: RequestID{Number: 2}}},
		{"nested error", `{"error":{"code":2,"msg":"Invalid request: unknown variant"},"id":7}`,
			Message{Type: MessageError, RequestID: RequestID{Number: 7}, Err: &StreamError{Code: 2, Message: "Invalid request: unknown variant"}}},
		{"nested error without id", `{"error":{"code":3,"msg":"Invalid JSON: \"x\""},"id":null}`,
			Message{Type: MessageError, RequestID: RequestID{Null: true}, Err: &StreamError{Code: 3, Message: `Invalid JSON: "x"`}}},
		{"flat error", `{"code":-1121,"msg":"Invalid symbol."}`,
			Message{Type: MessageError, RequestID: RequestID{Null: true}, Err: &StreamError{Code: -1121, Message: "Invalid symbol."}}},
		{"flat error with id", `{"id":4,"msg":"Unknown property","code":0}`,
			Message{Type: MessageError, RequestID: RequestID{Number: 4}, Err: &StreamError{Message: "Unknown property"}}},
		{"shutdown", `{"e":"serverShutdown","E":1770123456789}`, Message{Type: MessageShutdown, EventTime: millis(1770123456789)}},
		{"combined shutdown", `{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}`,
			Message{Type: MessageShutdown, Stream: "!serverShutdown", EventTime: millis(1770123456789)}},
		{"wrapped shutdown", `{"event":{"e":"serverShutdown","E":1770123456789}}`, Message{Type: MessageShutdown, EventTime: millis(1770123456789)}},
		{"partial depth", `{"stream":"bnbbtc@depth5","data":{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[["0.0026","100"]]}}`, Message{Stream: "bnbbtc@depth5"}},
		{"kline", `{"stream":"bnbbtc@kline_1m","data":{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,"s":"BNBBTC","o":"0.0010","x":false}}}`, Message{Stream: "bnbbtc@kline_1m"}},
		{"blockTrade", `{"e":"blockTrade","E":1770000000001,"s":"BNBBTC","t":1,"p":"1","q":"2","T":1770000000000,"m":true}`, Message{}},
		{"array of events", `[{"e":"24hrMiniTicker","E":1672515782136,"s":"BNBBTC","c":"0.0025"}]`, Message{}},
		{"combined array of events", `{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker","E":1672515782136}]}`, Message{Stream: "!miniTicker@arr"}},
		{"empty object", `{}`, Message{}},
		{"symbol that is not ASCII", `{"u":1,"s":"币安人生USDT","b":"1","B":"2","a":"3","A":"4"}`,
			Message{Type: MessageTicker, Symbol: "币安人生USDT", Ticker: marketprism.Ticker{UpdateID: 1, Bid: lvl("1", "2"), Ask: lvl("3", "4")}}},
	}
}

func TestDecode(t *testing.T) {
	var d Decoder // one for all frames: none may leave anything for the next
	var m Message
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			if err := d.Decode([]byte(s.frame), &m); err != nil {
				t.Fatal(err)
			}
			if got := payload(&m); !reflect.DeepEqual(got, s.want) {
				t.Errorf("got  %+v\nwant %+v", got, s.want)
			}
		})
	}
}

// Keys may come in any order, with any white space and with unknown keys between them.
func TestDecodeAnyOrder(t *testing.T) {
	var d Decoder
	var m Message
	for _, s := range samples() {
		for turn := range 12 {
			frame := reordered([]byte(s.frame), turn)
			if err := d.Decode(frame, &m); err != nil {
				t.Fatalf("%s: %v", frame, err)
			}
			if got := payload(&m); !reflect.DeepEqual(got, s.want) {
				t.Fatalf("%s\ngot  %+v\nwant %+v", frame, got, s.want)
			}
		}
	}
}

// reordered rotates the members of all objects by turn and adds an unknown one.
func reordered(text []byte, turn int) []byte {
	list, ok := membersOf(text)
	if !ok {
		return text
	}
	list = append(list, member{key: "unknown", value: []byte(`{"e":"trade","b":[{},null,-1.5e-7,"\u0000"]}`)})
	parts := make([]string, len(list))
	for i := range list {
		mem := list[(i+turn)%len(list)]
		if mem.key != "unknown" {
			mem.value = reordered(mem.value, turn)
		}
		parts[i] = fmt.Sprintf(" %q\t: %s\r\n", mem.key, mem.value)
	}
	return []byte(" {" + strings.Join(parts, ",") + "} ")
}

// Every prefix of a frame is an error.
func TestDecodeTruncated(t *testing.T) {
	var d Decoder
	var m Message
	for _, s := range samples() {
		for n := range len(s.frame) {
			err := d.Decode([]byte(s.frame[:n]), &m)
			var decodeErr *DecodeError
			if !errors.As(err, &decodeErr) || m.Type != MessageUnknown {
				t.Fatalf("%s: error %v, type %v; want a *DecodeError", s.frame[:n], err, m.Type)
			}
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	depth := func(levels string) string {
		return `{"stream":"x@depth","data":{"e":"depthUpdate","E":1,"s":"X","U":1,"u":1,"b":` + levels + `,"a":[]}}`
	}
	tests := []struct {
		name, frame string
		want        error
	}{
		{"empty", ``, scan.ErrTruncated},
		{"HTML", "<html><head><title>403 Forbidden</title>", scan.ErrMalformed},
		{"number", `7`, scan.ErrType},
		{"text", `"pong"`, scan.ErrType},
		{"trailing garbage", `{"result":null,"id":1}x`, scan.ErrMalformed},
		{"two frames", `{"result":null,"id":1}{"result":null,"id":2}`, scan.ErrMalformed},
		{"price not a number", depth(`[["1.0x","1"]]`), orderbook.ErrSyntax},
		{"price with exponent", depth(`[["1e3","1"]]`), orderbook.ErrSyntax},
		{"price too large", depth(`[["92233720368.54775808","1"]]`), orderbook.ErrRange},
		{"nine decimals", depth(`[["1.000000001","1"]]`), orderbook.ErrPrecision},
		{"nine decimals of a quantity", depth(`[["1.00000000","1.000000001"]]`), orderbook.ErrPrecision},
		{"price below zero", depth(`[["-1.00000000","1.00000000"]]`), orderbook.ErrRange},
		{"quantity far below zero", depth(`[["1.00000000","-310000000000.0"]]`), orderbook.ErrRange},
		{"quantity below zero", depth(`[["1.00000000","-1.00000000"]]`), orderbook.ErrRange},
		{"level of one number", depth(`[["1.00000000"]]`), scan.ErrType},
		{"levels are numbers", depth(`[[1.5,2]]`), scan.ErrType},
		{"levels are null", depth(`null`), scan.ErrType},
		{"too deep", depth(`[["1","1",` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `]]`), scan.ErrDepth},
		{"id is text", `{"e":"depthUpdate","E":1,"s":"X","U":"1","u":1,"b":[],"a":[]}`, scan.ErrType},
		{"id is a fraction", `{"e":"depthUpdate","E":1,"s":"X","U":1.5,"u":1,"b":[],"a":[]}`, scan.ErrType},
		{"id too large", `{"e":"depthUpdate","E":1,"s":"X","U":9223372036854775808,"u":1,"b":[],"a":[]}`, orderbook.ErrRange},
		{"time below zero", `{"e":"depthUpdate","E":-1,"s":"X","U":1,"u":1,"b":[],"a":[]}`, orderbook.ErrRange},
		{"time between milliseconds and microseconds", `{"e":"depthUpdate","E":50000000000000,"s":"X","U":1,"u":1,"b":[],"a":[]}`, orderbook.ErrRange},
		{"time in nanoseconds", `{"e":"depthUpdate","E":1770000000000000000,"s":"X","U":1,"u":1,"b":[],"a":[]}`, orderbook.ErrRange},
		{"no bids", `{"e":"depthUpdate","E":1,"s":"X","U":1,"u":1,"a":[]}`, errMissingField},
		{"no first id", `{"e":"depthUpdate","E":1,"s":"X","u":1,"b":[],"a":[]}`, errMissingField},
		{"bids twice", `{"e":"depthUpdate","E":1,"s":"X","U":1,"u":1,"b":[["1","1"]],"b":[],"a":[]}`, errDuplicateField},
		{"name twice", `{"e":"depthUpdate","e":"trade","E":1,"s":"X","U":1,"u":1,"b":[],"a":[]}`, errDuplicateField},
		{"name twice at the end", `{"E":1,"s":"X","U":1,"u":1,"b":[],"a":[],"e":"depthUpdate","e":"trade"}`, errDuplicateField},
		{"name twice, one escaped", `{"e":"kline","\u0065":"depthUpdate"}`, errDuplicateField},
		{"name is a number", `{"e":1}`, scan.ErrType},
		{"data twice", `{"stream":"x","data":{},"data":{}}`, errDuplicateField},
		{"data without stream", `{"data":{"e":"kline"}}`, errMissingField},
		{"stream without data", `{"stream":"x"}`, errMissingField},
		{"data is null", `{"stream":"x","data":null}`, scan.ErrType},
		{"stream is not UTF-8", "{\"stream\":\"\xff\",\"data\":{}}", scan.ErrMalformed},
		{"trade without price", `{"e":"trade","E":1,"s":"X","t":1,"q":"1","T":1,"m":true}`, errMissingField},
		{"trade below zero", `{"e":"trade","E":1,"s":"X","t":1,"p":"1","q":"-1","T":1,"m":true}`, orderbook.ErrRange},
		{"trade price below zero", `{"e":"trade","E":1,"s":"X","t":1,"p":"-1","q":"1","T":1,"m":true}`, orderbook.ErrRange},
		{"trade quantity too large", `{"e":"trade","E":1,"s":"X","t":1,"p":"1","q":"92233720369","T":1,"m":true}`, orderbook.ErrRange},
		{"trade maker is a number", `{"e":"trade","E":1,"s":"X","t":1,"p":"1","q":"1","T":1,"m":1}`, scan.ErrType},
		{"aggTrade without first id", `{"e":"aggTrade","E":1,"s":"X","a":1,"p":"1","q":"1","l":1,"T":1,"m":true}`, errMissingField},
		{"futures ticker without ask", `{"e":"bookTicker","u":1,"s":"X","b":"1","B":"1","A":"1"}`, errMissingField},
		{"ticker price is a number", `{"u":1,"s":"X","b":1,"B":"1","a":"1","A":"1"}`, scan.ErrType},
		{"ticker quantity below zero", `{"u":1,"s":"X","b":"1","B":"-1","a":"1","A":"1"}`, orderbook.ErrRange},
		{"ticker price below zero", `{"u":1,"s":"X","b":"1","B":"1","a":"-1","A":"1"}`, orderbook.ErrRange},
		{"ticker price too large", `{"u":1,"s":"X","b":"1","B":"1","a":"92233720369","A":"1"}`, orderbook.ErrRange},
		{"bad unknown event", `{"e":"kline","k":{"t":01}}`, scan.ErrMalformed},
		{"error without code", `{"error":{"msg":"x"},"id":1}`, errMissingField},
		{"error code too large", `{"error":{"code":4294967298,"msg":"x"},"id":1}`, orderbook.ErrRange},
		{"error is text", `{"error":"x","id":1}`, scan.ErrType},
		{"request id is a fraction", `{"result":null,"id":1.5}`, scan.ErrType},
		{"list of numbers", `{"result":[1],"id":1}`, scan.ErrType},
		{"wrapped event is text", `{"event":"serverShutdown"}`, scan.ErrType},
	}
	kinds := map[error]string{
		scan.ErrTruncated: "truncated", scan.ErrMalformed: "malformed", scan.ErrType: "type", scan.ErrDepth: "depth",
		errMissingField: "missing", errDuplicateField: "duplicate",
		orderbook.ErrSyntax: "number", orderbook.ErrRange: "number", orderbook.ErrPrecision: "number",
	}
	var d Decoder
	var m Message
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := d.Decode([]byte(test.frame), &m)
			var decodeErr *DecodeError
			if !errors.Is(err, test.want) || !errors.As(err, &decodeErr) || decodeErr.Kind != kinds[test.want] {
				t.Fatalf("error %v, want a *DecodeError of %v", err, test.want)
			}
			if m.Type != MessageUnknown {
				t.Errorf("type %v despite an error", m.Type)
			}
		})
	}
}

func TestDecodeErrorPosition(t *testing.T) {
	frame := `{"stream":"x@depth","data":{"e":"depthUpdate","E":1,"s":"X","U":1,"u":1,"b":[` +
		strings.Repeat(`["1.00000000","1.00000000"],`, 1000) + `["1.0","oops"]],"a":[]}}`
	raw := []byte(frame)
	var d Decoder
	var m Message
	var err *DecodeError
	if !errors.As(d.Decode(raw, &m), &err) {
		t.Fatal("no error")
	}
	clear(raw)
	if at := strings.Index(frame, `"oops"`); err.Offset != int64(at) || err.Stream != "x@depth" {
		t.Errorf("error of stream %q at %d, want x@depth and %d", err.Stream, err.Offset, at)
	}
	if len(err.Data) > 256 || !strings.Contains(string(err.Data), "oops") {
		t.Errorf("data is %q", err.Data)
	}
	for _, part := range []string{"x@depth", "oops", "not a plain decimal number"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err.Error(), part)
		}
	}
}

func TestDecodeManyLevels(t *testing.T) {
	const n = 12_000
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,["%d.%02d000000","1.00000000"]`, 1000+i/100, i%100)
	}
	frame := `{"e":"depthUpdate","E":1,"s":"X","U":1,"u":1,"b":[` + b.String()[1:] + `],"a":[` + b.String()[1:] + `]}`
	var d Decoder
	var m Message
	for _, text := range []string{frame, samples()[0].frame, frame} {
		if err := d.Decode([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.Update.Bids) != n || len(m.Update.Asks) != n || m.Update.Asks[n-1] != lvl("1119.99", "1") {
		t.Errorf("%d bids, %d asks, last %v", len(m.Update.Bids), len(m.Update.Asks), m.Update.Asks[n-1])
	}
}

func TestDecodeGeneratedFeed(t *testing.T) {
	feed := eventgen.New(eventgen.Config{Seed: 3})
	var d Decoder
	var m Message
	for _, frames := range [][][]byte{feed.RawFrames(), feed.CombinedFrames()} {
		for i, frame := range frames {
			if err := d.Decode(frame, &m); err != nil {
				t.Fatal(err)
			}
			if m.Type != MessageDepth || m.Symbol != feed.Symbol || !reflect.DeepEqual(m.Update, feed.Updates[i]) {
				t.Fatalf("frame %d is %v\nwant %v", i, m.Update, feed.Updates[i])
			}
		}
	}
}

// Decoding allocates nothing once the names are known and the slices are large enough.
func TestDecodeDoesNotAllocate(t *testing.T) {
	frames := eventgen.New(eventgen.Config{Events: 50}).CombinedFrames()
	for _, s := range samples() {
		if s.want.Type <= MessageTicker {
			frames = append(frames, []byte(s.frame))
		}
	}
	var d Decoder
	var m Message
	if n := testing.AllocsPerRun(20, func() {
		for _, frame := range frames {
			if err := d.Decode(frame, &m); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Nor does the whole step, decoding an event and applying it, once the book has room.
func TestStepDoesNotAllocate(t *testing.T) {
	feed := eventgen.New(eventgen.Config{Events: 600})
	frames := feed.CombinedFrames()
	syncer := syncedAt(t, &feed.Snapshot)
	now := time.UnixMilli(0)
	var d Decoder
	var m Message
	step := func() {
		if err := d.Decode(frames[0], &m); err != nil {
			t.Fatal(err)
		}
		if out := syncer.Update(now, &m.Update); len(out.Events) != 1 || out.Events[0].Update == nil {
			t.Fatal("an update was not applied")
		}
		frames = frames[1:]
	}
	for range 400 {
		step()
	}
	if n := testing.AllocsPerRun(190, step); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDecodeSnapshot(t *testing.T) {
	bids := []orderbook.Level{lvl("4", "431"), lvl("3.9", "1")}
	asks := []orderbook.Level{lvl("4.000002", "12")}
	tests := []struct {
		name, body string
		want       orderbook.Snapshot
		symbol     string
	}{
		{"spot", `{"lastUpdateId":1027024,"bids":[["4.00000000","431.00000000"],["3.90000000","1.00000000"]],"asks":[["4.00000200","12.00000000"]]}`,
			orderbook.Snapshot{LastID: 1027024, Bids: bids, Asks: asks}, ""},
		{"USDM", `{"lastUpdateId":600859605926,"E":1626992741264,"T":1626992741261,"bids":[["4","431"],["3.9","1"]],"asks":[["4.000002","12"]]}`,
			orderbook.Snapshot{LastID: 600859605926, EventTime: millis(1626992741264), TransactTime: millis(1626992741261), Bids: bids, Asks: asks}, ""},
		{"COINM", `{"symbol":"BCHUSD_PERP","pair":"BCHUSD","lastUpdateId":7,"E":1626992741264,"T":1626992741261,"bids":[["4","431"],["3.9","1"]],"asks":[["4.000002","12"]]}`,
			orderbook.Snapshot{LastID: 7, EventTime: millis(1626992741264), TransactTime: millis(1626992741261), Bids: bids, Asks: asks}, "BCHUSD_PERP"},
		{"of an instrument that never had a book", `{"lastUpdateId":-1,"bids":[],"asks":[]}`, orderbook.Snapshot{LastID: -1}, ""},
		{"with empty levels", ` { "asks" : [["4.1","0.0"],["4.000002","12"]], "bids" : [["4","431"],["3.9","1",[]],["3.8","0"]] , "lastUpdateId" : 3 } `,
			orderbook.Snapshot{LastID: 3, Bids: bids, Asks: asks}, ""},
	}
	var d Decoder
	var got orderbook.Snapshot
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			symbol, err := d.DecodeSnapshot([]byte(test.body), &got)
			if err != nil {
				t.Fatal(err)
			}
			if symbol != test.symbol || !reflect.DeepEqual(got.Clone(), test.want.Clone()) {
				t.Errorf("got %q %+v\nwant %q %+v", symbol, got, test.symbol, test.want)
			}
			for n := range len(strings.TrimRight(test.body, " ")) {
				if _, err := d.DecodeSnapshot([]byte(test.body[:n]), &got); !errors.Is(err, scan.ErrTruncated) {
					t.Fatalf("%s: error %v, want %v", test.body[:n], err, scan.ErrTruncated)
				}
			}
		})
	}
}

func TestDecodeSnapshotErrors(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       error
	}{
		{"refusal", `{"code":-1121,"msg":"Invalid symbol."}`, errMissingField},
		{"HTML", `<html>`, scan.ErrMalformed},
		{"array", `[]`, scan.ErrType},
		{"bids twice", `{"lastUpdateId":1,"bids":[],"asks":[],"bids":[]}`, errDuplicateField},
		{"quantity below zero", `{"lastUpdateId":1,"bids":[["1","-1"]],"asks":[]}`, orderbook.ErrRange},
		{"price below zero", `{"lastUpdateId":1,"bids":[],"asks":[["-1","1"]]}`, orderbook.ErrRange},
		{"price too large", `{"lastUpdateId":1,"bids":[["92233720369","1"]],"asks":[]}`, orderbook.ErrRange},
		{"nine decimals", `{"lastUpdateId":1,"bids":[["1.000000001","1"]],"asks":[]}`, orderbook.ErrPrecision},
		{"trailing garbage", `{"lastUpdateId":1,"bids":[],"asks":[]}]`, scan.ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			var d Decoder
			var s orderbook.Snapshot
			_, err := d.DecodeSnapshot([]byte(test.body), &s)
			var decodeErr *DecodeError
			if !errors.Is(err, test.want) || !errors.As(err, &decodeErr) {
				t.Errorf("error %v, want a *DecodeError of %v", err, test.want)
			}
		})
	}
}

func TestDecodeSnapshotGenerated(t *testing.T) {
	feed := eventgen.New(eventgen.Config{Levels: 5000, Events: 1})
	var d Decoder
	var got orderbook.Snapshot
	if _, err := d.DecodeSnapshot(feed.SnapshotJSON(), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, feed.Snapshot) {
		t.Error("another snapshot was decoded")
	}
}

func TestMessageTypeString(t *testing.T) {
	if got := fmt.Sprint(MessageUnknown, MessageShutdown, MessageType(99)); got != "unknown shutdown unknown" {
		t.Error(got)
	}
}

// member is a key of an object with its value.
type member struct {
	key   string
	value json.RawMessage
}

// membersOf returns the members of an object in order, as encoding/json reads them; false if text is
// valid JSON but not an object.
func membersOf(text []byte) ([]member, bool) {
	dec := json.NewDecoder(strings.NewReader(string(text)))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil, false
	}
	list := []member{}
	for dec.More() {
		var mem member
		key, err := dec.Token()
		if err != nil || dec.Decode(&mem.value) != nil {
			return nil, false
		}
		mem.key = key.(string)
		list = append(list, mem)
	}
	return list, true
}

// The futures markets send partial books and books with RPI orders as depthUpdate: by their streams they are known from diffs.
// USDⓈ-M, Partial Book Depth Streams: {"e":"depthUpdate","E":1571889248277,"T":1571889248276,"s":"BTCUSDT","U":390497796,
// "u":390497878,"pu":390497794,"b":[…],"a":[…]}.
func TestPartialBooksAreNoDiffs(t *testing.T) {
	for stream, want := range map[string]MessageType{
		"btcusdt@depth": MessageDepth, "btcusdt@depth@100ms": MessageDepth, "币安usdt@depth@500ms": MessageDepth,
		"btcusdt@depth5": MessageUnknown, "btcusdt@depth20@100ms": MessageUnknown, "btcusdt@rpiDepth@500ms": MessageUnknown,
		"btcusdt@depthX": MessageUnknown, "": MessageUnknown,
	} {
		data := `{"e":"depthUpdate","E":1571889248277,"T":1571889248276,"s":"BTCUSDT","U":390497796,"u":390497878,"pu":390497794,"b":[["7403.89","0.002"]],"a":[]}`
		for _, frame := range []string{`{"stream":"` + stream + `","data":` + data + `}`, `{"data":` + data + `,"stream":"` + stream + `"}`} {
			var d Decoder
			var m Message
			if err := d.Decode([]byte(frame), &m); err != nil || m.Type != want {
				t.Errorf("%q: %v, %v", stream, m.Type, err)
			}
		}
	}
}
