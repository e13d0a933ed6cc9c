package binancetest_test

import (
	"encoding/binary"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/binance/binancetest"
)

// dialSBE connects to the binary streams.
func dialSBE(t *testing.T, s *binancetest.Server, path string) *client {
	t.Helper()
	d := websocket.Dialer{NetDialContext: s.DialContext}
	c, _, err := d.Dial(s.StreamURL()+path, http.Header{"X-MBX-APIKEY": {"any"}})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &client{t, c}
}

// message returns the next binary frame, with the times at the offsets atTimes checked and set to 0.
func (c *client) message(atTimes ...int) string {
	c.t.Helper()
	kind, data, err := c.ws.ReadMessage()
	must(c.t, err)
	if kind != websocket.BinaryMessage {
		c.t.Fatalf("not a binary frame: %s", data)
	}
	for _, at := range atTimes {
		stamp := time.UnixMicro(int64(binary.LittleEndian.Uint64(data[at:])))
		if age := time.Since(stamp); age < 0 || age > time.Minute {
			c.t.Errorf("the time at %d is %v", at, stamp)
		}
		copy(data[at:], make([]byte, 8))
	}
	return string(data)
}

// layout encodes values little-endian, each in the width of its type.
func layout(t *testing.T, values ...any) string {
	t.Helper()
	var b []byte
	for _, v := range values {
		if text, ok := v.(string); ok {
			b = append(append(b, byte(len(text))), text...)
			continue
		}
		var err error
		b, err = binary.Append(b, binary.LittleEndian, v)
		must(t, err)
	}
	return string(b)
}

const (
	sbeZero = int64(0) // a time
	e8      = int64(100_000_000)
)

// TestSBE is F37: the binary streams in the layout of sbe-market-data-streams.md, with unknown, longer and cut
// messages.
func TestSBE(t *testing.T) {
	s := newServer(t, manual(t))
	c := dialSBE(t, s, "/stream?streams=btcusdt@depth/btcusdt@bestBidAsk/btcusdt@trade/btcusdt@aggTrade/btcusdt@depth@100ms")
	apply(t, s, "BTCUSDT", levels(t, "10 2, 9 3"), levels(t, "11 0, 12.5 1"))
	if _, err := s.TradeFills("BTCUSDT", fixed(t, "11"), false, fixed(t, "3"), fixed(t, "0.5")); err != nil {
		t.Fatal(err)
	}
	s.Tick()
	equal(t, "bestBidAsk", c.message(8), layout(t, uint16(50), uint16(10001), uint16(1), uint16(0),
		sbeZero, int64(101), int8(-8), int8(-8), 10*e8, 2*e8, 12*e8, 4*e8, "BTCUSDT"))
	equal(t, "trades", c.message(8, 16), layout(t, uint16(18), uint16(10000), uint16(1), uint16(0),
		sbeZero, sbeZero, int8(-8), int8(-8), uint16(25), uint32(2),
		int64(1), 11*e8, 3*e8, false, int64(2), 11*e8, e8/2, false, "BTCUSDT"))
	equal(t, "depth", c.message(8), layout(t, uint16(26), uint16(10003), uint16(1), uint16(0),
		sbeZero, int64(101), int64(101), int8(-8), int8(-8),
		uint16(16), uint16(2), 10*e8, 2*e8, 9*e8, 3*e8, uint16(16), uint16(2), 11*e8, sbeZero, 125*e8/10, e8, "BTCUSDT"))
	equal(t, "answers are JSON", c.ask(`{"method":"SUBSCRIBE","params":["btcusdt@depth20"],"id":1}`), `{"result":null,"id":1}`)

	s.LengthenSBE(true)
	s.VarySBEExponents(true)
	s.UnknownSBE(1)
	apply(t, s, "BTCUSDT", levels(t, "5 7"), nil)
	s.Tick()
	longer := layout(t, uint16(29), uint16(10003), uint16(1), uint16(1),
		sbeZero, int64(102), int64(102), int8(0), int8(0), [3]byte{},
		uint16(19), uint16(1), int64(5), int64(7), [3]byte{}, uint16(19), uint16(0), "BTCUSDT")
	unknown := []byte(longer)
	binary.LittleEndian.PutUint16(unknown[2:], 10999)
	equal(t, "unknown", c.message(8), string(unknown))
	equal(t, "longer", c.message(8), longer)
	snapshot := c.message(8)
	equal(t, "depth20", snapshot[:8], layout(t, uint16(21), uint16(10002), uint16(1), uint16(1)))

	s.Calm()
	s.TruncateSBE(1)
	apply(t, s, "BTCUSDT", levels(t, "5 0"), nil)
	s.Tick()
	whole := layout(t, uint16(26), uint16(10003), uint16(1), uint16(0), sbeZero, int64(103), int64(103), int8(-8), int8(-8),
		uint16(16), uint16(1), 5*e8, sbeZero, uint16(16), uint16(0), "BTCUSDT")
	equal(t, "cut", c.message(8), whole[:len(whole)*2/3])
}
