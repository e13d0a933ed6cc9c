package wal

import (
	"errors"
	"io"
	"io/fs"
	"os"
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
// It copies a segment with Damage before it returns.
func (q *Queue) Read(b *Batch, maxPayloads, maxBytes int) error {
	q.reader.Lock()
	defer q.reader.Unlock()
	*b = Batch{Entries: b.Entries[:0], arena: b.arena[:0]}
	for len(b.Entries) == 0 {
		s, ok, err := q.open()
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
		if len(b.Entries) == 0 { // the segment had only its header
			q.advance(b.end, 0, false)
		}
	}
	return nil
}

// open returns a scanner at the read position, and false at the end of the queue. A scanner without a
// file means that the segment was removed from outside.
func (q *Queue) open() (*scanner, bool, error) {
	q.mu.Lock()
	read, closed := q.progress.read, q.closed
	var at segment
	for _, s := range q.segments {
		if s.number > read.number || s.number == read.number && s.size > read.offset {
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
	case at.number > read.number:
		read.offset = 0
	}
	if q.reading == nil || q.reading.number != at.number {
		q.closeReading()
		f, err := os.Open(q.path(at.number))
		if errors.Is(err, fs.ErrNotExist) {
			return &scanner{path: q.path(at.number), number: at.number, offset: read.offset, end: at.size}, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		q.file, q.reading = f, &scanner{file: f, path: f.Name(), number: at.number}
	}
	q.reading.offset, q.reading.end = read.offset, at.size
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
			if damage.Kept, err = q.keepAside(s.number); err != nil {
				s.offset = before
				return err
			}
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

// Reject returns the Damage for a payload of b that the caller cannot decode, and keeps a copy of its segment.
func (q *Queue) Reject(b *Batch, e *Entry, reason error) (*Damage, error) {
	kept, err := q.Keep(b)
	if err != nil {
		return nil, err
	}
	return &Damage{Segment: q.path(b.end.number), From: e.from, To: e.from + FrameSize(len(e.Payload)), Kept: kept, Reason: reason}, nil
}

// Keep marks b as damaged, keeps a copy of its segment, and returns the path of the copy.
func (q *Queue) Keep(b *Batch) (path string, err error) {
	if q.isClosed() {
		return "", ErrClosed
	}
	b.damaged = true
	return q.keepAside(b.end.number)
}

// keepAside keeps a copy of a segment under another name, and returns its path; "" if the segment was removed
// from outside.
func (q *Queue) keepAside(number uint64) (string, error) {
	path := q.path(number)
	kept := path + badSuffix
	err := os.Link(path, kept)
	switch {
	case errors.Is(err, fs.ErrExist):
		return kept, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil: // not every file system has links
		if err = copyFile(kept, path); err != nil {
			return "", err
		}
	}
	q.mu.Lock()
	q.bad++
	q.mu.Unlock()
	return kept, nil
}

// copyFile copies all of a file or nothing.
func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return errors.Join(err, os.Remove(to+".new"))
	}
	return os.Rename(to+".new", to)
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
	q.unsaved = true
	var err error
	if len(drained) > 0 || empty || b.damaged || time.Since(q.saved) >= saveEvery {
		err = q.saveRead() // before a file is removed, or the next Open would report it as missing
	}
	return errors.Join(err, q.remove(drained))
}

// SaveRead saves the read position, if it has changed. Commit does so at most once a second, so a reader
// without a Commit for a while should call it.
func (q *Queue) SaveRead() error {
	q.reader.Lock()
	defer q.reader.Unlock()
	if !q.unsaved || q.isClosed() {
		return nil
	}
	return q.saveRead()
}

// saveRead is SaveRead with q.reader held.
func (q *Queue) saveRead() error {
	q.saved, q.unsaved = time.Now(), false
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
