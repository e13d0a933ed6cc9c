package columnar

import (
	"fmt"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/marketprism/marketprism/orderbook"
)

// A Type is the stored type of a column.
type Type uint8

// The types of columns.
const (
	Delta   Type = iota // int64 that differs little from row to row
	Number              // int64
	Small               // int32
	Byte                // uint8
	Tiny                // int8
	Serial              // uint64 that differs little from row to row
	Flag                // bool
	Text                // UTF-8 of few different values
	Unique              // UTF-8 of many different values
	Fixed16             // 16 bytes
)

// A Value is a column of single values of a Go type: int64 for Delta, Number and Serial, int32 for Small, Byte and Tiny, bool, string, and [16]byte.
type Value[T int64 | int32 | bool | string | [16]byte] struct {
	name     string
	kind     Type
	optional bool

	values  []T
	present []int16 // of each row: 1 if it has a value; nil unless optional
	count   int
}

// NewValue returns a column. An optional one may have null in a row.
func NewValue[T int64 | int32 | bool | string | [16]byte](name string, kind Type, optional bool) *Value[T] {
	return &Value[T]{name: name, kind: kind, optional: optional}
}

// Append appends a value.
func (c *Value[T]) Append(v T) {
	c.count++
	c.values = append(c.values, v)
	if c.optional {
		c.present = append(c.present, 1)
	}
}

// AppendIf appends a value, or null unless there is one. The column must be optional.
func (c *Value[T]) AppendIf(there bool, v T) {
	if there {
		c.Append(v)
		return
	}
	c.count++
	c.present = append(c.present, 0)
}

func (c *Value[T]) rows() int { return c.count }

func (c *Value[T]) size() int {
	var v T
	switch any(v).(type) {
	case [16]byte, string:
		return 16 * len(c.values)
	}
	return 8 * len(c.values)
}

func (c *Value[T]) node() (schema.Node, error) {
	repetition := parquet.Repetitions.Required
	if c.optional {
		repetition = parquet.Repetitions.Optional
	}
	switch c.kind {
	case Delta, Number:
		return schema.NewPrimitiveNode(c.name, repetition, parquet.Types.Int64, -1, -1)
	case Serial:
		return schema.NewPrimitiveNodeLogical(c.name, repetition, schema.NewIntLogicalType(64, false), parquet.Types.Int64, -1, -1)
	case Small:
		return schema.NewPrimitiveNode(c.name, repetition, parquet.Types.Int32, -1, -1)
	case Byte:
		return schema.NewPrimitiveNodeLogical(c.name, repetition, schema.NewIntLogicalType(8, false), parquet.Types.Int32, -1, -1)
	case Tiny:
		return schema.NewPrimitiveNodeLogical(c.name, repetition, schema.NewIntLogicalType(8, true), parquet.Types.Int32, -1, -1)
	case Flag:
		return schema.NewPrimitiveNode(c.name, repetition, parquet.Types.Boolean, -1, -1)
	case Text, Unique:
		return schema.NewPrimitiveNodeLogical(c.name, repetition, schema.StringLogicalType{}, parquet.Types.ByteArray, -1, -1)
	case Fixed16:
		return schema.NewPrimitiveNode(c.name, repetition, parquet.Types.FixedLenByteArray, -1, 16)
	}
	return nil, fmt.Errorf("columnar: unknown type %d of %s", c.kind, c.name)
}

func (c *Value[T]) encode(properties []parquet.WriterProperty) []parquet.WriterProperty {
	switch c.kind {
	case Delta, Serial:
		return append(properties, parquet.WithEncodingFor(c.name, parquet.Encodings.DeltaBinaryPacked))
	case Text, Byte, Tiny, Small:
		return append(properties, parquet.WithDictionaryFor(c.name, true))
	}
	return properties
}

func (c *Value[T]) flush(next func() (file.ColumnChunkWriter, error)) error {
	w, err := next()
	if err != nil {
		return err
	}
	switch values := any(c.values).(type) {
	case []int64:
		_, err = w.(*file.Int64ColumnChunkWriter).WriteBatch(values, c.present, nil)
	case []int32:
		_, err = w.(*file.Int32ColumnChunkWriter).WriteBatch(values, c.present, nil)
	case []bool:
		_, err = w.(*file.BooleanColumnChunkWriter).WriteBatch(values, c.present, nil)
	case []string:
		texts := make([]parquet.ByteArray, len(values))
		for i, v := range values {
			texts[i] = parquet.ByteArray(v)
		}
		_, err = w.(*file.ByteArrayColumnChunkWriter).WriteBatch(texts, c.present, nil)
	case [][16]byte:
		fixed := make([]parquet.FixedLenByteArray, len(values))
		for i := range values {
			fixed[i] = values[i][:]
		}
		_, err = w.(*file.FixedLenByteArrayColumnChunkWriter).WriteBatch(fixed, c.present, nil)
	}
	c.values, c.present, c.count = c.values[:0], c.present[:0], 0
	if err != nil {
		return err
	}
	return w.Close()
}

// Levels is a column of lists of price and quantity, list<struct<price_e8: int64, qty_e8: int64>>. A list may be empty,
// but is never null.
type Levels struct {
	name             string
	prices, quantity []int64
	defined          []int16 // 1 for a level, 0 for an empty list
	repeated         []int16 // 1 for the second level of a list and later ones
	count            int
}

// NewLevels returns a column.
func NewLevels(name string) *Levels { return &Levels{name: name} }

// Append appends a list.
func (c *Levels) Append(levels []orderbook.Level) {
	c.count++
	if len(levels) == 0 {
		c.defined, c.repeated = append(c.defined, 0), append(c.repeated, 0)
		return
	}
	for i, l := range levels {
		c.prices, c.quantity = append(c.prices, int64(l.Price)), append(c.quantity, int64(l.Quantity))
		c.defined, c.repeated = append(c.defined, 1), append(c.repeated, int16(min(i, 1)))
	}
}

func (c *Levels) rows() int { return c.count }
func (c *Levels) size() int { return 16*len(c.prices) + 4*len(c.defined) }

const listPath = ".list.element."

func (c *Levels) node() (schema.Node, error) {
	fields := make(schema.FieldList, 0, 2)
	for _, name := range [...]string{"price_e8", "qty_e8"} {
		n, err := schema.NewPrimitiveNode(name, parquet.Repetitions.Required, parquet.Types.Int64, -1, -1)
		if err != nil {
			return nil, err
		}
		fields = append(fields, n)
	}
	element, err := schema.NewGroupNode("element", parquet.Repetitions.Required, fields, -1)
	if err != nil {
		return nil, err
	}
	return schema.ListOfWithName(c.name, element, parquet.Repetitions.Required, -1)
}

func (c *Levels) encode(properties []parquet.WriterProperty) []parquet.WriterProperty {
	return append(properties, parquet.WithEncodingFor(c.name+listPath+"price_e8", parquet.Encodings.DeltaBinaryPacked))
}

func (c *Levels) flush(next func() (file.ColumnChunkWriter, error)) error {
	for _, values := range [...][]int64{c.prices, c.quantity} {
		w, err := next()
		if err != nil {
			return err
		}
		if _, err := w.(*file.Int64ColumnChunkWriter).WriteBatch(values, c.defined, c.repeated); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	c.prices, c.quantity, c.defined, c.repeated, c.count = c.prices[:0], c.quantity[:0], c.defined[:0], c.repeated[:0], 0
	return nil
}
