package marketprism_test

import (
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Keys are stored and compared across versions: a string here never changes.
func TestKeyIsStable(t *testing.T) {
	spot := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	usdm := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.USDM, Symbol: "币安人生USDT"}
	coinm := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.COINM, Symbol: "BTCUSD_PERP"}
	for _, test := range []struct {
		want   string
		record marketprism.Record
	}{
		{"binance:spot:depth:BTCUSDT:157-160", marketprism.Record{Instrument: spot, Update: &orderbook.Update{FirstID: 157, LastID: 160}}},
		{"binance:usdm:depth:币安人生USDT:9223372036854775807-9223372036854775807", marketprism.Record{
			Instrument: usdm, Update: &orderbook.Update{FirstID: 1<<63 - 1, LastID: 1<<63 - 1, PrevLastID: 7},
		}},
		{"binance:spot:snap:BTCUSDT:160:2x1", marketprism.Record{Instrument: spot, Snapshot: &orderbook.Snapshot{
			LastID: 160, Bids: make([]orderbook.Level, 2), Asks: make([]orderbook.Level, 1),
		}}},
		{"binance:spot:snap:BTCUSDT:-1:0x0", marketprism.Record{Instrument: spot, Snapshot: &orderbook.Snapshot{LastID: -1}}},
		{"binance:spot:gap:BTCUSDT:0-sequence", marketprism.Record{Instrument: spot, Gap: &orderbook.Gap{Reason: orderbook.GapSequence}}},
		{"binance:coinm:gap:BTCUSD_PERP:160-overflow", marketprism.Record{
			Instrument: coinm, Gap: &orderbook.Gap{After: 160, Reason: orderbook.GapOverflow, Err: orderbook.Cause("x")},
		}},
		{"binance:spot:trade:BTCUSDT:42", marketprism.Record{Instrument: spot, Trade: &marketprism.Trade{ID: 42}}},
		{"binance:spot:aggtrade:BTCUSDT:42", marketprism.Record{
			Instrument: spot, Trade: &marketprism.Trade{ID: 42, Aggregate: true, FirstID: 1, LastID: 9},
		}},
		{"binance:spot:bbo:BTCUSDT:160", marketprism.Record{Instrument: spot, Ticker: &marketprism.Ticker{UpdateID: 160}}},
		{"binance:spot:unknown:BTCUSDT:", marketprism.Record{Instrument: spot}},
	} {
		if got := test.record.Key(); got != test.want {
			t.Errorf("Key %q, want %q", got, test.want)
		}
		if got := string(test.record.AppendKey([]byte("id="))); got != "id="+test.want {
			t.Errorf("AppendKey %q, want id=%q", got, test.want)
		}
	}
}

// Two collectors see one event at different times and through different streams.
func TestKeyIgnoresTheCollector(t *testing.T) {
	a := fullRecords()[0]
	b := a.Clone()
	b.ReceivedAt = b.ReceivedAt.Add(1)
	b.Origin = marketprism.Origin{Source: "other", Sequence: 9}
	if a.Key() != b.Key() {
		t.Errorf("keys %q and %q", a.Key(), b.Key())
	}
}

func TestAppendKeyDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 128)
	for _, r := range fullRecords() {
		if n := testing.AllocsPerRun(100, func() { buf = r.AppendKey(buf[:0]) }); n != 0 {
			t.Errorf("%s: %v allocations", r.Key(), n)
		}
	}
}

func BenchmarkAppendKey(b *testing.B) {
	buf := make([]byte, 0, 128)
	r := fullRecords()[0]
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendKey(buf[:0])
	}
}
