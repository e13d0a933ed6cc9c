package dayfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A carry is what the next day needs of an instrument.
type carry struct {
	bookState
	Trades, Aggregates tradeIDs
	TickerID           int64
	TickerLocal        int64 // the local clock of that ticker; 0 if there was none
}

// A bookState is the state of a book.
type bookState struct {
	Seq        int64 // of the instrument's last record
	Span       int64
	InSpan     bool
	Fresh      bool  // no update was applied since the snapshot
	Local      int64 // the clocks of its last record
	Exchange   int64
	Book       *orderbook.Snapshot // nil outside a span
	Identities []uint64            // of the last records of the day, which may come again
}

const carryPrefix = "carry-"

// lastCarried returns the last day at whose end books were kept; -1 if there is none.
func lastCarried(dir string) (int32, error) {
	names, err := filepath.Glob(filepath.Join(dir, carryPrefix+"*"))
	if err != nil {
		return -1, err
	}
	last := int32(-1)
	for _, name := range names {
		t, err := time.Parse(time.DateOnly, strings.TrimPrefix(filepath.Base(name), carryPrefix))
		if err == nil {
			last = max(last, dayOf(t.UnixNano()))
		}
	}
	return last, nil
}

// storeCarried keeps the states at the end of a day, and removes those of days before.
func storeCarried(dir string, day int32, states map[marketprism.Instrument]carry) error {
	var b []byte
	for in, s := range states {
		b = s.append(b, in)
	}
	name := carryPrefix + dateOf(day)
	f := frame{firstDay: day, lastDay: day, payload: b}
	err := writeWhole(filepath.Join(dir, name), func(w io.Writer) error {
		_, err := w.Write(append(appendFrameHeader(nil, &f), b...))
		return err
	})
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, carryPrefix+"*"))
	for _, path := range old {
		if filepath.Base(path) < name {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

// append appends the stored form of s.
func (s *carry) append(b []byte, in marketprism.Instrument) []byte {
	b = appendInstrument(b, in)
	flags := int64(0)
	if s.InSpan {
		flags |= 1
	}
	if s.Fresh {
		flags |= 2
	}
	for _, n := range [...]int64{s.Seq, s.Span, flags, s.Local, s.Exchange, s.TickerID, s.TickerLocal} {
		b = binary.AppendVarint(b, n)
	}
	for _, t := range [...]*tradeIDs{&s.Trades, &s.Aggregates} {
		latest := int64(0)
		if !t.latest.IsZero() {
			latest = t.latest.UnixNano()
		}
		b = binary.AppendVarint(b, latest)
		b = binary.AppendUvarint(b, uint64(len(t.ids.ranges)))
		for _, r := range t.ids.ranges {
			b = binary.AppendVarint(b, r.first)
			b = binary.AppendVarint(b, r.last-r.first)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Identities)))
	for _, id := range s.Identities {
		b = binary.LittleEndian.AppendUint64(b, id)
	}
	e := entry{record: marketprism.Record{Snapshot: s.Book}, local: s.Local}
	if s.Book == nil {
		e.record = marketprism.Record{Gap: &orderbook.Gap{Reason: orderbook.GapDisconnect}}
	}
	return appendEntry(b, &e)
}

// loadCarried returns the states at the end of the last day that is not after day; none if they were not kept.
func loadCarried(dir string, day int32) (map[marketprism.Instrument]carry, error) {
	states := make(map[marketprism.Instrument]carry)
	last, err := lastCarried(dir)
	if err != nil || last < 0 || last > day {
		return states, err
	}
	path := filepath.Join(dir, carryPrefix+dateOf(last))
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	r, err := openFrames(path, info.Size())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := r.next(func(int32, int32) bool { return true })
	if err != nil {
		return nil, &DamageError{Path: path, Err: err}
	}
	d := decoder{data: bytes.Clone(f.payload)}
	for len(d.data) > 0 {
		in, s, err := readCarry(&d)
		if err != nil {
			return nil, &DamageError{Path: path, Err: err}
		}
		states[in] = s
	}
	return states, nil
}

// readCarry reads one state.
func readCarry(d *decoder) (marketprism.Instrument, carry, error) {
	in := d.instrument()
	var s carry
	s.Seq, s.Span = d.varint(), d.varint()
	flags := d.varint()
	s.InSpan, s.Fresh = flags&1 != 0, flags&2 != 0
	s.Local, s.Exchange, s.TickerID, s.TickerLocal = d.varint(), d.varint(), d.varint(), d.varint()
	for _, t := range [...]*tradeIDs{&s.Trades, &s.Aggregates} {
		if latest := d.varint(); latest != 0 {
			t.latest = time.Unix(0, latest).UTC()
		}
		for n := d.uvarint(); n > 0 && !d.bad; n-- {
			first := d.varint()
			t.ids.ranges = append(t.ids.ranges, idRange{first, first + d.varint()})
		}
	}
	n := d.uvarint()
	if n > uint64(len(d.data)/8) {
		return in, s, errEntry
	}
	for range n {
		s.Identities = append(s.Identities, binary.LittleEndian.Uint64(d.data))
		d.data = d.data[8:]
	}
	var e entry
	if err := d.entry(&e, in); err != nil {
		return in, s, err
	}
	if e.record.Snapshot != nil {
		s.Book = e.record.Snapshot.Clone()
	}
	return in, s, nil
}
