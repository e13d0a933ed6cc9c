package chstore

import (
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A column takes one value of each record to one column of a table. It is used again for every INSERT, and so
// grows to the largest of them and no further.
type column struct {
	name   string
	data   proto.ColInput
	append func(r *marketprism.Record)
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

// times stand as nanoseconds since 1970; the zero Time as 1970 itself.
func times(name string, value func(*marketprism.Record) time.Time) column {
	data := new(proto.ColDateTime64).WithPrecision(proto.PrecisionNano).WithLocation(time.UTC)
	return column{name, data, func(r *marketprism.Record) { data.AppendRaw(proto.DateTime64(nanos(value(r)))) }}
}

// texts are of few different values.
func texts(name string, value func(*marketprism.Record) string) column {
	data := newDictionary()
	return column{name, data, func(r *marketprism.Record) { data.append(value(r)) }}
}

// sentences are of any value.
func sentences(name string, value func(*marketprism.Record) string) column {
	data := new(proto.ColStr)
	return column{name, data, func(r *marketprism.Record) { data.Append(value(r)) }}
}

func prices(name string, side func(*marketprism.Record) []orderbook.Level) column {
	return arrays(name, side, func(l *orderbook.Level) int64 { return int64(l.Price) })
}

func quantities(name string, side func(*marketprism.Record) []orderbook.Level) column {
	return arrays(name, side, func(l *orderbook.Level) int64 { return int64(l.Quantity) })
}

func arrays(name string, side func(*marketprism.Record) []orderbook.Level, value func(*orderbook.Level) int64) column {
	values := new(proto.ColInt64)
	data := proto.NewArray[int64](values)
	return column{name, data, func(r *marketprism.Record) {
		levels := side(r)
		for i := range levels {
			values.Append(value(&levels[i]))
		}
		data.Offsets.Append(uint64(len(*values)))
	}}
}

// A dictionary is a column of the type LowCardinality(String): the different texts, and for each row the place of
// its text among them. Rows mostly repeat the text of the row before.
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

// Reset forgets all rows and texts, and keeps the room they had.
func (d *dictionary) Reset() {
	d.ColLowCardinalityRaw.Reset()
	clear(d.places)
	d.last, d.place = "", -1
}
