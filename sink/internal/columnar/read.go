package columnar

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/marketprism/marketprism/orderbook"
)

// A Reader reads the columns of a Parquet file, one row group at a time.
type Reader struct {
	in    *file.Reader
	index map[string]int // of leaf columns by their paths
}

// Open opens a file; Close closes it.
func Open(path string) (*Reader, error) {
	in, err := file.OpenParquetFile(path, false)
	if err != nil {
		return nil, fmt.Errorf("columnar: %s: %w", path, err)
	}
	r := &Reader{in: in, index: make(map[string]int)}
	s := in.MetaData().Schema
	for i := range s.NumColumns() {
		r.index[s.Column(i).Path()] = i
	}
	return r, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.in.Close() }

// Groups returns the number of row groups.
func (r *Reader) Groups() int { return r.in.NumRowGroups() }

// Metadata returns the value of a key of the footer; "" if it is not there.
func (r *Reader) Metadata(key string) string {
	if v := r.in.MetaData().KeyValueMetadata().FindValue(key); v != nil {
		return *v
	}
	return ""
}

// A ColumnError is the error for a column that a file does not have, or has in another form.
type ColumnError struct {
	Column string
	Err    error
}

func (e *ColumnError) Error() string { return fmt.Sprintf("columnar: column %s: %v", e.Column, e.Err) }

// Unwrap returns Err.
func (e *ColumnError) Unwrap() error { return e.Err }

// Cells are the values of one column in a row group. Missing has one element a row, or is nil if no value is null.
type Cells[T any] struct {
	Values  []T // one a row, zero where it is null
	Missing []bool
}

// Has reports whether a row has a value.
func (c *Cells[T]) Has(row int) bool { return c.Missing == nil || !c.Missing[row] }

// A chunk is the typed reader of arrow-go for a column.
type chunk[T any] interface {
	ReadBatch(n int64, values []T, defined, repeated []int16) (total int64, read int, err error)
}

// Read reads a column of single values. T is int64, int32, bool or parquet.ByteArray.
func Read[T any](r *Reader, group int, name string) (Cells[T], error) {
	values, defined, _, err := readColumn[T](r, group, name)
	if err != nil || len(defined) == len(values) {
		return Cells[T]{Values: values}, err
	}
	c := Cells[T]{Values: make([]T, len(defined)), Missing: make([]bool, len(defined))}
	next := 0
	for i, d := range defined {
		if d == 0 || next >= len(values) {
			c.Missing[i] = true
			continue
		}
		c.Values[i] = values[next]
		next++
	}
	return c, nil
}

// readColumn reads the values of a column, and its levels if it may have nulls or repeats. Those of a column that can have neither are
// as many as its values.
func readColumn[T any](r *Reader, group int, name string) (values []T, defined, repeated []int16, err error) {
	i, ok := r.index[name]
	if !ok {
		return nil, nil, nil, &ColumnError{Column: name, Err: errMissing}
	}
	column, err := r.in.RowGroup(group).Column(i)
	if err != nil {
		return nil, nil, nil, &ColumnError{Column: name, Err: err}
	}
	typed, ok := column.(chunk[T])
	if !ok {
		return nil, nil, nil, &ColumnError{Column: name, Err: fmt.Errorf("it has type %v", column.Type())}
	}
	meta, err := r.in.MetaData().RowGroup(group).ColumnChunk(i)
	if err != nil {
		return nil, nil, nil, &ColumnError{Column: name, Err: err}
	}
	n := meta.NumValues()
	values, defined, repeated = make([]T, n), make([]int16, n), make([]int16, n)
	read, levels := 0, int64(0)
	for levels < n {
		total, count, err := typed.ReadBatch(n-levels, values[read:], defined[levels:], repeated[levels:])
		if err != nil {
			return nil, nil, nil, &ColumnError{Column: name, Err: err}
		}
		if total == 0 {
			return nil, nil, nil, &ColumnError{Column: name, Err: io.ErrUnexpectedEOF}
		}
		levels += total
		read += count
	}
	values = own(values[:read])
	if column.Descriptor().MaxDefinitionLevel() == 0 {
		defined = defined[:read]
	}
	return values, defined, repeated, nil
}

// own copies values that point into the reader's pages.
func own[T any](values []T) []T {
	if texts, ok := any(values).([]parquet.ByteArray); ok {
		for i, t := range texts {
			texts[i] = append(parquet.ByteArray(nil), t...)
		}
	}
	return values
}

var errMissing = fmt.Errorf("the file does not have it")

// ReadLevels reads a column of Levels, one list a row.
func ReadLevels(r *Reader, group int, name string) ([][]orderbook.Level, error) {
	prices, defined, repeated, err := readColumn[int64](r, group, name+listPath+"price_e8")
	if err != nil {
		return nil, err
	}
	quantities, _, _, err := readColumn[int64](r, group, name+listPath+"qty_e8")
	if err != nil {
		return nil, err
	}
	if len(prices) != len(quantities) {
		return nil, &ColumnError{Column: name, Err: fmt.Errorf("it has %d prices and %d quantities", len(prices), len(quantities))}
	}
	var lists [][]orderbook.Level
	all := make([]orderbook.Level, len(prices))
	next, begin := 0, 0
	for i, d := range defined {
		if repeated[i] == 0 {
			begin = next
			lists = append(lists, nil)
		}
		if d == 0 {
			continue
		}
		all[next] = orderbook.Level{Price: orderbook.Fixed(prices[next]), Quantity: orderbook.Fixed(quantities[next])}
		next++
		lists[len(lists)-1] = all[begin:next:next]
	}
	return lists, nil
}
