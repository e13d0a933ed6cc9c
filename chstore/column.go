package chstore

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// An appender is a column of the driver's block: it takes a slice of values, or one value.
type appender interface {
	Append(values any) error
	AppendRow(value any) error
}

// A column says what records contribute to one column of a table.
type column struct {
	name string
	fill func(to appender, recs []*marketprism.Record, buf *buffers) error
}

// buffers holds the values of a column on their way into the driver's block. They are used again for
// the next column and the next INSERT.
type buffers struct {
	integers  []int64
	sequences []uint64
	flags     []bool
	times     []time.Time
	texts     map[string]any
	row       arrayRow
}

// maxTexts bounds the texts that are kept between INSERTs.
const maxTexts = 4096

// text returns s as an interface value without allocating where s came before: symbols and streams
// repeat in every row.
func (b *buffers) text(s string) any {
	if v, ok := b.texts[s]; ok {
		return v
	}
	if b.texts == nil || len(b.texts) >= maxTexts {
		b.texts = make(map[string]any)
	}
	v := any(s)
	b.texts[s] = v
	return v
}

func integers(name string, value func(*marketprism.Record) int64) column {
	return column{name, func(to appender, recs []*marketprism.Record, buf *buffers) error {
		buf.integers = collect(buf.integers, recs, value)
		return to.Append(buf.integers)
	}}
}

func sequences(name string, value func(*marketprism.Record) uint64) column {
	return column{name, func(to appender, recs []*marketprism.Record, buf *buffers) error {
		buf.sequences = collect(buf.sequences, recs, value)
		return to.Append(buf.sequences)
	}}
}

func flags(name string, value func(*marketprism.Record) bool) column {
	return column{name, func(to appender, recs []*marketprism.Record, buf *buffers) error {
		buf.flags = collect(buf.flags, recs, value)
		return to.Append(buf.flags)
	}}
}

func times(name string, value func(*marketprism.Record) time.Time) column {
	return column{name, func(to appender, recs []*marketprism.Record, buf *buffers) error {
		buf.times = collect(buf.times, recs, value)
		return to.Append(buf.times)
	}}
}

func collect[T any](dst []T, recs []*marketprism.Record, value func(*marketprism.Record) T) []T {
	dst = dst[:0]
	for _, r := range recs {
		dst = append(dst, value(r))
	}
	return dst
}

// texts goes value by value, since the driver would box each one of a slice.
func texts(name string, value func(*marketprism.Record) string) column {
	return column{name, func(to appender, recs []*marketprism.Record, buf *buffers) error {
		var last string
		var boxed any
		for _, r := range recs {
			if s := value(r); boxed == nil || s != last {
				last, boxed = s, buf.text(s)
			}
			if err := to.AppendRow(boxed); err != nil {
				return err
			}
		}
		return nil
	}}
}

func prices(name string, side func(*marketprism.Record) []orderbook.Level) column {
	return arrays(name, side, func(l *orderbook.Level) int64 { return int64(l.Price) })
}

func quantities(name string, side func(*marketprism.Record) []orderbook.Level) column {
	return arrays(name, side, func(l *orderbook.Level) int64 { return int64(l.Quantity) })
}

func arrays(name string, side func(*marketprism.Record) []orderbook.Level, value func(*orderbook.Level) int64) column {
	return column{name, func(to appender, recs []*marketprism.Record, buf *buffers) error {
		for _, r := range recs {
			levels := side(r)
			values, boxed := buf.row.room(len(levels))
			for i := range levels {
				values[i] = value(&levels[i])
			}
			if err := to.AppendRow(boxed); err != nil {
				return err
			}
		}
		return nil
	}}
}

// An arrayRow carries one Array(Int64) value to the driver without allocating. The driver boxes each
// element of a []int64, but not of a []*int64; so the values stand in one slice, a second one points
// at them for good, and the prefixes of the second are boxed once each.
type arrayRow struct {
	values   []int64
	pointers []*int64
	prefixes []any // by length
}

// room returns n values to be set, and what stands for them in a call of the driver.
func (a *arrayRow) room(n int) (values []int64, boxed any) {
	if n >= len(a.prefixes) {
		size := max(n, 2*len(a.values), 64)
		a.values = make([]int64, size)
		a.pointers = make([]*int64, size)
		for i := range a.values {
			a.pointers[i] = &a.values[i]
		}
		a.prefixes = make([]any, size+1)
	}
	if a.prefixes[n] == nil {
		a.prefixes[n] = a.pointers[:n]
	}
	return a.values[:n], a.prefixes[n]
}
