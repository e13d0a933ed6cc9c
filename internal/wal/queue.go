package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

var (
	// ErrLocked is the error of Open for a folder that is open already, here or in another process.
	ErrLocked = errors.New("wal: folder is in use")
	// ErrClosed is the error of every method after Close.
	ErrClosed = errors.New("wal: queue is closed")
)

// A Config says where a Queue is and how it stores. There are no defaults.
type Config struct {
	Dir string // created if it does not exist

	// SegmentBytes is the size at which a new segment begins.
	SegmentBytes int64

	// SyncAppends makes every Append sync. Otherwise Sync does it, and
	// a full segment is synced before the next begins.
	SyncAppends bool

	// KeepBytes bounds the files with damaged and refused bytes, each counted as whole blocks of 4 KiB. What has no
	// room is not kept.
	KeepBytes int64
}

const (
	filePerm = 0o600
	dirPerm  = 0o700

	// A segment of that size is removed once it is read, even if there is room for more.
	trimBytes = 1 << 20
	// The interval of saves of progress while payloads are read.
	saveEvery = time.Second
)

// A Queue is an open folder. It may be used from any number of goroutines, but only one at a time may call Read or
// ReadAfter, and only one Commit.
type Queue struct {
	cfg  Config
	lock io.Closer

	reader  sync.Mutex // held by Read and Commit, taken before the others
	reading *scanner
	file    *os.File // of reading; nil if it is not open
	savedAt time.Time
	saved   progress // as it was saved last

	appending sync.Mutex // held while writing to segments; taken before mu
	active    *os.File   // the last segment, to which Append writes; nil if a new one is due
	uncut     string     // path of the last segment if bytes after its end could not be cut off
	buf       []byte

	mu       sync.Mutex // guards the fields below; never held while a file is accessed
	segments []segment  // those not removed, oldest first
	last     uint64     // the highest number ever used
	progress progress
	kept     Kept
	unsynced bool
	closed   bool
}

// A segment is a file of frames.
type segment struct {
	number   uint64
	size     int64 // of the accepted frames
	payloads int   // not yet committed
}

// Stats describes the content of the folder.
type Stats struct {
	Payloads int   // appended and not yet committed
	Bytes    int64 // of their frames
	Segments int   // files with any of them
	Kept     Kept
}

// Kept counts what is kept for inspection.
type Kept struct {
	Files  int
	Bytes  int64  // that they occupy
	Unkept uint64 // damaged ranges and refused payloads for which KeepBytes had no room, since Open
}

// Stats returns the present state.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{Kept: q.kept}
	for _, segment := range q.segments {
		if left := q.left(segment); left > 0 {
			s.Segments++
			s.Bytes += left
			s.Payloads += segment.payloads
		}
	}
	return s
}

// Empty reports whether there is nothing to read.
func (q *Queue) Empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.empty()
}

func (q *Queue) empty() bool {
	return !slices.ContainsFunc(q.segments, func(s segment) bool { return q.left(s) > 0 })
}

// A Mark is a position in the queue.
type Mark struct{ position }

// Tail returns the position after all payloads appended so far.
func (q *Queue) Tail() Mark {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.segments); n > 0 {
		return Mark{position{q.segments[n-1].number, q.segments[n-1].size}}
	}
	return Mark{}
}

// Passed reports whether all payloads before m are committed.
func (q *Queue) Passed(m Mark) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.progress.read.before(m.position) || q.empty()
}

// left returns how many bytes of frames are not read yet. q.mu must be held.
func (q *Queue) left(s segment) int64 {
	switch from := int64(segmentHeader); {
	case s.number < q.progress.read.number:
		return 0
	case s.number == q.progress.read.number:
		return max(s.size-max(from, q.progress.read.offset), 0)
	default:
		return max(s.size-from, 0)
	}
}

// Damaged reports whether Damage was read and the queue was not empty since, by this process or an earlier one.
func (q *Queue) Damaged() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.progress.damaged
}

func (q *Queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// path returns the path of a segment.
func (q *Queue) path(number uint64) string { return filepath.Join(q.cfg.Dir, segmentName(number)) }

// Sync blocks until all appended payloads are on disk.
func (q *Queue) Sync() error {
	q.appending.Lock()
	defer q.appending.Unlock()
	return q.sync()
}

// sync is Sync with q.appending held. After an error the content of the disk is unknown, and another sync
// may succeed without having written it: so Append begins a new segment.
func (q *Queue) sync() error {
	q.mu.Lock()
	unsynced := q.unsynced
	q.unsynced = false
	q.mu.Unlock()
	if !unsynced || q.active == nil {
		return nil
	}
	if err := q.active.Sync(); err != nil {
		return errors.Join(err, q.retire())
	}
	return nil
}

// retire makes the next Append begin a new segment. q.appending must be held.
func (q *Queue) retire() error {
	if q.active == nil {
		return nil
	}
	err := q.active.Close()
	q.active = nil
	return err
}

// Close syncs, saves the read position and unlocks the folder. The Queue is closed even after an error.
func (q *Queue) Close() error {
	q.reader.Lock()
	defer q.reader.Unlock()
	q.appending.Lock()
	defer q.appending.Unlock()
	q.mu.Lock()
	closed := q.closed
	q.closed = true
	q.mu.Unlock()
	if closed {
		return ErrClosed
	}
	q.closeReading()
	return errors.Join(q.cut(), q.sync(), q.retire(), q.save(), q.lock.Close())
}

// save writes the progress. q.reader must be held, or the Queue not be open yet.
func (q *Queue) save() error {
	q.mu.Lock()
	p := q.progress
	q.mu.Unlock()
	q.savedAt = time.Now()
	if err := p.save(q.cfg.Dir); err != nil {
		return err
	}
	q.saved = p
	return nil
}

// Append appends payloads in order, and returns how many of them were accepted: all, or a
// prefix and an error. Accepted payloads survive the process and, with SyncAppends, a power cut. A payload
// must not be empty or longer than MaxPayload.
func (q *Queue) Append(payloads [][]byte) (n int, err error) {
	for i, p := range payloads {
		if len(p) == 0 || len(p) > MaxPayload {
			return 0, fmt.Errorf("wal: payload %d of %d has %d bytes, want 1 to %d", i, len(payloads), len(p), MaxPayload)
		}
	}
	q.appending.Lock()
	defer q.appending.Unlock()
	for n < len(payloads) {
		accepted, err := q.appendSome(payloads[n:])
		n += accepted
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// appendSome appends as many payloads as fit into the segment, at least one.
func (q *Queue) appendSome(payloads [][]byte) (n int, err error) {
	end, err := q.room(FrameSize(len(payloads[0])))
	if err != nil {
		return 0, err
	}
	q.buf = q.buf[:0]
	for _, p := range payloads {
		at := end.offset + int64(len(q.buf))
		if n > 0 && at+FrameSize(len(p)) > q.cfg.SegmentBytes {
			break
		}
		q.buf = appendFrame(q.buf, end.number, at, p)
		n++
	}
	_, err = q.active.WriteAt(q.buf, end.offset)
	if err == nil && q.cfg.SyncAppends {
		err = q.active.Sync()
	}
	if err != nil {
		q.uncut = q.active.Name()
		return 0, errors.Join(err, q.retire(), q.cut())
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &q.segments[len(q.segments)-1]
	s.size += int64(len(q.buf))
	s.payloads += n
	q.progress.accepted = position{s.number, s.size}
	q.unsynced = !q.cfg.SyncAppends
	return n, nil
}

// room returns the end of the active segment, or of a new one if the active one has no room for size
// bytes.
func (q *Queue) room(size int64) (position, error) {
	q.mu.Lock()
	closed, number := q.closed, q.last
	var end position
	if n := len(q.segments); n > 0 {
		end = position{q.segments[n-1].number, q.segments[n-1].size}
	}
	q.mu.Unlock()
	switch {
	case closed:
		return end, ErrClosed
	case q.active != nil && end.offset+size <= q.cfg.SegmentBytes:
		return end, nil
	}
	if err := errors.Join(q.cut(), q.sync(), q.retire()); err != nil {
		return end, err
	}
	if end.number != number {
		end.offset = 0
	}
	return q.create(number+1, end.offset)
}

// create begins a new segment, behind one that ends at before.
func (q *Queue) create(number uint64, before int64) (position, error) {
	f, err := os.OpenFile(q.path(number), os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return position{}, err
	}
	_, err = f.Write(appendSegmentHeader(nil, number, before))
	if err == nil {
		err = SyncDir(q.cfg.Dir)
	}
	if err != nil {
		return position{}, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	q.active = f
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = number
	q.segments = append(q.segments, segment{number: number, size: segmentHeader})
	q.passDrained()
	return position{number, segmentHeader}, nil
}

// cut removes bytes that a failed Append left after the end of the last segment: after a crash they would
// look accepted, or damaged. Append fails until cut succeeds.
func (q *Queue) cut() error {
	if q.uncut == "" {
		return nil
	}
	q.mu.Lock()
	size, gone := int64(0), len(q.segments) == 0 || q.path(q.segments[len(q.segments)-1].number) != q.uncut
	if !gone {
		size = q.segments[len(q.segments)-1].size
	}
	q.mu.Unlock()
	if !gone { // the segment may have been read and removed
		if err := truncate(q.uncut, size); err != nil {
			return err
		}
	}
	q.uncut = ""
	return nil
}

// truncate cuts a file and syncs it.
func truncate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, filePerm) // #nosec G304 -- the folder is a setting
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
