package wal

import (
	"errors"
	"fmt"
	"os"
)

// Append puts payloads at the end, in order, and returns how many of them were accepted: all, or a
// prefix and an error. What was accepted survives the process, and with SyncAppends a power cut. None
// may be empty or longer than MaxPayload.
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

// appendSome appends as many payloads as the segment takes, at least one.
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
	if q.cfg.SyncAppends {
		q.setSynced()
	} else {
		q.unsynced = true
	}
	return n, nil
}

// room makes sure that there is an active segment with room for size bytes, or a new one, and returns
// its end.
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
	return q.create(number + 1)
}

// create begins a new segment.
func (q *Queue) create(number uint64) (position, error) {
	f, err := os.OpenFile(q.path(number), os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return position{}, err
	}
	_, err = f.Write(appendSegmentHeader(nil, number))
	if err == nil {
		err = syncDir(q.cfg.Dir)
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

// cut removes what a failed Append left behind the end of the last segment: after a crash it would
// pass for accepted, or for damage. Until that succeeds nothing is appended.
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
	if !gone { // it may have been read and removed
		if err := truncate(q.uncut, size); err != nil {
			return err
		}
	}
	q.uncut = ""
	return nil
}

// truncate cuts a file, durably.
func truncate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, filePerm)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
