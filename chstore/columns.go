package chstore

import (
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// columnsOf returns the columns that are written to a table.
func columnsOf(t table) []column {
	switch t {
	case depthTable:
		return depthColumns()
	case snapshotTable:
		return snapshotColumns()
	case tradeTable:
		return tradeColumns()
	case tickerTable:
		return tickerColumns()
	}
	return gapColumns()
}

// storedColumns returns the names of the columns that are written to a table.
func storedColumns(t table) (names []string) {
	for _, c := range columnsOf(t) {
		names = append(names, c.name)
	}
	return names
}

// own is the value of own_time for a payload whose event time is the record's.
const own = -1

// ownTime returns the event time inside an update or a snapshot. It is the record's, unless a
// producer sets only one of them.
func ownTime(r *marketprism.Record, payload time.Time) int64 {
	if payload.Equal(r.EventTime) {
		return own
	}
	return nanos(payload)
}

func depthColumns() []column {
	bids := levels("bid", func(r *marketprism.Record) []orderbook.Level { return r.Update.Bids })
	asks := levels("ask", func(r *marketprism.Record) []orderbook.Level { return r.Update.Asks })
	return recordColumns(
		times("transact_time", func(r *marketprism.Record) time.Time { return r.Update.TransactTime }),
		integers("own_time", func(r *marketprism.Record) int64 { return ownTime(r, r.Update.EventTime) }),
		integers("first_id", func(r *marketprism.Record) int64 { return r.Update.FirstID }),
		integers("last_id", func(r *marketprism.Record) int64 { return r.Update.LastID }),
		integers("prev_id", func(r *marketprism.Record) int64 { return r.Update.PrevLastID }),
		bids[0], bids[1], asks[0], asks[1],
	)
}

func snapshotColumns() []column {
	bids := levels("bid", func(r *marketprism.Record) []orderbook.Level { return r.Snapshot.Bids })
	asks := levels("ask", func(r *marketprism.Record) []orderbook.Level { return r.Snapshot.Asks })
	return recordColumns(
		times("transact_time", func(r *marketprism.Record) time.Time { return r.Snapshot.TransactTime }),
		integers("own_time", func(r *marketprism.Record) int64 { return ownTime(r, r.Snapshot.EventTime) }),
		integers("last_id", func(r *marketprism.Record) int64 { return r.Snapshot.LastID }),
		bids[0], bids[1], asks[0], asks[1],
		flags("bid_limited", func(r *marketprism.Record) bool { return r.Snapshot.BidBound.Limited }),
		integers("bid_bound_e8", func(r *marketprism.Record) int64 { return int64(r.Snapshot.BidBound.Price) }),
		flags("ask_limited", func(r *marketprism.Record) bool { return r.Snapshot.AskBound.Limited }),
		integers("ask_bound_e8", func(r *marketprism.Record) int64 { return int64(r.Snapshot.AskBound.Price) }),
	)
}

func tradeColumns() []column {
	return recordColumns(
		integers("id", func(r *marketprism.Record) int64 { return r.Trade.ID }),
		flags("aggregate", func(r *marketprism.Record) bool { return r.Trade.Aggregate }),
		integers("first_id", func(r *marketprism.Record) int64 { return r.Trade.FirstID }),
		integers("last_id", func(r *marketprism.Record) int64 { return r.Trade.LastID }),
		integers("price_e8", func(r *marketprism.Record) int64 { return int64(r.Trade.Price) }),
		integers("quantity_e8", func(r *marketprism.Record) int64 { return int64(r.Trade.Quantity) }),
		flags("buyer_maker", func(r *marketprism.Record) bool { return r.Trade.BuyerMaker }),
		flags("is_best_match", func(r *marketprism.Record) bool { return r.Trade.BestMatch }),
		times("trade_time", func(r *marketprism.Record) time.Time { return r.Trade.TradeTime }),
	)
}

func tickerColumns() []column {
	return recordColumns(
		times("transact_time", func(r *marketprism.Record) time.Time { return r.Ticker.TransactTime }),
		integers("update_id", func(r *marketprism.Record) int64 { return r.Ticker.UpdateID }),
		integers("bid_price_e8", func(r *marketprism.Record) int64 { return int64(r.Ticker.Bid.Price) }),
		integers("bid_qty_e8", func(r *marketprism.Record) int64 { return int64(r.Ticker.Bid.Quantity) }),
		integers("ask_price_e8", func(r *marketprism.Record) int64 { return int64(r.Ticker.Ask.Price) }),
		integers("ask_qty_e8", func(r *marketprism.Record) int64 { return int64(r.Ticker.Ask.Quantity) }),
	)
}

func gapColumns() []column {
	return recordColumns(
		integers("after_id", func(r *marketprism.Record) int64 { return r.Gap.After }),
		texts("reason", func(r *marketprism.Record) string { return r.Gap.Reason.String() }),
		sentences("error", func(r *marketprism.Record) string { return errorText(r.Gap.Err) }),
	)
}

// recordColumns returns the columns that every table has, then the given ones.
func recordColumns(payload ...column) []column {
	return append([]column{
		texts("exchange", func(r *marketprism.Record) string { return r.Instrument.Exchange }),
		texts("market", func(r *marketprism.Record) string { return string(r.Instrument.Market) }),
		texts("symbol", func(r *marketprism.Record) string { return r.Instrument.Symbol }),
		times("ts", (*marketprism.Record).Time),
		flags("timed", func(r *marketprism.Record) bool { return !r.EventTime.IsZero() }),
		times("received_at", func(r *marketprism.Record) time.Time { return r.ReceivedAt }),
		texts("src", func(r *marketprism.Record) string { return r.Origin.Source }),
		sequences("seq", func(r *marketprism.Record) uint64 { return r.Origin.Sequence }),
	}, payload...)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A column collects one value of each record for one column of a table. Its memory is reused for every INSERT.
type column struct {
	name   string
	data   proto.ColInput
	append func(r *marketprism.Record) // nil for one that is filled together with another
}

func integers(name string, value func(*marketprism.Record) int64) column {
	data := new(proto.ColInt64)
	return column{name, data, func(r *marketprism.Record) { data.Append(value(r)) }}
}

func sequences(name string, value func(*marketprism.Record) uint64) column {
	data := new(proto.ColUInt64)
	return column{name, data, func(r *marketprism.Record) { data.Append(value(r)) }}
}

func flags(name string, value func(*marketprism.Record) bool) column {
	data := new(proto.ColBool)
	return column{name, data, func(r *marketprism.Record) { data.Append(value(r)) }}
}

// times returns a column of nanoseconds since 1970; the zero Time is 0.
func times(name string, value func(*marketprism.Record) time.Time) column {
	data := new(proto.ColDateTime64).WithPrecision(proto.PrecisionNano).WithLocation(time.UTC)
	return column{name, data, func(r *marketprism.Record) { data.AppendRaw(proto.DateTime64(nanos(value(r)))) }}
}

// texts returns a column for texts with few different values.
func texts(name string, value func(*marketprism.Record) string) column {
	data := newDictionary()
	return column{name, data, func(r *marketprism.Record) { data.append(value(r)) }}
}

// sentences returns a column for any texts.
func sentences(name string, value func(*marketprism.Record) string) column {
	data := new(proto.ColStr)
	return column{name, data, func(r *marketprism.Record) { data.Append(value(r)) }}
}

// levels returns the columns of the prices and of the quantities of one side. The first fills both, so that each level is
// read once.
func levels(prefix string, side func(*marketprism.Record) []orderbook.Level) [2]column {
	prices, quantities := new(proto.ColInt64), new(proto.ColInt64)
	ofPrices, ofQuantities := proto.NewArray[int64](prices), proto.NewArray[int64](quantities)
	fill := func(r *marketprism.Record) {
		levels := side(r)
		from := len(*prices)
		*prices = slices.Grow(*prices, len(levels))[:from+len(levels)]
		*quantities = slices.Grow(*quantities, len(levels))[:from+len(levels)]
		p, q := (*prices)[from:], (*quantities)[from:]
		for i := range levels {
			p[i], q[i] = int64(levels[i].Price), int64(levels[i].Quantity)
		}
		ofPrices.Offsets.Append(uint64(len(*prices)))
		ofQuantities.Offsets.Append(uint64(len(*quantities)))
	}
	return [2]column{{prefix + "_price_e8", ofPrices, fill}, {prefix + "_qty_e8", ofQuantities, nil}}
}

// A dictionary is a column of the type LowCardinality(String): the different texts, and for each row the index of
// its text. Rows mostly repeat the text of the row before.
type dictionary struct {
	proto.ColLowCardinalityRaw
	texts  proto.ColStr
	places map[string]int

	last  string
	place int // of last; -1 without rows
}

func newDictionary() *dictionary {
	d := &dictionary{places: make(map[string]int), place: -1}
	d.Index, d.Key = &d.texts, proto.KeyUInt32
	return d
}

func (d *dictionary) append(text string) {
	if d.place < 0 || text != d.last {
		place, known := d.places[text]
		if !known {
			place = len(d.places)
			d.places[text] = place
			d.texts.Append(text)
		}
		d.last, d.place = text, place
	}
	d.AppendKey(d.place)
}

// Reset removes all rows and texts, and keeps their memory.
func (d *dictionary) Reset() {
	d.ColLowCardinalityRaw.Reset()
	clear(d.places)
	d.last, d.place = "", -1
}

// lastTime is the last time whose nanoseconds since 1970 fit an int64.
var lastTime = time.Unix(0, math.MaxInt64)

// storable reports whether a time can be stored: the zero Time can, as 0.
func storable(t time.Time) bool {
	return t.IsZero() || t.Unix() >= 0 && !t.After(lastTime)
}

// nanos returns nanoseconds since 1970, 0 for the zero Time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// fromNanos is the inverse of nanos: 0 becomes the zero Time. The location is UTC.
func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
