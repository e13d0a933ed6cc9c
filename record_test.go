package marketprism_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// fullRecords returns a record of each kind, in the order of Kinds, with every field set.
func fullRecords() []marketprism.Record {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	level := orderbook.Level{Price: 1, Quantity: 2}
	side := []orderbook.Level{level}
	recs := []marketprism.Record{
		{Update: &orderbook.Update{
			FirstID: 1, LastID: 2, PrevLastID: 3, EventTime: at, TransactTime: at, Bids: side, Asks: side,
		}},
		{Snapshot: &orderbook.Snapshot{LastID: 1, EventTime: at, TransactTime: at, Bids: side, Asks: side}},
		{Gap: &orderbook.Gap{After: 1, Reason: orderbook.GapStale, Err: orderbook.Cause("silent")}},
		{Trade: &marketprism.Trade{ID: 1, Price: 2, Quantity: 3, BuyerMaker: true, BestMatch: true, TradeTime: at}},
		{Trade: &marketprism.Trade{
			ID: 1, Aggregate: true, FirstID: 2, LastID: 3, Price: 4, Quantity: 5, BuyerMaker: true, BestMatch: true, TradeTime: at,
		}},
		{Ticker: &marketprism.Ticker{UpdateID: 1, TransactTime: at, Bid: level, Ask: level}},
	}
	for i := range recs {
		recs[i].Instrument = marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
		recs[i].EventTime, recs[i].ReceivedAt = at, at.Add(time.Millisecond)
		recs[i].Origin = marketprism.Origin{Source: "MD_DEPTH@1", Sequence: 7}
	}
	return recs
}

func TestKind(t *testing.T) {
	// Numbers and names are stored: they never change.
	stored := map[marketprism.Kind]string{1: "depth", 2: "snap", 3: "gap", 4: "trade", 5: "aggtrade", 6: "bbo"}
	recs := fullRecords()
	if len(stored) != len(marketprism.Kinds()) || len(stored) != len(recs) {
		t.Fatalf("%d kinds, %d stored names, %d records", len(marketprism.Kinds()), len(stored), len(recs))
	}
	for i, k := range marketprism.Kinds() {
		if k.String() != stored[k] {
			t.Errorf("kind %d is %q, want %q", k, k, stored[k])
		}
		if parsed, err := marketprism.ParseKind(stored[k]); parsed != k || err != nil {
			t.Errorf("ParseKind(%q) is %v, %v", stored[k], parsed, err)
		}
		if recs[i].Kind() != k {
			t.Errorf("record %d has kind %v, want %v", i, recs[i].Kind(), k)
		}
	}
	for _, name := range []string{"", "unknown", "Depth", "depth "} {
		if k, err := marketprism.ParseKind(name); !errors.Is(err, marketprism.ErrKind) {
			t.Errorf("ParseKind(%q) is %v, %v", name, k, err)
		}
	}
	for _, k := range []marketprism.Kind{0, 7, 255} {
		if k.String() != "unknown" {
			t.Errorf("kind %d is %q", uint8(k), k)
		}
	}
}

func TestValidate(t *testing.T) {
	recs := fullRecords()
	for i := range recs {
		if err := recs[i].Validate(); err != nil {
			t.Errorf("%s: %v", recs[i].Key(), err)
		}
		both := recs[i]
		if both.Gap == nil {
			both.Gap = &orderbook.Gap{}
		} else {
			both.Ticker = &marketprism.Ticker{}
		}
		if err := both.Validate(); !errors.Is(err, marketprism.ErrKind) {
			t.Errorf("%s with a second payload: %v", recs[i].Key(), err)
		}
	}
	if none := (marketprism.Record{}); !errors.Is(none.Validate(), marketprism.ErrKind) || none.Kind() != 0 {
		t.Errorf("a record without payload: %v, kind %v", none.Validate(), none.Kind())
	}
}

// What is not sound is refused, whatever else is right.
func TestValidateRefuses(t *testing.T) {
	const update, snapshot, gap, trade, aggregate, ticker = 0, 1, 2, 3, 4, 5 // as in fullRecords
	below := orderbook.Level{Price: -1, Quantity: 1}
	var none time.Time
	for _, test := range []struct {
		what   string
		kind   int
		change func(r *marketprism.Record)
		want   error // nil: valid
	}{
		{"price below zero", update, func(r *marketprism.Record) { r.Update.Bids = []orderbook.Level{below} }, orderbook.ErrRange},
		{"quantity below zero", update, func(r *marketprism.Record) { r.Update.Asks = []orderbook.Level{{Quantity: -1}} }, orderbook.ErrRange},
		{"price below zero", snapshot, func(r *marketprism.Record) { r.Snapshot.Asks = []orderbook.Level{below} }, orderbook.ErrRange},
		{"bound below zero", snapshot, func(r *marketprism.Record) { r.Snapshot.BidBound = orderbook.Bound{Price: -1, Limited: true} }, orderbook.ErrRange},
		{"price below zero", trade, func(r *marketprism.Record) { r.Trade.Price = -1 }, orderbook.ErrRange},
		{"quantity below zero", aggregate, func(r *marketprism.Record) { r.Trade.Quantity = -1 }, orderbook.ErrRange},
		{"price below zero", ticker, func(r *marketprism.Record) { r.Ticker.Bid = below }, orderbook.ErrRange},
		{"quantity below zero", ticker, func(r *marketprism.Record) { r.Ticker.Ask.Quantity = orderbook.MinFixed }, orderbook.ErrRange},
		{"no reason", gap, func(r *marketprism.Record) { r.Gap.Reason = 0 }, orderbook.ErrGapReason},
		{"unknown reason", gap, func(r *marketprism.Record) { r.Gap.Reason = 99 }, orderbook.ErrGapReason},
		{"ids go back", aggregate, func(r *marketprism.Record) { r.Trade.FirstID, r.Trade.LastID = 4, 3 }, marketprism.ErrIDs},
		{"a broken aggregate", aggregate, func(r *marketprism.Record) {
			r.Trade.FirstID, r.Trade.LastID, r.Trade.Price, r.Trade.Quantity = -1, -1, 0, 0
		}, nil},
		{"no trade time", trade, func(r *marketprism.Record) { r.Trade.TradeTime = none }, marketprism.ErrNoTime},
		{"trade time in 1970", aggregate, func(r *marketprism.Record) { r.Trade.TradeTime = time.Unix(0, r.Trade.TradeTime.UnixMicro()) }, marketprism.ErrNoTime},
		{"milliseconds for nanoseconds", update, func(r *marketprism.Record) { r.EventTime = time.Unix(0, r.EventTime.UnixMilli()) }, marketprism.ErrNoTime},
		{"the last second of 1970", ticker, func(r *marketprism.Record) { r.EventTime = time.Date(1970, 12, 31, 23, 59, 59, 0, time.UTC) }, marketprism.ErrNoTime},
		{"the first one after it", ticker, func(r *marketprism.Record) { r.EventTime = time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC) }, nil},
		{"no received time", ticker, func(r *marketprism.Record) { r.ReceivedAt = none }, nil},
		{"no event time", ticker, func(r *marketprism.Record) { r.EventTime = none }, nil},
	} {
		r := fullRecords()[test.kind]
		test.change(&r)
		if err := r.Validate(); !errors.Is(err, test.want) {
			t.Errorf("%v, %s: %v, want %v", r.Kind(), test.what, err, test.want)
		}
	}
	back := fullRecords()[update]
	back.Update.FirstID = back.Update.LastID + 1
	var sequence *orderbook.SequenceError
	if err := back.Validate(); !errors.As(err, &sequence) {
		t.Errorf("an update whose ids go back: %v", err)
	}
	for _, r := range fullRecords() {
		r.EventTime, r.ReceivedAt = none, none
		if err := r.Validate(); !errors.Is(err, marketprism.ErrNoTime) {
			t.Errorf("%v without a time: %v", r.Kind(), err)
		}
	}
}

func TestTime(t *testing.T) {
	r := fullRecords()[0]
	if !r.Time().Equal(r.EventTime) {
		t.Errorf("Time %v, EventTime %v", r.Time(), r.EventTime)
	}
	r.EventTime = time.Time{}
	if !r.Time().Equal(r.ReceivedAt) {
		t.Errorf("Time %v without EventTime, ReceivedAt %v", r.Time(), r.ReceivedAt)
	}
}

// A clone is equal, and shares no memory: nothing can be reached and written from both.
func TestClone(t *testing.T) {
	for _, r := range fullRecords() {
		c := r.Clone()
		if !reflect.DeepEqual(r, c) {
			t.Errorf("the clone of %s differs", r.Key())
		}
		mine := make(map[uintptr]string)
		reach(reflect.ValueOf(&r).Elem(), "Record", func(p uintptr, path string) { mine[p] = path })
		if len(mine) == 0 {
			t.Fatalf("%s: no address was found", r.Key())
		}
		reach(reflect.ValueOf(&c).Elem(), "Record", func(p uintptr, path string) {
			if other, shared := mine[p]; shared {
				t.Errorf("%s: the clone's %s is the original's %s", r.Key(), path, other)
			}
		})
	}
}

// A side of a clone has room for nothing: appending to one cannot write into the other.
func TestCloneSidesAreApart(t *testing.T) {
	r := fullRecords()[0]
	c := r.Clone()
	_ = append(c.Update.Bids, orderbook.Level{Price: 99})
	if !reflect.DeepEqual(c.Update.Asks, r.Update.Asks) {
		t.Errorf("asks became %v", c.Update.Asks)
	}
}

// reach calls found with the address of everything v points to. Times (whose location is never
// written) and errors (which are never changed) are left out.
func reach(v reflect.Value, path string, found func(p uintptr, path string)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			found(v.Pointer(), path)
			reach(v.Elem(), path, found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			found(v.Index(i).Addr().Pointer(), path)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			reach(v.Field(i), path+"."+v.Type().Field(i).Name, found)
		}
	}
}

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
