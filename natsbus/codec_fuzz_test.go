package natsbus

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// Any bytes are either refused with a *CodecError, or decode to a record that encodes and decodes to itself.
func FuzzDecode(f *testing.F) {
	for _, r := range append(sinktest.Records(1, 40), sinktest.Extremes()...) {
		if data := encode(f, &r); len(data) < 4096 {
			f.Add(data)
		}
	}
	f.Add([]byte(`{"v":1,"kind":"trade","exchange":"e","market":"m","symbol":"s","event_time":"1","trade_time":"-1","id":1,"price":"1","quantity":"1","buyer_maker":true}`))
	f.Add([]byte(`{"v":1,"kind":"depth","kind":"gap","bids":[[]],"book_event_time":""}`))
	f.Add([]byte(`{"v":1,"first_id":-9223372036854775808,"x":{"y":[[[1e999]]]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r, again marketprism.Record
		if err := DecodeRecord(data, &r); err != nil {
			var codec *CodecError
			require.ErrorAs(t, err, &codec)
			return
		}
		require.NoError(t, r.Validate())
		body, err := AppendRecord(nil, &r)
		if errors.Is(err, errTime) { // the last second, which 64 bits hold only in part
			return
		}
		require.NoError(t, err)
		require.NoError(t, DecodeRecord(body, &again))
		if r.Gap != nil && r.Gap.Err != nil {
			r.Gap.Err = orderbook.Cause(errText(r.Gap.Err))
		}
		require.Empty(t, sinktest.Diff(&r, &again))
	})
}

// Any record is decoded exactly as it was encoded, or refused.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(0), "binance", "spot", "BTCUSDT", "cause", int64(1), int64(2), int64(3), int64(4), int64(5), int64(6))
	f.Add(uint8(2), "", "\x00\"\\", "币\u2028", "", int64(-1), int64(0), int64(1<<62), int64(0), int64(-1<<63), int64(1<<63-1))
	f.Fuzz(func(t *testing.T, kind uint8, exchange, market, symbol, cause string, a, b, c, t1, t2, n int64) {
		at := func(nanos int64) time.Time {
			if nanos == 0 {
				return time.Time{}
			}
			return time.Unix(0, nanos)
		}
		level := orderbook.Level{Price: orderbook.Fixed(n), Quantity: orderbook.Fixed(a)}
		r := marketprism.Record{
			Instrument: marketprism.Instrument{Exchange: exchange, Market: marketprism.Market(market), Symbol: symbol},
			EventTime:  at(t1), ReceivedAt: at(t2),
		}
		switch kind % 5 {
		case 0:
			r.Update = &orderbook.Update{FirstID: a, LastID: b, PrevLastID: c, EventTime: at(t2), TransactTime: at(t1), Bids: []orderbook.Level{level}}
		case 1:
			r.Snapshot = &orderbook.Snapshot{LastID: a, EventTime: at(t1), TransactTime: at(t2), Asks: []orderbook.Level{level, {}, level}}
		case 2:
			r.Gap = &orderbook.Gap{After: a, Reason: orderbook.GapReason(1 + uint8(b)%7), Err: orderbook.Cause(cause)}
		case 3:
			r.Trade = &marketprism.Trade{ID: a, FirstID: b, LastID: c, Aggregate: n&1 == 0, Price: level.Price, BuyerMaker: n&2 == 0, TradeTime: at(t2)}
		case 4:
			r.Ticker = &marketprism.Ticker{UpdateID: a, TransactTime: at(t1), Bid: level}
		}
		body, err := AppendRecord(nil, &r)
		if err != nil {
			require.True(t, errors.Is(err, errTime) || errors.Is(err, errUTF8) || r.Validate() != nil, "%v", err)
			return
		}
		var got marketprism.Record
		require.NoError(t, DecodeRecord(body, &got))
		if r.Gap != nil {
			r.Gap.Err = orderbook.Cause(errText(r.Gap.Err))
		}
		require.Empty(t, sinktest.Diff(&r, &got))
		require.Equal(t, r.Key(), got.Key())
	})
}
