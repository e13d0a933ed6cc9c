package hftbacktest

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/marketprism/marketprism/sink/dayfile"
)

const rowSize = 64

// nan is the NaN of numpy: Go's has another payload.
const nan = 0x7FF8000000000000

// npyHeader returns the header of an array of rows: version 1.0 of the format, as hftbacktest's reader demands
// (src/backtest/data/npy of nkaz001/hftbacktest), and 256 bytes long, as numpy writes it.
func npyHeader(rows int64) []byte {
	text := fmt.Sprintf("{'descr': [('ev', '<u8'), ('exch_ts', '<i8'), ('local_ts', '<i8'), ('px', '<f8'), ('qty', '<f8'), "+
		"('order_id', '<u8'), ('ival', '<i8'), ('fval', '<f8')], 'fortran_order': False, 'shape': (%d,), }", rows)
	const size = 256
	header := "\x93NUMPY\x01\x00\xf6\x00" + text
	return []byte(header + strings.Repeat(" ", size-1-len(header)) + "\n")
}

// writeNpz writes an array of n rows as the entry data.npy of a zip file, the form of numpy.savez_compressed.
func writeNpz(day *dayfile.Day, name string, n int64, rows iter.Seq2[row, error]) error {
	file, err := day.Create(name)
	if err != nil {
		return err
	}
	z := zip.NewWriter(file)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, 6) })
	w, err := z.Create("data.npy")
	if err != nil {
		return err
	}
	if _, err := w.Write(npyHeader(n)); err != nil {
		return err
	}
	buf := make([]byte, 0, 1024*rowSize)
	for r, err := range rows {
		if err != nil {
			return err
		}
		buf = appendRow(buf, &r)
		file.Rows++
		if len(buf) == cap(buf) {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	if file.Rows != n {
		return fmt.Errorf("hftbacktest: %d rows after %d were announced", file.Rows, n)
	}
	if _, err := w.Write(buf); err != nil {
		return err
	}
	return z.Close()
}

// appendRow appends the row's 64 bytes: ev, exch_ts, local_ts, px, qty, and order_id, ival and fval, which are zero.
func appendRow(b []byte, r *row) []byte {
	price, quantity := math.Float64bits(float(r.price)), math.Float64bits(float(r.quantity))
	if r.isClear() {
		price = nan
	}
	for _, n := range [...]uint64{r.event, uint64(r.exchange), uint64(r.local), price, quantity, 0, 0, 0} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}
