package chstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/marketprism/marketprism"
)

// readBlockRows bounds the rows of one block of an answer, and with it the memory of a reader: a rowStream
// holds two blocks.
const readBlockRows = 4096

// A rowStream is the answer to a SELECT of one instrument's rows of a table. It reads block by block: while the caller
// uses the rows of one, the next is decoded. Its connection is its own until all is read or close is called.
type rowStream struct {
	table      table
	instrument marketprism.Instrument
	memory     payloads // of records that the caller keeps

	filled chan *rowBlock // closed at the end
	free   chan *rowBlock
	next   *rowBlock // the one to decode into
	err    error     // that ended the answer; set before filled is closed
	cancel context.CancelFunc
	begun  chan struct{} // closed when the query has its connection, or has failed

	block *rowBlock // of the current row; nil before the first and after the last
	row   int
}

// A rowBlock is the columns of a block of an answer.
type rowBlock struct {
	base    baseColumns
	row     row
	results proto.Results
	rows    int
}

func newRowBlock(t table) *rowBlock {
	b := &rowBlock{row: newRow(t)}
	for _, s := range append(b.base.selected(), b.row.selected()...) {
		b.results = append(b.results, proto.ResultColumn{Data: s.column})
	}
	return b
}

// stream starts a SELECT of an instrument's rows. The tail follows the condition: ORDER BY, LIMIT. The caller must close
// the stream.
func (d *db) stream(ctx context.Context, t table, i marketprism.Instrument, sc scope, tail string) *rowStream {
	return d.streamOf(ctx, nil, t, i, allColumns, sc, tail)
}

// What a SELECT reads. Each column costs about half a millisecond, and levels are most of what a row costs.
type columnChoice uint8

const (
	allColumns  columnChoice = iota
	bookColumns              // all but where a row came from; the record has zeros for the rest
	headColumns              // times and ids
)

// includes reports whether an expression is among the columns.
func (c columnChoice) includes(expression string) bool {
	switch expression {
	case "toUnixTimestamp64Nano(ts)", "timed", "toUnixTimestamp64Nano(received_at)", "first_id", "last_id", "prev_id":
		return true
	case "src", "seq":
		return c == allColumns
	}
	return c != headColumns
}

// zeroOf returns an expression for the zero value of a column.
func zeroOf(column proto.ColResult) string {
	switch column.(type) {
	case *levelColumn:
		return "emptyArrayInt64()"
	case *proto.ColInt64:
		return "toInt64(0)"
	case *proto.ColUInt64:
		return "toUInt64(0)"
	case *proto.ColBool:
		return "false"
	}
	return "''"
}

// streamOf is stream of some columns. It waits for before, unless that is nil.
func (d *db) streamOf(ctx context.Context, before <-chan struct{}, t table, i marketprism.Instrument, choice columnChoice, sc scope, tail string) *rowStream {
	ctx, cancel := context.WithCancel(ctx)
	s := &rowStream{
		table: t, instrument: i, cancel: cancel, next: newRowBlock(t),
		filled: make(chan *rowBlock), free: make(chan *rowBlock, 2), begun: make(chan struct{}),
	}
	s.free <- newRowBlock(t)
	var expressions []string
	for n, selected := range append(s.next.base.selected(), s.next.row.selected()...) {
		if !choice.includes(selected.expression) {
			selected.expression = zeroOf(selected.column) + " AS none_" + strconv.Itoa(n)
		}
		expressions = append(expressions, selected.expression)
	}
	q := ch.Query{
		Body:       "SELECT " + strings.Join(expressions, ", ") + " FROM " + d.tableName(t.name()) + " WHERE " + sc.where + " " + tail,
		Parameters: chParameters(sc.args),
		Result:     s,
		OnResult:   s.hand,
	}
	go func() {
		defer close(s.filled)
		begin := sync.OnceFunc(func() { close(s.begun) })
		defer begin()
		if before != nil {
			<-before
		}
		if err := d.conn.readColumns(ctx, readBlockRows, q, begin); err != nil {
			s.err = t.readError(ctx, err)
		}
	}()
	return s
}

// DecodeResult is called by ch-go for each block of the answer.
func (s *rowStream) DecodeResult(r *proto.Reader, version int, b proto.Block) error {
	return s.next.results.DecodeResult(r, version, b)
}

// hand hands the block that was decoded over to the caller, and waits for another one to decode into.
func (s *rowStream) hand(ctx context.Context, b proto.Block) error {
	if b.Rows == 0 {
		return nil // the names of the columns
	}
	s.next.rows = b.Rows
	select {
	case s.filled <- s.next:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case s.next = <-s.free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// advance moves to the next row, and reports whether there is one. After the last one, err says whether that was all.
func (s *rowStream) advance() bool {
	if s.block != nil {
		if s.row++; s.row < s.block.rows {
			return true
		}
		s.free <- s.block
	}
	s.block, s.row = <-s.filled, 0
	return s.block != nil
}

// ts and received return the times of the current row, in nanoseconds since 1970.
func (s *rowStream) ts() int64       { return s.block.base.ts[s.row] }
func (s *rowStream) received() int64 { return s.block.base.received[s.row] }

// record sets rec to the current row, with a payload in memory.
func (s *rowStream) record(rec *marketprism.Record, memory *payloads) (rank, error) {
	s.block.base.record(s.row, rec)
	rec.Instrument = s.instrument
	rank, err := s.block.row.payload(s.row, rec, memory)
	if err != nil {
		err = fmt.Errorf("chstore: read %s: %w", s.table.name(), err)
	}
	return rank, err
}

// each calls f with the records until it returns false. A record is valid until f returns; duplicates come, too.
func (s *rowStream) each(f func(rec *marketprism.Record, at time.Time) bool) error {
	var rec marketprism.Record
	for s.advance() {
		s.memory.reset()
		if _, err := s.record(&rec, &s.memory); err != nil {
			return err
		}
		if !f(&rec, rec.Time()) {
			return nil
		}
	}
	return s.err
}

// close ends the query, if it is running, and returns when its connection is no longer used.
func (s *rowStream) close() {
	s.cancel()
	for range s.filled { // until it is closed
	}
}

// An answer is a short answer that is read at once, so that its query keeps no connection for which others wait.
type answer struct {
	recs []marketprism.Record
	err  error
	done chan struct{}
}

// collect reads all records of a stream in the background, and closes it.
func (s *rowStream) collect() *answer {
	a := &answer{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer s.close()
		for a.err == nil && s.advance() {
			var rec marketprism.Record
			_, a.err = s.record(&rec, &s.memory)
			a.recs = append(a.recs, rec)
		}
		if a.err == nil {
			a.err = s.err
		}
	}()
	return a
}

// wait returns the records.
func (a *answer) wait() ([]marketprism.Record, error) {
	<-a.done
	return a.recs, a.err
}

// one returns the first record, and whether there is one.
func (a *answer) one() (rec marketprism.Record, ok bool, err error) {
	recs, err := a.wait()
	if ok = err == nil && len(recs) > 0; ok {
		rec = recs[0]
	}
	return rec, ok, err
}

// heads asks for the times and ids of updates or snapshots.
func (d *db) heads(ctx context.Context, t table, i marketprism.Instrument, sc scope, tail string) *answer {
	return d.streamOf(ctx, nil, t, i, headColumns, sc, tail).collect()
}
