package chstore

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/marketprism/marketprism"
)

// errPanic is a panic in what reads the answer of a server.
var errPanic = errors.New("panic")

// readRows reads an answer of rows of a table, column after column, as the client of the protocol does, and makes a record
// of each row. With plain the server sends texts as String, not as LowCardinality.
func readRows(t table, plain bool, rows int, answer []byte) (recs []marketprism.Record, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", errPanic, v)
		}
	}()
	var base baseColumns
	columns := newRow(t)
	r := proto.NewReader(bytes.NewReader(answer))
	for _, s := range append(base.selected(), columns.selected()...) {
		if text, ok := s.column.(*textColumn); ok {
			kind := proto.ColumnType("LowCardinality(String)")
			if plain {
				kind = proto.ColumnTypeString
			}
			if err := text.Infer(kind); err != nil {
				return nil, err
			}
			if err := text.DecodeState(r); err != nil {
				return nil, err
			}
		}
		if err := s.column.DecodeColumn(r, rows); err != nil {
			return nil, err
		}
		if n := s.column.Rows(); n != rows {
			return nil, fmt.Errorf("%d rows of %d", n, rows)
		}
	}
	var memory payloads
	for i := range rows {
		var rec marketprism.Record
		base.record(i, &rec)
		if _, err := columns.payload(i, &rec, &memory); err != nil {
			return recs, err
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// answerOf returns an answer of two rows. offset is where the first row's levels end, and key the place of the first text.
func answerOf(t table, plain bool, offset uint64, key uint8) []byte {
	var b proto.Buffer
	var base baseColumns
	for _, s := range append(base.selected(), newRow(t).selected()...) {
		switch s.column.(type) {
		case *proto.ColInt64, *proto.ColUInt64:
			b.Buf = append(b.Buf, make([]byte, 16)...)
		case *proto.ColBool:
			b.Buf = append(b.Buf, 1, 0)
		case *levelColumn:
			b.PutUInt64(offset)
			b.PutUInt64(3)
			b.Buf = append(b.Buf, make([]byte, 24)...)
		case *textColumn:
			if !plain {
				b.PutInt64(int64(proto.KeyUInt8)) // of the state: version 1 of the serialization
				b.Buf = append(b.Buf[:len(b.Buf)-8], 1, 0, 0, 0, 0, 0, 0, 0)
				b.PutInt64(0x200 | int64(proto.KeyUInt8))
				b.PutInt64(2)
			}
			b.PutString("sequence")
			b.PutString("overflow")
			if !plain {
				b.PutInt64(2)
				b.Buf = append(b.Buf, key, 1)
			}
		}
	}
	return b.Buf
}

// What a server answers becomes records or an error, whatever it is.
func TestHostileRows(t *testing.T) {
	for table := range tableCount {
		for _, plain := range []bool{false, true} {
			recs, err := readRows(table, plain, 2, answerOf(table, plain, 1, 0))
			if err != nil || len(recs) != 2 {
				t.Errorf("%s: %d records, %v", table.name(), len(recs), err)
			}
		}
		for name, answer := range map[string][]byte{
			"a text that is not there": answerOf(table, false, 1, 200),
			"levels that end early":    answerOf(table, false, 1<<40, 0),
		} {
			recs, err := readRows(table, false, 2, answer)
			if errors.Is(err, errPanic) {
				t.Errorf("%s: %s: %v", table.name(), name, err)
			}
			if err == nil && len(recs) != 2 {
				t.Errorf("%s: %s: %d records", table.name(), name, len(recs))
			}
		}
	}
}

func FuzzRows(f *testing.F) {
	for table := range tableCount {
		f.Add(uint8(table), false, uint64(1), uint8(0), []byte(nil))
		f.Add(uint8(table), true, uint64(1<<40), uint8(200), []byte{1})
	}
	f.Fuzz(func(t *testing.T, kind uint8, plain bool, offset uint64, key uint8, change []byte) {
		table := table(kind % uint8(tableCount))
		answer := answerOf(table, plain, offset, key)
		for i, b := range change[:min(len(change), 32)] { // the times and the texts, not the numbers of rows, which take memory
			answer[i] ^= b
		}
		recs, err := readRows(table, plain, 2, answer)
		if errors.Is(err, errPanic) {
			t.Fatal(err)
		}
		for i := range recs {
			_ = recs[i].Validate()
			_ = recs[i].Key()
		}
	})
}
