package dayfile

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A conversion makes the files of one day.
type conversion struct {
	day      int32
	segments []segment
	dir      string
	logDir   string
	format   Format
	hooks    *Hooks
}

// run makes the files. If the day is over it also keeps the books at its end, for the next day.
func (c *conversion) run(ctx context.Context, isOver bool) error {
	temp, err := os.MkdirTemp(c.logDir, "split-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	carried, err := loadCarried(c.logDir, c.day-1)
	if err != nil {
		return err
	}
	streams, damage, err := c.split(temp, carried)
	if err != nil {
		return err
	}
	for _, in := range c.instruments(streams, carried) {
		if err := ctx.Err(); err != nil {
			return err
		}
		begun := time.Now()
		state := carried[in]
		day := &Day{Instrument: in, Date: time.Unix(int64(c.day)*24*60*60, 0).UTC(), root: c.dir, streams: streams, begin: state}
		if day.isQuiet() {
			continue // nothing happened: the state stays
		}
		if err := c.format.Convert(ctx, day); err != nil {
			return errors.Join(fmt.Errorf("%v: %w", in, err), day.discard())
		}
		m, err := day.commit(c.format.Name(), damage)
		if err != nil {
			return fmt.Errorf("%v: %w", in, errors.Join(err, day.discard()))
		}
		carried[in] = day.end
		hook.Call(c.hooks.Written, WrittenInfo{Manifest: m, Elapsed: time.Since(begun)})
	}
	if !isOver {
		return nil
	}
	return storeCarried(c.logDir, c.day, carried)
}

// instruments returns those of the day in order of their names.
func (c *conversion) instruments(streams map[stream]*spool, carried map[marketprism.Instrument]carry) []marketprism.Instrument {
	seen := make(map[marketprism.Instrument]bool)
	for s := range streams {
		seen[s.instrument] = true
	}
	for in := range carried {
		seen[in] = true
	}
	all := make([]marketprism.Instrument, 0, len(seen))
	for in := range seen {
		all = append(all, in)
	}
	slices.SortFunc(all, func(a, b marketprism.Instrument) int { return cmp.Compare(a.String(), b.String()) })
	return all
}

// split writes the records of the day to one temporary file a stream, and counts the places where the log is damaged.
func (c *conversion) split(dir string, carried map[marketprism.Instrument]carry) (map[stream]*spool, int, error) {
	streams := make(map[stream]*spool)
	seqs := make(map[marketprism.Instrument]int64)
	for in, state := range carried {
		seqs[in] = state.Seq
	}
	damage := 0
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, 0, err
	}
	defer zip.Close()
	open := func(s stream) *spool {
		sp := streams[s]
		if sp == nil {
			sp = &spool{path: filepath.Join(dir, strconv.Itoa(len(streams))), instrument: s.instrument}
			streams[s] = sp
		}
		return sp
	}
	add := func(e *entry) error {
		in := e.record.Instrument
		seqs[in]++
		e.seq = seqs[in]
		return open(stream{in, classOf(e.record.Kind())}).add(e, zip)
	}
	err = read(c.segments, c.day, add, func(d *DamageError) {
		damage++
		hook.Call(c.hooks.Damaged, DamagedInfo{Err: d})
		for in := range carried {
			open(stream{in, books})
		}
		for s, sp := range streams {
			if s.class == books {
				sp.breakSpan(c.day)
			}
		}
	})
	if err != nil {
		return nil, 0, err
	}
	for _, sp := range streams {
		if err := sp.flush(zip); err != nil {
			return nil, 0, err
		}
	}
	return streams, damage, nil
}

// A spool is the temporary file of one stream: frames like those of the log, without days.
type spool struct {
	path       string
	instrument marketprism.Instrument
	buf        []byte // entries that are not written
	packed     []byte
	size       int64
	last       int64 // the local clock of the last entry
	entries    int
}

const spoolBuffer = 16 << 10

func (s *spool) add(e *entry, zip *zstd.Encoder) error {
	e.local = max(e.local, s.last) // after a restart, which does not know the clocks of all streams
	s.last = e.local
	s.entries++
	s.buf = appendEntry(s.buf, e)
	if len(s.buf) < spoolBuffer {
		return nil
	}
	return s.flush(zip)
}

// breakSpan adds a Gap: records of the book may be missing from here on.
func (s *spool) breakSpan(day int32) {
	s.last = max(s.last, int64(day)*nanosPerDay)
	gap := entry{local: s.last, record: marketprism.Record{
		ReceivedAt: time.Unix(0, s.last), Gap: &orderbook.Gap{Reason: orderbook.GapInvalid, Err: orderbook.Cause("the log of the file sink is damaged")},
	}}
	s.entries++
	s.buf = appendEntry(s.buf, &gap)
}

// flush writes the buffer. The file is open only meanwhile, so that the number of streams has no bound.
func (s *spool) flush(zip *zstd.Encoder) error {
	if len(s.buf) == 0 {
		return nil
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.packed = zip.EncodeAll(s.buf, s.packed[:0])
	fr := frame{payload: s.packed}
	_, err = f.Write(append(appendFrameHeader(make([]byte, 0, frameHeader+len(s.packed)), &fr), s.packed...))
	s.size += frameHeader + int64(len(s.packed))
	s.buf = s.buf[:0]
	return errors.Join(err, f.Close())
}

// each calls yield with every entry. It is valid until yield returns.
func (s *spool) each(yield func(e *entry) error) error {
	if s == nil || s.size == 0 {
		return nil
	}
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer unzip.Close()
	r, err := openFrames(s.path, s.size)
	if err != nil {
		return err
	}
	defer r.Close()
	var d decoder
	var e entry
	var plain []byte
	for {
		f, err := r.next(func(int32, int32) bool { return true })
		if err == io.EOF {
			return nil
		}
		if err == nil {
			plain, err = unzip.DecodeAll(f.payload, plain[:0])
		}
		if err != nil {
			return &DamageError{Path: s.path, Offset: f.offset, Err: err}
		}
		d.data, d.bad = plain, false
		for len(d.data) > 0 {
			if err := d.entry(&e, s.instrument); err != nil {
				return err
			}
			if err := yield(&e); err != nil {
				return err
			}
		}
	}
}

// A carry is the state of an instrument at the end of a day.
type carry struct {
	Seq      int64 // of its last record
	Span     int64
	InSpan   bool
	Fresh    bool  // no update was applied since the snapshot
	Local    int64 // the clocks of its last record of the book
	Exchange int64
	Book     *orderbook.Snapshot // nil outside a span
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
		for _, text := range [...]string{in.Exchange, string(in.Market), in.Symbol} {
			b = binary.AppendUvarint(b, uint64(len(text)))
			b = append(b, text...)
		}
		flags := int64(0)
		if s.InSpan {
			flags |= 1
		}
		if s.Fresh {
			flags |= 2
		}
		for _, n := range [...]int64{s.Seq, s.Span, flags, s.Local, s.Exchange} {
			b = binary.AppendVarint(b, n)
		}
		e := entry{record: marketprism.Record{Snapshot: s.Book}, local: s.Local}
		if s.Book == nil {
			e.record = marketprism.Record{Gap: &orderbook.Gap{Reason: orderbook.GapDisconnect}}
		}
		b = appendEntry(b, &e)
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

// loadCarried returns the states at the end of a day; none if they were not kept.
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
		in := marketprism.Instrument{Exchange: d.text(), Market: marketprism.Market(d.text()), Symbol: d.text()}
		s := carry{Seq: d.varint(), Span: d.varint()}
		flags := d.varint()
		s.InSpan, s.Fresh = flags&1 != 0, flags&2 != 0
		s.Local, s.Exchange = d.varint(), d.varint()
		var e entry
		if err := d.entry(&e, in); err != nil {
			return nil, &DamageError{Path: path, Err: err}
		}
		if e.record.Snapshot != nil {
			s.Book = e.record.Snapshot.Clone()
		}
		states[in] = s
	}
	return states, nil
}
