package sink_test

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A small binary codec stands in for the one that the program gives to a Spill.

func encodeRecord(b []byte, r *marketprism.Record) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return b, err
	}
	w := codecWriter{b}
	w.b = append(w.b, byte(r.Kind()))
	w.text(r.Instrument.Exchange)
	w.text(string(r.Instrument.Market))
	w.text(r.Instrument.Symbol)
	w.times(r.EventTime, r.ReceivedAt)
	switch {
	case r.Update != nil:
		w.ints(r.Update.FirstID, r.Update.LastID, r.Update.PrevLastID)
		w.times(r.Update.EventTime, r.Update.TransactTime)
		w.levels(r.Update.Bids)
		w.levels(r.Update.Asks)
	case r.Snapshot != nil:
		w.ints(r.Snapshot.LastID)
		w.times(r.Snapshot.EventTime, r.Snapshot.TransactTime)
		w.levels(r.Snapshot.Bids)
		w.levels(r.Snapshot.Asks)
		for _, bound := range []orderbook.Bound{r.Snapshot.BidBound, r.Snapshot.AskBound} {
			w.ints(int64(bound.Price), number(bound.Limited))
		}
	case r.Gap != nil:
		w.ints(r.Gap.After, int64(r.Gap.Reason))
		text := ""
		if r.Gap.Err != nil {
			text = r.Gap.Err.Error()
		}
		w.text(text)
	case r.Trade != nil:
		t := r.Trade
		w.ints(t.ID, t.FirstID, t.LastID, int64(t.Price), int64(t.Quantity), number(t.BuyerMaker), number(t.BestMatch))
		w.times(t.TradeTime)
	case r.Ticker != nil:
		t := r.Ticker
		w.ints(t.UpdateID, int64(t.Bid.Price), int64(t.Bid.Quantity), int64(t.Ask.Price), int64(t.Ask.Quantity))
		w.times(t.TransactTime)
	}
	return w.b, nil
}

func decodeRecord(data []byte, r *marketprism.Record) error {
	if len(data) == 0 {
		return errCodec
	}
	d := codecReader{b: data[1:]}
	*r = marketprism.Record{Instrument: marketprism.Instrument{Exchange: d.text(), Market: marketprism.Market(d.text()), Symbol: d.text()}}
	r.EventTime, r.ReceivedAt = d.time(), d.time()
	switch kind := marketprism.Kind(data[0]); kind {
	case marketprism.KindUpdate:
		r.Update = &orderbook.Update{
			FirstID: d.int(), LastID: d.int(), PrevLastID: d.int(), EventTime: d.time(), TransactTime: d.time(),
			Bids: d.levels(), Asks: d.levels(),
		}
	case marketprism.KindSnapshot:
		r.Snapshot = &orderbook.Snapshot{
			LastID: d.int(), EventTime: d.time(), TransactTime: d.time(), Bids: d.levels(), Asks: d.levels(),
			BidBound: d.bound(), AskBound: d.bound(),
		}
	case marketprism.KindGap:
		r.Gap = &orderbook.Gap{After: d.int(), Reason: orderbook.GapReason(d.int())}
		if text := d.text(); text != "" {
			r.Gap.Err = errors.New(text)
		}
	case marketprism.KindTrade, marketprism.KindAggTrade:
		r.Trade = &marketprism.Trade{
			Aggregate: kind == marketprism.KindAggTrade,
			ID:        d.int(), FirstID: d.int(), LastID: d.int(), Price: orderbook.Fixed(d.int()), Quantity: orderbook.Fixed(d.int()),
			BuyerMaker: d.int() == 1, BestMatch: d.int() == 1, TradeTime: d.time(),
		}
	case marketprism.KindTicker:
		r.Ticker = &marketprism.Ticker{UpdateID: d.int(), Bid: d.level(), Ask: d.level(), TransactTime: d.time()}
	default:
		return errCodec
	}
	return d.err
}

var errCodec = errors.New("not a record of the test codec")

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

type codecWriter struct{ b []byte }

func (w *codecWriter) ints(values ...int64) {
	for _, v := range values {
		w.b = binary.AppendVarint(w.b, v)
	}
}

func (w *codecWriter) times(times ...time.Time) {
	for _, t := range times {
		w.ints(t.Unix(), int64(t.Nanosecond()))
	}
}

func (w *codecWriter) text(s string) {
	w.ints(int64(len(s)))
	w.b = append(w.b, s...)
}

func (w *codecWriter) levels(levels []orderbook.Level) {
	w.ints(int64(len(levels)))
	for _, l := range levels {
		w.ints(int64(l.Price), int64(l.Quantity))
	}
}

func (d *codecReader) bound() orderbook.Bound {
	return orderbook.Bound{Price: orderbook.Fixed(d.int()), Limited: d.int() == 1}
}

type codecReader struct {
	b   []byte
	err error
}

func (d *codecReader) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.b, d.err = nil, errCodec
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *codecReader) count() int {
	n := d.int()
	if n < 0 || n > int64(len(d.b)) {
		d.b, d.err = nil, errCodec
		return 0
	}
	return int(n)
}

func (d *codecReader) text() string {
	n := d.count()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *codecReader) time() time.Time {
	sec, nsec := d.int(), d.int()
	return time.Unix(sec, nsec).UTC()
}

func (d *codecReader) level() orderbook.Level {
	return orderbook.Level{Price: orderbook.Fixed(d.int()), Quantity: orderbook.Fixed(d.int())}
}

func (d *codecReader) levels() []orderbook.Level {
	levels := make([]orderbook.Level, d.count())
	for i := range levels {
		levels[i] = d.level()
	}
	return levels
}
