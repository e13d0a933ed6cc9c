package binance

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/scan"
	"github.com/marketprism/marketprism/orderbook"
)

// unhex parses bytes as the exchange's documents print them.
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "", "\n", "", "\t", "").Replace(text))
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fails(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, want %+v", got, want)
	}
}

// Messages written by hand after the layout in sbe-market-data-streams.md.
const (
	sbeDepthHex = `1a 00 13 27 01 00 00 00 | 40 c2 d6 8f 71 4d 06 00  41 42 0f 00 00 00 00 00  47 42 0f 00 00 00 00 00  fe fb
		10 00 02 00 | aa 2e 63 00 00 00 00 00  f0 49 02 00 00 00 00 00 | 96 2e 63 00 00 00 00 00  00 00 00 00 00 00 00 00
		10 00 01 00 | b4 2e 63 00 00 00 00 00  c4 09 00 00 00 00 00 00 | 07 42 54 43 55 53 44 54`
	sbeTradesHex = `12 00 10 27 01 00 00 00 | 40 c2 d6 8f 71 4d 06 00  79 c0 d6 8f 71 4d 06 00  fe fb | 19 00 02 00 00 00
		01 f2 05 2a 01 00 00 00  aa 2e 63 00 00 00 00 00  e8 03 00 00 00 00 00 00  01
		02 f2 05 2a 01 00 00 00  a9 2e 63 00 00 00 00 00  d0 07 00 00 00 00 00 00  01 | 07 42 54 43 55 53 44 54`
	sbeTickerHex = `32 00 11 27 01 00 00 00 | 40 c2 d6 8f 71 4d 06 00  47 42 0f 00 00 00 00 00  fe fb
		aa 2e 63 00 00 00 00 00  f0 49 02 00 00 00 00 00  b4 2e 63 00 00 00 00 00  c4 09 00 00 00 00 00 00 | 07 42 54 43 55 53 44 54`
	sbeSnapshotHex = `12 00 12 27 01 00 00 00 | 40 c2 d6 8f 71 4d 06 00  47 42 0f 00 00 00 00 00  fe fb
		10 00 01 00 | aa 2e 63 00 00 00 00 00  f0 49 02 00 00 00 00 00 | 10 00 01 00 | b4 2e 63 00 00 00 00 00  c4 09 00 00 00 00 00 00 | 07 42 54 43 55 53 44 54`
)

func fixed(t testing.TB, text string) orderbook.Fixed {
	t.Helper()
	v, err := orderbook.ParseFixed(text)
	must(t, err)
	return v
}

func TestDecodeSBE(t *testing.T) {
	level := func(price, quantity string) orderbook.Level {
		return orderbook.Level{Price: fixed(t, price), Quantity: fixed(t, quantity)}
	}
	at := time.UnixMicro(1774000000123456).UTC()
	var d Decoder
	var m Message

	must(t, d.Decode(unhex(t, sbeDepthHex), &m))
	same(t, m.Type, MessageDepth)
	same(t, m.Symbol, "BTCUSDT")
	same(t, m.Stream, "btcusdt@depth")
	same(t, m.EventTime, at)
	same(t, m.Update, orderbook.Update{
		FirstID: 1000001, LastID: 1000007, EventTime: at,
		Bids: []orderbook.Level{level("65000.10", "1.5"), level("64999.90", "0")}, Asks: []orderbook.Level{level("65000.20", "0.025")},
	})

	must(t, d.Decode(unhex(t, sbeTradesHex), &m))
	same(t, m.Type, MessageTrade)
	same(t, m.Stream, "btcusdt@trade")
	trade := func(id int64, price, quantity string) marketprism.Trade {
		return marketprism.Trade{
			ID: id, Price: fixed(t, price), Quantity: fixed(t, quantity), BuyerMaker: true, BestMatch: true,
			TradeTime: time.UnixMicro(1774000000123001).UTC(),
		}
	}
	same(t, m.Trade, trade(5000000001, "65000.10", "0.01"))
	same(t, m.More, []marketprism.Trade{trade(5000000002, "65000.09", "0.02")})

	must(t, d.Decode(unhex(t, sbeTickerHex), &m))
	same(t, m.Type, MessageTicker)
	same(t, m.Stream, "btcusdt@bestBidAsk")
	same(t, len(m.More), 0)
	same(t, m.Ticker, marketprism.Ticker{UpdateID: 1000007, Bid: level("65000.10", "1.5"), Ask: level("65000.20", "0.025")})

	must(t, d.Decode(unhex(t, sbeSnapshotHex), &m))
	same(t, m.Type, MessageUnknown)

	must(t, d.Decode([]byte(`{"result":null,"id":7}`), &m))
	same(t, m.Type, MessageAck)
}

// sbeStream finds the same stream as decoding the message.
func TestSBEStream(t *testing.T) {
	var d Decoder
	var m Message
	for _, text := range []string{sbeDepthHex, sbeTradesHex, sbeTickerHex} {
		frame := unhex(t, text)
		must(t, d.Decode(frame, &m))
		same(t, sbeStream(frame), m.Stream)
		for n := range frame {
			same(t, sbeStream(frame[:n]), "")
		}
	}
	same(t, sbeStream(unhex(t, sbeSnapshotHex)), "")
}

// A message that is cut anywhere is an error, and so is one with bytes after it. Longer blocks and entries of a
// newer version are skipped.
func TestDecodeSBEForm(t *testing.T) {
	var d Decoder
	var m Message
	for _, text := range []string{sbeDepthHex, sbeTradesHex, sbeTickerHex} {
		frame := unhex(t, text)
		for n := 2; n < len(frame); n++ {
			err := d.Decode(frame[:n], &m)
			fails(t, err, scan.ErrTruncated)
			same(t, m.Type, MessageUnknown)
		}
		fails(t, d.Decode(append(frame, 0), &m), scan.ErrMalformed)
		newer := append([]byte(nil), frame...)
		newer[6] = 1
		must(t, d.Decode(append(newer, 1, 2, 3), &m))
	}
	other := unhex(t, sbeDepthHex)
	other[4] = 3
	err := d.Decode(other, &m)
	fails(t, err, errSchema)
	var decodeErr *DecodeError
	same(t, errors.As(err, &decodeErr) && decodeErr.Kind == "schema", true)

	long := depthMessage{root: 26 + 5, entry: 16 + 3, version: 1, bids: [][2]int64{{1, 2}, {3, 4}}, asks: [][2]int64{{5, 0}}, symbol: "AB", price: -8, quantity: -8}
	must(t, d.Decode(long.frame(), &m))
	same(t, m.Update.Bids, []orderbook.Level{{Price: 1, Quantity: 2}, {Price: 3, Quantity: 4}})
	same(t, m.Update.Asks, []orderbook.Level{{Price: 5}})

	empty := depthMessage{root: 26, entry: 16, symbol: "AB"}
	must(t, d.Decode(empty.frame(), &m))
	same(t, len(m.Update.Bids), 0)

	full := depthMessage{root: 26, entry: 16, symbol: "AB", price: -8, quantity: -8}
	for i := range int64(65534) {
		full.bids = append(full.bids, [2]int64{i + 1, 1})
	}
	must(t, d.Decode(full.frame(), &m))
	same(t, len(m.Update.Bids), 65534)

	for want, broken := range map[error]depthMessage{
		errMissingField:        {root: 25, entry: 16, symbol: "AB"},
		orderbook.ErrRange:     {root: 26, entry: 16, symbol: "AB", bids: [][2]int64{{1, -1}, {1, 1}}, price: -8, quantity: -8},
		orderbook.ErrPrecision: {root: 26, entry: 16, symbol: "AB", asks: [][2]int64{{1, 1}, {1, 1}}, price: -9, quantity: -8},
		scan.ErrMalformed:      {root: 26, entry: 16},
	} {
		fails(t, d.Decode(broken.frame(), &m), want)
	}
	negative := depthMessage{root: 26, entry: 16, symbol: "AB", bids: [][2]int64{{1, -1}}, price: -2, quantity: -2}
	fails(t, d.Decode(negative.frame(), &m), orderbook.ErrRange)
	fails(t, d.Decode(depthMessage{root: 26, entry: 12, symbol: "AB"}.frame(), &m), errMissingField)
}

// A depthMessage describes a DepthDiffStreamEvent.
type depthMessage struct {
	root, entry     int
	version         uint16
	bids, asks      [][2]int64
	price, quantity int8
	symbol          string
}

func (d depthMessage) frame() []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, uint16(d.root))
	b = le.AppendUint16(b, uint16(templateDepthDiff))
	b = le.AppendUint16(b, sbeSchema)
	b = le.AppendUint16(b, d.version)
	root := make([]byte, max(d.root, 26))
	le.PutUint64(root, 1774000000123456)
	le.PutUint64(root[8:], 11)
	le.PutUint64(root[16:], 12)
	root[24], root[25] = byte(d.price), byte(d.quantity)
	b = append(b, root[:d.root]...)
	for _, side := range [][][2]int64{d.bids, d.asks} {
		b = le.AppendUint16(le.AppendUint16(b, uint16(d.entry)), uint16(len(side)))
		for _, l := range side {
			entry := make([]byte, d.entry)
			le.PutUint64(entry, uint64(l[0]))
			le.PutUint64(entry[8:], uint64(l[1]))
			b = append(b, entry...)
		}
	}
	return append(append(b, byte(len(d.symbol))), d.symbol...)
}

// A level's quantity that does not fit is the largest number, and counted; a price, and the quantity of a trade, that
// does not fit is an error.
func TestDecodeSBEBeyondMaxFixed(t *testing.T) {
	var d Decoder
	var m Message
	for _, exponent := range []int8{-8, -1, 0, 5, 100} {
		msg := depthMessage{root: 26, entry: 16, symbol: "BTTCUSDT", price: -8, quantity: exponent}
		msg.bids = [][2]int64{{48, math.MaxInt64}, {47, 0}}
		must(t, d.Decode(msg.frame(), &m))
		same(t, m.Update.Bids, []orderbook.Level{{Price: 48, Quantity: orderbook.MaxFixed}, {Price: 47}})
		same(t, m.Capped, 1)
		msg.bids[0][1] = math.MinInt64
		fails(t, d.Decode(msg.frame(), &m), orderbook.ErrRange)
		msg.bids[0] = [2]int64{-48, 1}
		fails(t, d.Decode(msg.frame(), &m), orderbook.ErrRange)
		msg = depthMessage{root: 26, entry: 16, symbol: "X", price: exponent + 8, quantity: -8, bids: [][2]int64{{math.MaxInt64, 1}}}
		fails(t, d.Decode(msg.frame(), &m), orderbook.ErrRange)
	}

	// The exponents of a ticker and of trades are those of its root block.
	ticker := unhex(t, sbeTickerHex)
	binary.LittleEndian.PutUint64(ticker[sbeHeader+26:], math.MaxInt64/10)
	ticker[sbeHeader+17] = 0
	must(t, d.Decode(ticker, &m))
	same(t, m.Ticker.Bid.Quantity, orderbook.MaxFixed)
	same(t, m.Capped >= 1, true)
	trades := unhex(t, sbeTradesHex)
	trades[sbeHeader+17] = 18
	fails(t, d.Decode(trades, &m), orderbook.ErrRange)
}

// Every exponent gives the exact number, or an error if it does not fit a Fixed.
func TestSBEScale(t *testing.T) {
	for exponent := math.MinInt8; exponent <= math.MaxInt8; exponent++ {
		for _, mantissa := range []int64{0, 1, -1, 5, 10, 65000_10, 150_000, 1_000_000_000, math.MaxInt64, math.MinInt64, 9_223_372_036_854_775_800} {
			got, err := scaleOf(byte(int8(exponent))).fixed(mantissa)
			exact := new(big.Rat).SetInt64(mantissa)
			power := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent+8, -exponent-8))), nil))
			if exponent+8 < 0 {
				power.Inv(power)
			}
			exact.Mul(exact, power)
			switch {
			case !exact.IsInt():
				fails(t, err, orderbook.ErrPrecision)
			case !exact.Num().IsInt64():
				fails(t, err, orderbook.ErrRange)
			default:
				must(t, err)
				same(t, int64(got), exact.Num().Int64())
			}
		}
	}
}

func TestDecodeSBEAllocatesNothing(t *testing.T) {
	var d Decoder
	var m Message
	for _, text := range []string{sbeDepthHex, sbeTradesHex, sbeTickerHex} {
		frame := unhex(t, text)
		must(t, d.Decode(frame, &m))
		same(t, testing.AllocsPerRun(100, func() {
			if err := d.Decode(frame, &m); err != nil {
				t.Fatal(err)
			}
		}), 0.0)
	}
}

// The decoder never panics, and a message that it accepts keeps the documented promises.
func FuzzDecodeSBE(f *testing.F) {
	for _, text := range []string{sbeDepthHex, sbeTradesHex, sbeTickerHex, sbeSnapshotHex} {
		f.Add(unhex(f, text))
	}
	f.Add(depthMessage{root: 31, entry: 19, version: 1, bids: [][2]int64{{1, 2}}, symbol: "测试", price: -9, quantity: 3}.frame())
	var d Decoder
	var m Message
	f.Fuzz(func(t *testing.T, frame []byte) {
		if isSBE(frame) {
			checkSBE(t, &d, &m, frame)
		}
	})
}

// checkSBE decodes a binary message. One of an unknown template is accepted, and is MessageUnknown.
func checkSBE(t *testing.T, d *Decoder, m *Message, frame []byte) {
	t.Helper()
	if err := d.Decode(frame, m); err != nil {
		var de *DecodeError
		if !errors.As(err, &de) || m.Type != MessageUnknown {
			t.Fatalf("%v, %v", err, m.Type)
		}
		return
	}
	if m.Type == MessageUnknown {
		return
	}
	if m.Stream != sbeStream(frame) || m.Symbol == "" || m.EventTime.Before(time.UnixMicro(0)) {
		t.Fatalf("%q of %q, %q at %v", m.Stream, m.Symbol, sbeStream(frame), m.EventTime)
	}
	for _, side := range [][]orderbook.Level{m.Update.Bids, m.Update.Asks} {
		for _, l := range side {
			if m.Type == MessageDepth && min(l.Price, l.Quantity) < 0 {
				t.Fatalf("%v", l)
			}
		}
	}
}

// BenchmarkDecodeSBE decodes the 40 levels of the JSON benchmark's mean frame.
func BenchmarkDecodeSBE(b *testing.B) {
	msg := depthMessage{root: 26, entry: 16, symbol: "BTCUSDT", price: -8, quantity: -8}
	for i := range int64(20) {
		msg.bids = append(msg.bids, [2]int64{6_500_000_000_000 - i, i * 1000})
		msg.asks = append(msg.asks, [2]int64{6_500_000_000_001 + i, i * 1000})
	}
	frame := msg.frame()
	var d Decoder
	var m Message
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		if err := d.Decode(frame, &m); err != nil {
			b.Fatal(err)
		}
	}
}
