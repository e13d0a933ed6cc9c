package natsbus

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func encode(t testing.TB, r *marketprism.Record) []byte {
	t.Helper()
	data, err := AppendRecord(nil, r)
	require.NoError(t, err)
	return data
}

func TestCodecRoundTrip(t *testing.T) {
	recs := append(sinktest.Extremes(), sinktest.Records(1, 2000)...)
	var decoder Decoder
	got := make([]marketprism.Record, len(recs))
	for i := range recs {
		data := encode(t, &recs[i])
		require.True(t, json.Valid(data), "%s", data)
		require.NoError(t, decoder.Decode("", data, &got[i]), "%s", data)

		var alone marketprism.Record
		require.NoError(t, DecodeRecord(data, &alone))
		require.Empty(t, sinktest.Diff(&recs[i], &alone))
	}
	for i := range recs { // after all are decoded: no record may have changed another
		require.Empty(t, sinktest.Diff(&recs[i], &got[i]), "%s", recs[i].Key())
		require.Equal(t, recs[i].Key(), got[i].Key())
	}
}

// Readers in other languages rely on these bodies.
func TestCodecGolden(t *testing.T) {
	btc := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	usdm := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.USDM, Symbol: "BTCUSDT"}
	at := time.Unix(0, 1700000000123000000)
	fixed := func(s string) orderbook.Fixed {
		f, err := orderbook.ParseFixed(s)
		require.NoError(t, err)
		return f
	}
	tests := []struct {
		rec  marketprism.Record
		want string
	}{
		{marketprism.Record{Instrument: btc, EventTime: at, ReceivedAt: at.Add(987654), Update: &orderbook.Update{
			FirstID: 157, LastID: 160, EventTime: at,
			Bids: []orderbook.Level{{Price: fixed("65000.1"), Quantity: fixed("0.5")}, {Price: fixed("64999")}},
		}}, `{"v":1,"kind":"depth","exchange":"binance","market":"spot","symbol":"BTCUSDT","event_time":"1700000000123000000","received_at":"1700000000123987654","first_id":157,"last_id":160,"bids":[["65000.1","0.5"],["64999","0"]],"asks":[]}`},
		{marketprism.Record{Instrument: btc, EventTime: at, Update: &orderbook.Update{
			FirstID: 1, LastID: 2, PrevLastID: -1, EventTime: at.Add(1), TransactTime: at,
		}}, `{"v":1,"kind":"depth","exchange":"binance","market":"spot","symbol":"BTCUSDT","event_time":"1700000000123000000","first_id":1,"last_id":2,"prev_last_id":-1,"book_event_time":"1700000000123000001","transact_time":"1700000000123000000","bids":[],"asks":[]}`},
		{marketprism.Record{Instrument: btc, EventTime: at, Snapshot: &orderbook.Snapshot{
			LastID: 160, Asks: []orderbook.Level{{Price: fixed("65000.2"), Quantity: fixed("0.00000001")}},
		}}, `{"v":1,"kind":"snap","exchange":"binance","market":"spot","symbol":"BTCUSDT","event_time":"1700000000123000000","last_id":160,"book_event_time":"","checksum":3716516932,"bids":[],"asks":[["65000.2","0.00000001"]]}`},
		{marketprism.Record{Instrument: btc, ReceivedAt: at, Gap: &orderbook.Gap{After: 160, Reason: orderbook.GapSequence, Err: errors.New("a \"b\"\n")}},
			`{"v":1,"kind":"gap","exchange":"binance","market":"spot","symbol":"BTCUSDT","received_at":"1700000000123000000","after":160,"reason":"sequence","err":"a \"b\"\u000a"}`},
		{marketprism.Record{Instrument: btc, EventTime: at, Trade: &marketprism.Trade{ID: 7, Price: fixed("1"), Quantity: fixed("2.5"), BuyerMaker: true, TradeTime: at}},
			`{"v":1,"kind":"trade","exchange":"binance","market":"spot","symbol":"BTCUSDT","event_time":"1700000000123000000","id":7,"price":"1","quantity":"2.5","buyer_maker":true,"best_match":false,"trade_time":"1700000000123000000"}`},
		{marketprism.Record{Instrument: btc, EventTime: at, Trade: &marketprism.Trade{ID: 7, Aggregate: true, FirstID: 3, LastID: 4, TradeTime: at}},
			`{"v":1,"kind":"aggtrade","exchange":"binance","market":"spot","symbol":"BTCUSDT","event_time":"1700000000123000000","id":7,"first_id":3,"last_id":4,"price":"0","quantity":"0","buyer_maker":false,"best_match":false,"trade_time":"1700000000123000000"}`},
		{marketprism.Record{Instrument: btc, EventTime: at, Trade: &marketprism.Trade{ID: 0, Aggregate: true, TradeTime: at}}, // of the market's first trade
			`{"v":1,"kind":"aggtrade","exchange":"binance","market":"spot","symbol":"BTCUSDT","event_time":"1700000000123000000","id":0,"first_id":0,"last_id":0,"price":"0","quantity":"0","buyer_maker":false,"best_match":false,"trade_time":"1700000000123000000"}`},
		{marketprism.Record{Instrument: usdm, EventTime: at, Update: &orderbook.Update{FirstID: 1, LastID: 2, EventTime: at}},
			`{"v":1,"kind":"depth","exchange":"binance","market":"usdm","symbol":"BTCUSDT","event_time":"1700000000123000000","first_id":1,"last_id":2,"prev_last_id":0,"bids":[],"asks":[]}`},
		{marketprism.Record{Instrument: btc, ReceivedAt: at, Ticker: &marketprism.Ticker{UpdateID: 9, Bid: orderbook.Level{Price: fixed("1"), Quantity: fixed("2")}}},
			`{"v":1,"kind":"bbo","exchange":"binance","market":"spot","symbol":"BTCUSDT","received_at":"1700000000123000000","update_id":9,"bid":["1","2"],"ask":["0","0"]}`},
	}
	for _, test := range tests {
		require.Equal(t, test.want, string(encode(t, &test.rec)))
		var got marketprism.Record
		require.NoError(t, DecodeRecord([]byte(test.want), &got))
		require.Empty(t, sinktest.Diff(&test.rec, &got))
	}
}

// The examples in CODEC.md are what AppendRecord writes.
func TestCodecDocument(t *testing.T) {
	document, err := os.ReadFile("CODEC.md")
	require.NoError(t, err)
	blocks := strings.Split(string(document), "```json\n")[1:]
	require.Len(t, blocks, 5)
	for _, block := range blocks {
		body, _, _ := strings.Cut(block, "\n```")
		var r marketprism.Record
		require.NoError(t, DecodeRecord([]byte(body), &r))
		require.Equal(t, body, string(encode(t, &r)))
	}
}

func TestEncodeRefuses(t *testing.T) {
	gap := func(r orderbook.GapReason) *orderbook.Gap { return &orderbook.Gap{Reason: r} }
	at := time.Unix(1_700_000_000, 0)
	tests := []struct {
		rec marketprism.Record
		key string
		err error
	}{
		{marketprism.Record{}, keyKind, marketprism.ErrKind},
		{marketprism.Record{Gap: gap(1), Trade: &marketprism.Trade{}}, keyKind, marketprism.ErrKind},
		{marketprism.Record{EventTime: at, Trade: &marketprism.Trade{Price: -1, TradeTime: at}}, "", orderbook.ErrRange},
		{marketprism.Record{EventTime: at, Update: &orderbook.Update{Asks: []orderbook.Level{{Price: 1, Quantity: -1}}}}, "", orderbook.ErrRange},
		{marketprism.Record{EventTime: at, Trade: &marketprism.Trade{}}, "", marketprism.ErrNoTime},
		{marketprism.Record{EventTime: at, Trade: &marketprism.Trade{FirstID: 2, LastID: 1, TradeTime: at}}, "", marketprism.ErrIDs},
		{marketprism.Record{Gap: gap(1)}, "", marketprism.ErrNoTime},
		{marketprism.Record{Gap: gap(0)}, keyReason, orderbook.ErrGapReason},
		{marketprism.Record{Gap: gap(99)}, keyReason, orderbook.ErrGapReason},
		{marketprism.Record{Gap: gap(1), ReceivedAt: time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)}, keyReceivedAt, errTime},
		{marketprism.Record{Gap: gap(1), EventTime: time.Unix(math.MinInt64, 0)}, keyEventTime, errTime},
		{marketprism.Record{Gap: gap(1), Instrument: marketprism.Instrument{Symbol: "\xff"}}, keySymbol, errUTF8},
	}
	for _, test := range tests {
		before := []byte("kept")
		after, err := AppendRecord(before, &test.rec)
		var codec *CodecError
		require.ErrorAs(t, err, &codec)
		require.ErrorIs(t, err, test.err)
		require.Equal(t, test.key, codec.Key)
		require.Equal(t, "kept", string(after))
	}
}

func TestGapErrTextIsValidAndCut(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"bad \xff\xfe end", "bad \uFFFD end"},
		{strings.Repeat("x", maxErrText), strings.Repeat("x", maxErrText)},
		{strings.Repeat("x", maxErrText+1), strings.Repeat("x", maxErrText-3) + "…"},
		{strings.Repeat("é", maxErrText), strings.Repeat("é", (maxErrText-3)/2) + "…"},
		{"", ""},
	} {
		r := marketprism.Record{ReceivedAt: time.Unix(1_700_000_000, 0), Gap: &orderbook.Gap{Reason: orderbook.GapStale, Err: errors.New(test.in)}}
		var got marketprism.Record
		require.NoError(t, DecodeRecord(encode(t, &r), &got))
		require.Equal(t, orderbook.Cause(test.want), got.Gap.Err)
	}
}

// A text that grows when it is made valid is cut after that.
func TestGapErrTextThatGrowsIsCut(t *testing.T) {
	require.LessOrEqual(t, len(errText(errors.New(strings.Repeat("a\xff", maxErrText)))), maxErrText)
}

func TestDecodeToleratesForeignForm(t *testing.T) {
	var r marketprism.Record
	require.NoError(t, DecodeRecord([]byte(` { "asks" : [ [ "2" , "1.50" , "extra" ] ], "unknown": {"a":[1,null,"x"]}, "bids":[],
		"symbol":"\u0042TCUSDT","market":"spot","exchange":"binance","kind":"snap","last_id":5,"last_id":6,"v":1,
		"event_time":"1700000000000000000" } `), &r))
	require.Equal(t, "binance:spot:snap:BTCUSDT:6:0x1", r.Key())
	require.Equal(t, []orderbook.Level{{Price: 2 * orderbook.One, Quantity: 3 * orderbook.One / 2}}, r.Snapshot.Asks)
	require.Nil(t, r.Snapshot.Bids)
}

// A level's quantity beyond the largest number is the largest, whoever wrote it; the checksum is that of the book read.
func TestDecodeQuantityBeyondMaxFixed(t *testing.T) {
	snap := orderbook.Snapshot{LastID: 9, Bids: []orderbook.Level{{Price: 48, Quantity: orderbook.MaxFixed}}}
	body := string(encode(t, &marketprism.Record{
		Instrument: marketprism.Instrument{Symbol: "BTTCUSDT"}, ReceivedAt: time.Unix(1_700_000_000, 0), Snapshot: &snap,
	}))
	require.Contains(t, body, `"bids":[["0.00000048","92233720368.54775807"]]`)
	for _, quantity := range []string{"92233720368.54775807", "310000000000", "922337203685477580.7"} {
		var r marketprism.Record
		require.NoError(t, DecodeRecord([]byte(strings.Replace(body, "92233720368.54775807", quantity, 1)), &r))
		require.Equal(t, snap.Bids, r.Snapshot.Bids)
		require.Equal(t, snap.Checksum(), r.Snapshot.Checksum())
	}
}

func TestDecodeRefuses(t *testing.T) {
	const (
		head  = `{"v":1,"exchange":"e","market":"m","symbol":"s","event_time":"1700000000000000000",`
		trade = `"id":1,"price":"1","quantity":"1"`
		side  = `,"buyer_maker":true`
		at    = `,"trade_time":"1700000000000000000"`
		depth = `"kind":"depth","bids":[],"asks":[],`
	)
	tests := []struct {
		name, body, key string
		err             error
	}{
		{"nothing", ``, "", nil},
		{"not an object", `[]`, "", nil},
		{"html", `<html>`, "", nil},
		{"truncated", head + `"kind":"gap","after":1,"reason":"seq`, keyReason, nil},
		{"trailing", head + `"kind":"gap","after":1,"reason":"sequence"}{}`, "", nil},
		{"newer version", `{"v": 2,"kind":"depth"}`, keyVersion, errVersion},
		{"version as text", `{"v":"1"}`, keyVersion, nil},
		{"no version", `{"kind":"gap","exchange":"e","market":"m","symbol":"s","after":1,"reason":"sequence"}`, keyVersion, errMissing},
		{"no kind", head + `"after":1}`, keyKind, errMissing},
		{"unknown kind", head + `"kind":"candle"}`, keyKind, marketprism.ErrKind},
		{"no symbol", `{"v":1,"kind":"gap","exchange":"e","market":"m","after":1,"reason":"sequence"}`, keySymbol, errMissing},
		{"no asks", head + `"kind":"depth","first_id":1,"last_id":1,"bids":[]}`, keyAsks, errMissing},
		{"no trade id", head + `"kind":"trade","price":"1","quantity":"1"}`, keyID, errMissing},
		{"no ask", head + `"kind":"bbo","update_id":1,"bid":["1","1"]}`, keyAsk, errMissing},
		{"no side", head + `"kind":"trade",` + trade + at + `}`, keyBuyerMaker, errMissing},
		{"no trade time", head + `"kind":"aggtrade","first_id":1,"last_id":1,` + trade + side + `}`, keyTradeTime, errMissing},
		{"no ids of an aggregate", head + `"kind":"aggtrade",` + trade + side + at + `}`, keyFirstID, errMissing},
		{"no predecessor", head + depth + `"first_id":1,"last_id":1}`, keyPrevLastID, errMissing},
		{"no time", `{"v":1,"exchange":"e","market":"m","symbol":"s","kind":"gap","after":1,"reason":"stale"}`, "", marketprism.ErrNoTime},
		{"seconds", head + `"kind":"gap","after":1,"reason":"stale","event_time":"1700000000"}`, "", marketprism.ErrNoTime},
		{"trade time in milliseconds", head + `"kind":"trade",` + trade + side + `,"trade_time":"1700000000000"}`, "", marketprism.ErrNoTime},
		{"trade ids go back", head + `"kind":"aggtrade","first_id":2,"last_id":1,` + trade + side + at + `}`, "", marketprism.ErrIDs},
		{"unknown reason", head + `"kind":"gap","after":1,"reason":"bored"}`, keyReason, orderbook.ErrGapReason},
		{"id too large", head + `"first_id":9223372036854775808}`, keyFirstID, orderbook.ErrRange},
		{"id as text", head + `"first_id":"1"}`, keyFirstID, nil},
		{"price as number", head + `"price":1.5}`, keyPrice, nil},
		{"nine decimals", head + `"price":"0.123456789"}`, keyPrice, orderbook.ErrPrecision},
		{"price too large", head + `"price":"92233720368.54775808"}`, keyPrice, orderbook.ErrRange},
		{"price below zero", head + `"price":"-1"}`, keyPrice, orderbook.ErrRange},
		{"bound below zero", head + `"bid_bound":"-1"}`, keyBidBound, orderbook.ErrRange},
		{"trade too large", head + `"quantity":"92233720368.54775808"}`, keyQuantity, orderbook.ErrRange},
		{"level's price too large", head + `"bids":[["92233720368.54775808","1"]]}`, keyBids, orderbook.ErrRange},
		{"level's price below zero", head + `"asks":[["-1","1"]]}`, keyAsks, orderbook.ErrRange},
		{"level's quantity below zero", head + `"bid":["1","-99999999999"]}`, keyBid, orderbook.ErrRange},
		{"price with exponent", head + `"price":"1e5"}`, keyPrice, orderbook.ErrSyntax},
		{"half a level", head + `"bids":[["1"]]}`, keyBids, errValue},
		{"time as number", head + `"event_time":1700000000}`, keyEventTime, nil},
		{"time with point", head + `"event_time":"1700000000.5"}`, keyEventTime, errTime},
		{"time too large", head + `"event_time":"9223372036854775808"}`, keyEventTime, errTime},
		{"empty time", head + `"event_time":""}`, keyEventTime, errTime},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := marketprism.Record{Instrument: marketprism.Instrument{Symbol: "kept"}}
			err := DecodeRecord([]byte(test.body), &r)
			var codec *CodecError
			require.ErrorAs(t, err, &codec)
			require.Equal(t, test.key, codec.Key)
			require.LessOrEqual(t, codec.Offset, len(test.body))
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
			}
			require.Equal(t, "kept", r.Instrument.Symbol)
		})
	}
}

// A range of update ids that goes back, or nothing at all, is refused with the error of Validate.
func TestDecodeRefusesInvalid(t *testing.T) {
	const body = `{"v":1,"exchange":"e","market":"spot","symbol":"s","event_time":"1700000000000000000","kind":"depth","first_id":2,"last_id":1,"bids":[],"asks":[]}`
	var r marketprism.Record
	err := DecodeRecord([]byte(body), &r)
	var (
		codec    *CodecError
		sequence *orderbook.SequenceError
	)
	require.ErrorAs(t, err, &codec)
	require.Equal(t, "invalid", codec.Kind)
	require.ErrorAs(t, err, &sequence)
	require.Equal(t, orderbook.SequenceError{Want: 2, Got: 1}, *sequence)
	require.Zero(t, r)
}

// A body belongs to the subject of its instrument and its kind alone.
func TestDecodeChecksTheSubject(t *testing.T) {
	var d Decoder
	for i := range sinktest.Extremes() {
		r := sinktest.Extremes()[i]
		body := encode(t, &r)
		own := Subject("", r.Instrument, r.Kind())
		var got marketprism.Record
		for _, subject := range []string{own, Subject("other.prefix", r.Instrument, r.Kind()), "redrive.MD_DEPTH.archive." + own} {
			require.NoError(t, d.Decode(subject, body, &got), subject)
			require.Empty(t, sinktest.Diff(&r, &got))
		}
		other := r.Instrument
		other.Symbol += "X"
		kind := marketprism.KindUpdate
		if r.Update != nil {
			kind = marketprism.KindTicker
		}
		for _, subject := range []string{Subject("", other, r.Kind()), Subject("", r.Instrument, kind), own + ".x", own[len("md."):], "x"} {
			got = marketprism.Record{}
			err := d.Decode(subject, body, &got)
			var codec *CodecError
			require.ErrorAs(t, err, &codec, subject)
			require.Equal(t, "subject", codec.Kind)
			require.ErrorIs(t, err, ErrSubject)
			require.Zero(t, got)
		}
	}
	require.ErrorIs(t, d.Decode("md.binance.spot.depth.BTCUSDT", []byte(`{"v":2}`), new(marketprism.Record)), errVersion)
}

// SkipLevels leaves out the levels of updates and nothing else.
func TestDecoderSkipsLevels(t *testing.T) {
	recs := append(sinktest.Extremes(), sinktest.Records(4, 500)...)
	peek := Decoder{SkipLevels: true}
	for i := range recs {
		data := encode(t, &recs[i])
		var whole, peeked marketprism.Record
		require.NoError(t, DecodeRecord(data, &whole))
		require.NoError(t, peek.Decode("", data, &peeked))
		require.Equal(t, whole.Key(), peeked.Key())
		if whole.Update != nil {
			whole.Update.Bids, whole.Update.Asks = nil, nil
		}
		require.Empty(t, sinktest.Diff(&whole, &peeked))
		require.Error(t, peek.Decode("", data[:len(data)-1], &peeked))
	}
}

// leastAllocs returns how often f allocates. Servers of other tests that are still ending allocate at the same time: that
// only adds to some of the rounds.
func leastAllocs(f func()) float64 {
	least := testing.AllocsPerRun(1, f)
	for range 20 {
		least = min(least, testing.AllocsPerRun(1, f))
	}
	return least
}

func TestCodecDoesNotAllocate(t *testing.T) {
	recs := sinktest.Records(2, 200)
	bodies := make([][]byte, len(recs))
	subjects := make([]string, len(recs))
	for i := range recs {
		subjects[i] = Subject("", recs[i].Instrument, recs[i].Kind())
		if recs[i].Gap != nil { // the text of an error is allocated
			recs[i].Gap.Err = nil
		}
		bodies[i] = encode(t, &recs[i])
	}
	buf := make([]byte, 0, 1<<20)
	require.Zero(t, leastAllocs(func() {
		for i := range recs {
			buf, _ = AppendRecord(buf[:0], &recs[i])
		}
	}))
	var (
		decoder Decoder
		r       marketprism.Record
	)
	require.Zero(t, leastAllocs(func() {
		decoder.Reset()
		for i, body := range bodies {
			if err := decoder.Decode(subjects[i], body, &r); err != nil {
				t.Fatal(err)
			}
		}
	}))
}
