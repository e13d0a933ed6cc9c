package dayfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	lateness time.Duration
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
		day := &Day{Instrument: in, Date: time.Unix(int64(c.day)*24*60*60, 0).UTC(), root: c.dir, lateness: c.lateness, streams: streams, begin: state, end: state}
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
