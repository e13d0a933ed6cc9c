package dayfile

import (
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
	"github.com/marketprism/marketprism/internal/wal"
)

const logSuffix = ".log"

// A segment is one file of the log.
type segment struct {
	path              string
	size              int64 // of the frames that are accepted
	firstDay, lastDay int32 // of its records
}

// A recordLog is the log on disk. It is not safe for concurrent use.
type recordLog struct {
	dir      string
	maxBytes int64 // of one segment
	sync     bool

	segments []segment // oldest first; the last one is written, if file is open
	file     *os.File
	number   uint64 // of the last segment
	bytes    int64  // of all segments
	torn     int64  // bytes that were cut off when the log was opened
	zip      *zstd.Encoder
	payload  []byte
	packed   []byte
	index    map[marketprism.Instrument]uint64 // of the Write
	broken   error                             // the last segment has bytes of a failed Write that could not be cut off
}

// openLog opens the log in a folder, and cuts off an interrupted Write at its end.
func openLog(dir string, segmentBytes int64, sync bool) (*recordLog, error) {
	zip, err := newPacker()
	if err != nil {
		return nil, err
	}
	l := &recordLog{dir: dir, maxBytes: segmentBytes, sync: sync, zip: zip, index: make(map[marketprism.Instrument]uint64)}
	names, err := filepath.Glob(filepath.Join(dir, "*"+logSuffix))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for i, path := range names {
		number, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), logSuffix), 10, 64)
		if err != nil {
			continue // another program's
		}
		l.number = number
		s, torn, err := scanSegment(path, i == len(names)-1)
		if err != nil {
			return nil, err
		}
		l.torn += torn
		if s.size == 0 {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
		}
		l.bytes += s.size
		l.segments = append(l.segments, s)
	}
	return l, nil
}

// scanSegment reads the headers of a segment, and every byte of the last one, whose end an interrupted Write may have torn.
func scanSegment(path string, last bool) (s segment, torn int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return s, 0, err
	}
	r, err := openFrames(path, info.Size())
	if err != nil {
		return s, 0, err
	}
	defer r.Close()
	s.path = path
	covers := func(firstDay, lastDay int32) bool {
		if s.size == 0 {
			s.firstDay, s.lastDay = firstDay, lastDay
		}
		s.size = r.offset // the end of the frame, whose header was read
		s.firstDay, s.lastDay = min(s.firstDay, firstDay), max(s.lastDay, lastDay)
		return last
	}
	sound := int64(0) // the end of the last sound frame
	for {
		_, err := r.next(covers)
		switch {
		case err == nil:
			sound = r.offset
		case errors.Is(err, errDamaged):
		case err == io.EOF, errors.Is(err, errTorn), err == io.ErrUnexpectedEOF:
			if !last || sound == info.Size() {
				return s, 0, nil
			}
			s.size = sound
			return s, info.Size() - sound, os.Truncate(path, sound)
		default:
			return s, 0, err
		}
	}
}

// append stores the entries as one frame. After an error none of them is stored.
func (l *recordLog) append(entries []entry) error {
	if l.broken != nil {
		return l.broken
	}
	f := l.frame(entries)
	if err := l.roll(int64(len(f.payload))); err != nil {
		return err
	}
	s := &l.segments[len(l.segments)-1]
	err := l.write(s, &f)
	if err == nil {
		s.size += frameHeader + int64(len(f.payload))
		l.bytes += frameHeader + int64(len(f.payload))
		s.firstDay, s.lastDay = min(s.firstDay, f.firstDay), max(s.lastDay, f.lastDay)
		return nil
	}
	if cut := l.file.Truncate(s.size); cut != nil {
		l.broken = fmt.Errorf("dayfile: a failed Write could not be cut off from %s: %w", s.path, errors.Join(err, cut))
	}
	return err
}

func (l *recordLog) write(s *segment, f *frame) error {
	header := appendFrameHeader(make([]byte, 0, frameHeader), f)
	if _, err := l.file.WriteAt(header, s.size); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(f.payload, s.size+frameHeader); err != nil {
		return err
	}
	if !l.sync {
		return nil
	}
	return l.file.Sync()
}

// frame encodes entries.
func (l *recordLog) frame(entries []entry) frame {
	clear(l.index)
	names := make([]marketprism.Instrument, 0, 8)
	for i := range entries {
		in := entries[i].record.Instrument
		if _, ok := l.index[in]; !ok {
			l.index[in] = uint64(len(names))
			names = append(names, in)
		}
	}
	b := binary.AppendUvarint(l.payload[:0], uint64(len(names)))
	for _, in := range names {
		b = appendInstrument(b, in)
	}
	f := frame{firstDay: dayOf(entries[0].local), lastDay: dayOf(entries[0].local)}
	for i := range entries {
		e := &entries[i]
		day := dayOf(e.local)
		f.firstDay, f.lastDay = min(f.firstDay, day), max(f.lastDay, day)
		b = binary.AppendUvarint(b, l.index[e.record.Instrument])
		b = appendEntry(b, e)
	}
	l.payload = b
	l.packed = l.zip.EncodeAll(b, l.packed[:0])
	f.payload = l.packed
	return f
}

// roll opens the segment for a frame with a payload of n bytes.
func (l *recordLog) roll(n int64) error {
	if l.file != nil && l.segments[len(l.segments)-1].size+n <= l.maxBytes {
		return nil
	}
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			return err
		}
		l.file = nil
	}
	path := filepath.Join(l.dir, fmt.Sprintf("%016d%s", l.number+1, logSuffix))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := wal.SyncDir(l.dir); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	l.number++
	l.file = f
	l.segments = append(l.segments, segment{path: path, firstDay: 1<<31 - 1, lastDay: -1 << 31})
	return nil
}

// remove deletes the segments with no record after day.
func (l *recordLog) remove(day int32) error {
	var errs []error
	l.segments = slices.DeleteFunc(l.segments, func(s segment) bool {
		if s.lastDay > day {
			return false
		}
		if l.file != nil && l.file.Name() == s.path {
			errs = append(errs, l.file.Close())
			l.file = nil
		}
		errs = append(errs, os.Remove(s.path))
		l.bytes -= s.size
		return true
	})
	return errors.Join(errs...)
}

func (l *recordLog) close() error {
	l.zip.Close()
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	return err
}

// read calls yield with each entry of a day, in the order in which they were written. The entry is valid until yield
// returns. damaged is called for each frame that cannot be read.
func read(segments []segment, day int32, yield func(e *entry) error, damaged func(*DamageError)) error {
	var d decoder
	wants := func(firstDay, lastDay int32) bool { return firstDay <= day && day <= lastDay }
	for _, s := range segments {
		r, err := openFrames(s.path, s.size)
		if err != nil {
			return err
		}
		for {
			f, err := r.next(wants)
			if err == io.EOF {
				break
			}
			if err == nil {
				d.bad = false
				d.data, err = r.unpack(&f)
			}
			if err == nil {
				err = readFrame(&d, day, yield)
			}
			switch {
			case err == nil:
			case errors.Is(err, errTorn), errors.Is(err, errDamaged), errors.Is(err, errEntry):
				damaged(&DamageError{Path: s.path, Offset: f.offset, Err: err})
			default:
				return errors.Join(err, r.Close())
			}
			if errors.Is(err, errTorn) {
				break // the length is not to be trusted: nothing behind it is found
			}
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}

// readFrame decodes the entries of a frame's payload, and calls yield with those of a day.
func readFrame(d *decoder, day int32, yield func(e *entry) error) error {
	names := make([]marketprism.Instrument, 0, 8)
	for range d.uvarint() {
		if d.bad {
			break
		}
		names = append(names, d.instrument())
	}
	var e entry
	for len(d.data) > 0 && !d.bad {
		i := d.uvarint()
		if i >= uint64(len(names)) {
			d.bad = true
			break
		}
		if err := d.entry(&e, names[i]); err != nil {
			return err
		}
		if dayOf(e.local) != day {
			continue
		}
		if err := yield(&e); err != nil {
			return err
		}
	}
	if d.bad {
		return fmt.Errorf("dayfile: %w", errEntry)
	}
	return nil
}

const nanosPerDay = 24 * 60 * 60 * 1_000_000_000

// dayOf returns the UTC day of a time in ns, counted from 1970-01-01.
func dayOf(ns int64) int32 { return int32(ns / nanosPerDay) }

// startOf returns the first moment of a day.
func startOf(day int32) time.Time { return time.Unix(0, int64(day)*nanosPerDay).UTC() }

// dateOf returns a day as its date.
func dateOf(day int32) string { return startOf(day).Format(time.DateOnly) }
