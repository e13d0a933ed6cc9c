// Package columnar writes and reads Parquet files column by column, with the types that the file sinks need and no other.
//
// It needs arrow-go's Parquet layer alone: its Arrow layer links gRPC.
package columnar

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

// A Column is one column of a table, with the values of the rows that are not written yet: a *Value or a *Levels.
type Column interface {
	node() (schema.Node, error)
	encode(properties []parquet.WriterProperty) []parquet.WriterProperty
	flush(next func() (file.ColumnChunkWriter, error)) error
	rows() int
	size() int // of the values, in bytes
}

// A Table is one Parquet file. Rows are appended to its columns, one value a column and row.
type Table struct {
	columns  []Column
	out      *file.Writer
	maxRows  int
	maxBytes int
	Rows     int64 // that were written or are buffered
}

// Bounds of a row group.
const (
	MaxRows  = 524_288  // DuckDB reads groups in parallel, and wants 122,880 rows or more in each (duckdb.org, performance guide, Parquet tips)
	MaxBytes = 64 << 20 // of values before encoding
)

// NewTable begins a file. maxRows bounds a row group; 0 means MaxRows.
func NewTable(w io.Writer, maxRows int, columns ...Column) (*Table, error) {
	fields := make(schema.FieldList, 0, len(columns))
	properties := []parquet.WriterProperty{
		parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(3), parquet.WithDictionaryDefault(false),
		parquet.WithVersion(parquet.V2_6), parquet.WithStats(true), parquet.WithPageIndexEnabled(true),
	}
	for _, c := range columns {
		n, err := c.node()
		if err != nil {
			return nil, err
		}
		fields = append(fields, n)
		properties = c.encode(properties)
	}
	root, err := schema.NewGroupNode("schema", parquet.Repetitions.Required, fields, -1)
	if err != nil {
		return nil, err
	}
	out, err := file.NewParquetWriterWithError(w, root, file.WithWriterProps(parquet.NewWriterProperties(properties...)))
	if err != nil {
		return nil, err
	}
	if maxRows == 0 {
		maxRows = MaxRows
	}
	return &Table{columns: columns, out: out, maxRows: maxRows, maxBytes: MaxBytes}, nil
}

// EndRow ends a row, to which each column has got one value.
func (t *Table) EndRow() error {
	t.Rows++
	if t.columns[0].rows() < t.maxRows && t.Rows%1024 != 0 {
		return nil
	}
	size := 0
	for _, c := range t.columns {
		size += c.size()
	}
	if t.columns[0].rows() < t.maxRows && size < t.maxBytes {
		return nil
	}
	return t.flush()
}

// flush writes the buffered rows as a row group.
func (t *Table) flush() error {
	rows := t.columns[0].rows()
	if rows == 0 {
		return nil
	}
	for _, c := range t.columns {
		if c.rows() != rows {
			return fmt.Errorf("columnar: a column has %d rows, another %d", c.rows(), rows)
		}
	}
	group, err := t.out.AppendRowGroupChecked()
	if err != nil {
		return err
	}
	for _, c := range t.columns {
		if err := c.flush(group.NextColumn); err != nil {
			return err
		}
	}
	return group.Close()
}

// SetMetadata sets a key of the footer.
func (t *Table) SetMetadata(key, value string) error { return t.out.AppendKeyValueMetadata(key, value) }

// Close writes what is buffered and the footer.
func (t *Table) Close() error {
	if err := t.flush(); err != nil {
		return err
	}
	return t.out.Close()
}
