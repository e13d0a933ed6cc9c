package wal

import (
	"errors"
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

// A Config says where a Queue is and how it stores. Nothing in it has a default but as stated.
type Config struct {
	Dir string // is made if it is not there

	// SegmentBytes is the size at which a segment is followed by another.
	SegmentBytes int64

	// SyncAppends makes every Append wait until the payloads are on disk. Otherwise Sync does it, and
	// a segment that is full is synced before the next is begun.
	SyncAppends bool
}

const (
	filePerm = 0o600
	dirPerm  = 0o700

	// A segment of that size is removed when all of it was read, although more could be appended.
	trimBytes = 1 << 20
	// How often progress is saved while payloads are read.
	saveEvery = time.Second
)

// A Queue is an open folder. It may be used from any number of goroutines, but only one of them may
// Read and Commit what it has read.
type Queue struct {
	cfg  Config
	lock io.Closer

	reader  sync.Mutex // held by Read and Commit, taken before the others
	reading *scanner
	file    *os.File // of reading; nil if it is not open
	saved   time.Time
	unsaved bool // something was committed since

	appending sync.Mutex // held by what writes to segments; taken before mu
	active    *os.File   // the last segment, at the end of which Append goes on; nil if a new one is due
	uncut     string     // path of the last segment if bytes behind its end could not be cut off
	buf       []byte

	mu       sync.Mutex // guards what follows; never held while a file is accessed
	segments []segment  // those not removed, oldest first
	last     uint64     // the highest number ever used
	progress progress
	bad      int // copies of damaged segments that are kept
	unsynced bool
	closed   bool
}

// A segment is a file of frames.
type segment struct {
	number   uint64
	size     int64 // of what was accepted
	payloads int   // not yet committed
}

// Stats tells what is in the folder.
type Stats struct {
	Payloads int   // appended and not yet committed
	Bytes    int64 // that they occupy
	Segments int   // files with any of them
	Bad      int   // copies of damaged segments that are kept
}

// Stats returns the present state.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{Bad: q.bad}
	for _, segment := range q.segments {
		if left := q.left(segment); left > 0 {
			s.Segments++
			s.Bytes += left
			s.Payloads += segment.payloads
		}
	}
	return s
}

// Empty tells whether there is nothing to read.
func (q *Queue) Empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.empty()
}

func (q *Queue) empty() bool {
	return !slices.ContainsFunc(q.segments, func(s segment) bool { return q.left(s) > 0 })
}

// A Mark is a place in the queue.
type Mark struct{ position }

// End returns the place behind everything appended so far.
func (q *Queue) End() Mark {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.segments); n > 0 {
		return Mark{position{q.segments[n-1].number, q.segments[n-1].size}}
	}
	return Mark{}
}

// Passed tells whether everything before m was committed.
func (q *Queue) Passed(m Mark) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.progress.read.before(m.position) || q.empty()
}

// left returns how many bytes of frames are yet to be read. q.mu is held.
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

// Damaged tells whether Damage was read and the queue was never empty since, be it in a former process.
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

// Sync waits until what was appended is on disk.
func (q *Queue) Sync() error {
	q.appending.Lock()
	defer q.appending.Unlock()
	return q.sync()
}

// sync is Sync with q.appending held. After an error nobody knows what is on disk, and another sync
// may succeed without having written it: the segment is not continued.
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
	q.mu.Lock()
	q.setSynced()
	q.mu.Unlock()
	return nil
}

// setSynced notes that everything appended is on disk. q.mu is held.
func (q *Queue) setSynced() {
	if n := len(q.segments); n > 0 {
		q.progress.synced = position{q.segments[n-1].number, q.segments[n-1].size}
	}
}

// retire makes the next Append begin a new segment. q.appending is held.
func (q *Queue) retire() error {
	if q.active == nil {
		return nil
	}
	err := q.active.Close()
	q.active = nil
	return err
}

// Close syncs, saves what was read and unlocks the folder. The Queue is closed whatever the error.
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

// save writes the progress.
func (q *Queue) save() error {
	q.mu.Lock()
	p := q.progress
	q.mu.Unlock()
	return p.save(q.cfg.Dir)
}
