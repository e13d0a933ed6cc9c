package wal

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A Batch is the result of one Read. The next Read into it reuses its memory.
type Batch struct {
	Entries []Entry

	arena    []byte
	payloads int
	damaged  bool
	end      position
}

// An Entry is a payload, or the Damage found in its place.
type Entry struct {
	Payload []byte // valid until the next Read
	Damage  *Damage

	from int64 // offset of the frame
}

// Read fills b with the next payloads, up to the given numbers of payloads and of their bytes, but at
// least one. With nothing to read, b.Entries is empty. Without a Commit the next Read returns the same.
// It keeps the bytes of Damage before it returns.
func (q *Queue) Read(b *Batch, maxPayloads, maxBytes int) error {
	return q.ReadAfter(&Batch{}, b, maxPayloads, maxBytes)
}

// ReadAfter is Read for what follows a batch that may not be committed yet.
func (q *Queue) ReadAfter(before, b *Batch, maxPayloads, maxBytes int) error {
	q.reader.Lock()
	defer q.reader.Unlock()
	*b = Batch{Entries: b.Entries[:0], arena: b.arena[:0], end: before.end}
	for len(b.Entries) == 0 {
		s, ok, err := q.open(b.end)
		if !ok || err != nil {
			return err
		}
		if s.file == nil {
			b.damaged = true
			b.Entries = append(b.Entries, Entry{Damage: s.damaged(s.end, ErrMissing)})
		} else if err := q.readSegment(b, s, maxPayloads, maxBytes); err != nil {
			return err
		}
		b.end = position{s.number, s.offset}
	}
	return nil
}

// open returns a scanner at a position, or at the read position if that is further, and false at the end of the queue.
// A scanner without a file means that the segment was removed from outside.
func (q *Queue) open(from position) (*scanner, bool, error) {
	q.mu.Lock()
	closed := q.closed
	if from.before(q.progress.read) {
		from = q.progress.read
	}
	var at segment
	for _, s := range q.segments {
		if s.number > from.number || s.number == from.number && s.size > from.offset {
			at = s
			break
		}
	}
	q.mu.Unlock()
	switch {
	case closed:
		return nil, false, ErrClosed
	case at.number == 0:
		return nil, false, nil
	case at.number > from.number:
		from.offset = 0
	}
	if q.reading == nil || q.reading.number != at.number {
		q.closeReading()
		f, err := os.Open(q.path(at.number))
		if errors.Is(err, fs.ErrNotExist) {
			return &scanner{path: q.path(at.number), number: at.number, offset: from.offset, end: at.size}, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		q.file, q.reading = f, &scanner{file: f, path: f.Name(), number: at.number}
	}
	q.reading.offset, q.reading.end = from.offset, at.size
	return q.reading, true, nil
}

func (q *Queue) closeReading() {
	if q.reading != nil {
		q.file.Close() // it was only read, so the error does not matter
		q.file, q.reading = nil, nil
	}
}

func (q *Queue) readSegment(b *Batch, s *scanner, maxPayloads, maxBytes int) error {
	for b.payloads < maxPayloads && (len(b.arena) < maxBytes || b.payloads == 0) {
		before := s.offset
		payload, damage, err := s.next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case damage != nil:
			name := keptName(s.number, damage.From, badSuffix)
			damage.Kept, damage.KeepErr = q.keep(name, io.NewSectionReader(s.file, damage.From, damage.To-damage.From))
			b.damaged = true
			b.Entries = append(b.Entries, Entry{Damage: damage})
			continue
		}
		if b.payloads > 0 && len(b.arena)+len(payload) > maxBytes {
			s.offset = before
			return nil
		}
		start := len(b.arena)
		b.arena = append(b.arena, payload...)
		b.Entries = append(b.Entries, Entry{Payload: b.arena[start:len(b.arena):len(b.arena)], from: s.offset - FrameSize(len(payload))})
		b.payloads++
	}
	return nil
}

// Reject returns the Damage for a payload of b that the caller cannot decode, and keeps the payload. Its only error is
// ErrClosed.
func (q *Queue) Reject(b *Batch, e *Entry, reason error) (*Damage, error) {
	b.damaged = true
	d := &Damage{Segment: q.path(b.end.number), From: e.from, To: e.from + FrameSize(len(e.Payload)), Reason: reason}
	d.Kept, d.KeepErr = q.keepEntry(b, e, badSuffix)
	if d.KeepErr == ErrClosed {
		return nil, ErrClosed
	}
	return d, nil
}

// Refuse keeps a payload of b that the caller leaves out, and returns the path of the file; "" if there is no room. After
// an error other than ErrClosed the payload is not kept.
func (q *Queue) Refuse(b *Batch, e *Entry) (path string, err error) {
	b.damaged = true
	return q.keepEntry(b, e, refusedSuffix)
}

func (q *Queue) keepEntry(b *Batch, e *Entry, suffix string) (string, error) {
	q.reader.Lock()
	defer q.reader.Unlock()
	if q.isClosed() {
		return "", ErrClosed
	}
	return q.keep(keptName(b.end.number, e.from, suffix), bytes.NewReader(e.Payload))
}

// keep writes bytes to a file of that name, and returns its path: "" if there are none, or if KeepBytes has no room for
// them. What cannot be written is counted as if there were no room: nothing behind it must wait for a disk that is full.
// q.reader must be held.
func (q *Queue) keep(name string, from io.Reader) (string, error) {
	path := filepath.Join(q.cfg.Dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil // by an earlier Read of the same
	}
	q.mu.Lock()
	room := max(q.cfg.KeepBytes-q.kept.Bytes, 0)
	q.mu.Unlock()
	data, err := io.ReadAll(io.LimitReader(from, room+1))
	if err == nil && len(data) == 0 {
		return "", nil
	}
	size := occupied(int64(len(data)))
	if err == nil && size <= room {
		err = writeFile(path, data)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if size > room || err != nil {
		q.kept.Unkept++
		return "", err
	}
	q.kept.Files++
	q.kept.Bytes += size
	return path, nil
}

// Commit removes the payloads of b from the queue. An error other than ErrClosed is about files that could
// not be removed or written; b is committed nevertheless, and after a crash it may be read again.
func (q *Queue) Commit(b *Batch) error {
	if len(b.Entries) == 0 {
		return nil
	}
	q.reader.Lock()
	defer q.reader.Unlock()
	if q.isClosed() {
		return ErrClosed
	}
	q.advance(b.end, b.payloads, b.damaged)
	empty := q.Empty()
	drained := q.trim(empty)
	var err error
	if len(drained) > 0 || empty || b.damaged || time.Since(q.savedAt) >= saveEvery {
		err = q.save() // before a file is removed, or the next Open would report it as missing
	}
	return errors.Join(err, q.remove(drained))
}

// SaveProgress saves how far the queue was read and is on disk, if that has changed. Commit does so at most once a
// second, so a program without a Commit for a while should call it.
func (q *Queue) SaveProgress() error {
	q.reader.Lock()
	defer q.reader.Unlock()
	q.mu.Lock()
	same, closed := q.progress == q.saved, q.closed
	q.mu.Unlock()
	if same || closed {
		return nil
	}
	return q.save()
}

func (q *Queue) advance(to position, payloads int, damaged bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.progress.read = to
	for i := range q.segments {
		if q.segments[i].number == to.number {
			q.segments[i].payloads -= payloads
		}
	}
	q.progress.damaged = q.progress.damaged || damaged
}

// trim removes the read segments from the list and returns them. If the queue is empty they include the active
// segment, unless that is small.
func (q *Queue) trim(empty bool) (drained []segment) {
	if empty {
		q.appending.Lock()
		defer q.appending.Unlock()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if empty && q.active != nil {
		end := q.segments[len(q.segments)-1]
		if q.left(end) == 0 && end.size >= min(trimBytes, q.cfg.SegmentBytes) {
			q.unsynced = false // no unread payload is left
			q.retire()
		}
	}
	for len(q.segments) > 0 && q.left(q.segments[0]) == 0 && (len(q.segments) > 1 || empty && q.active == nil) {
		drained = append(drained, q.segments[0])
		q.segments = q.segments[1:]
	}
	q.passDrained()
	if q.empty() {
		q.progress.damaged = false
	}
	return drained
}

// passDrained moves the read position from the end of a segment that will be removed to the beginning of the
// next: addMissing takes a missing segment at the read position for Damage. q.mu must be held.
func (q *Queue) passDrained() {
	if len(q.segments) > 0 && q.progress.read.number < q.segments[0].number {
		q.progress.read = position{number: q.segments[0].number}
	}
}

// remove removes the files of read segments.
func (q *Queue) remove(drained []segment) error {
	if n := len(drained); n > 0 && q.reading != nil && q.reading.number <= drained[n-1].number {
		q.closeReading()
	}
	var errs []error
	for _, s := range drained {
		if err := os.Remove(q.path(s.number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
