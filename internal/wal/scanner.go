package wal

import (
	"errors"
	"fmt"
	"io"
)

// The reasons of Damage.
var (
	ErrTorn    = errors.New("the frame is cut short")
	ErrShort   = errors.New("the segment is shorter than what was written")
	ErrMissing = errors.New("the segment is missing")
	ErrHeader  = errors.New("the segment's header is wrong")
	ErrFrame   = errors.New("the checksum of the frame's header is wrong")
	ErrPayload = errors.New("the checksum of the payload is wrong")
)

// Damage is a range of a segment without a valid frame where one should be.
type Damage struct {
	Segment  string // path
	From, To int64  // offsets
	Kept     string // path of the copy that is kept; "" if the segment is gone
	Reason   error
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s is damaged from byte %d to %d: %v", d.Segment, d.From, d.To, d.Reason)
}

const windowBytes = 256 << 10

// A scanner walks over the frames of a segment, up to end.
type scanner struct {
	file   io.ReaderAt
	path   string
	number uint64
	offset int64 // of the next frame; 0 is the segment's header
	end    int64

	window   []byte // of the file, from windowAt
	windowAt int64
}

// next returns the payload of the next frame, which is valid until the following call, or the next
// Damage. At the end it returns io.EOF. After any other error, which is one of reading, the scanner has not moved.
func (s *scanner) next() ([]byte, *Damage, error) {
	payload, damage, err := s.frame()
	if err == io.ErrUnexpectedEOF {
		return nil, s.damaged(s.end, ErrShort), nil
	}
	return payload, damage, err
}

func (s *scanner) frame() ([]byte, *Damage, error) {
	if s.offset == 0 {
		if d, err := s.header(); d != nil || err != nil {
			return nil, d, err
		}
	}
	switch left := s.end - s.offset; {
	case left <= 0:
		return nil, nil, io.EOF
	case left < frameHeader:
		return nil, s.damaged(s.end, ErrTorn), nil
	}
	h, err := s.bytes(s.offset, frameHeader)
	if err != nil {
		return nil, nil, err
	}
	length, sum, ok := parseFrameHeader(h, s.number, s.offset)
	if !ok {
		to, err := s.search(s.offset + 1)
		if err != nil {
			return nil, nil, err
		}
		return nil, s.damaged(to, ErrFrame), nil
	}
	next := s.offset + frameHeader + length
	if next > s.end {
		return nil, s.damaged(s.end, ErrTorn), nil
	}
	payload, err := s.bytes(s.offset+frameHeader, length)
	if err != nil {
		return nil, nil, err
	}
	if castagnoli(0, payload) != sum {
		return nil, s.damaged(next, ErrPayload), nil
	}
	s.offset = next
	return payload, nil, nil
}

// header checks the segment's header and moves past it.
func (s *scanner) header() (*Damage, error) {
	if s.end < segmentHeader {
		if s.end == 0 {
			return nil, nil
		}
		return s.damaged(s.end, ErrTorn), nil
	}
	h, err := s.bytes(0, segmentHeader)
	if err != nil {
		return nil, err
	}
	if !validSegmentHeader(h, s.number) {
		return s.damaged(segmentHeader, ErrHeader), nil
	}
	s.offset = segmentHeader
	return nil, nil
}

// damaged moves to the end of a damaged range and returns its Damage.
func (s *scanner) damaged(to int64, reason error) *Damage {
	d := &Damage{Segment: s.path, From: s.offset, To: to, Reason: reason}
	s.offset = to
	return d
}

// search returns the offset of the first valid frame at or after from; s.end if there is none.
func (s *scanner) search(from int64) (int64, error) {
	for at := from; at+frameHeader <= s.end; at++ {
		h, err := s.bytes(at, frameHeader)
		if err != nil {
			return 0, err
		}
		length, sum, ok := parseFrameHeader(h, s.number, at)
		if !ok || at+frameHeader+length > s.end {
			continue
		}
		payload, err := s.bytes(at+frameHeader, length)
		if err == io.ErrUnexpectedEOF {
			continue // the file is too short for it; a shorter frame may follow
		}
		if err != nil {
			return 0, err
		}
		if castagnoli(0, payload) == sum {
			return at, nil
		}
	}
	return s.end, nil
}

// bytes returns n bytes of the file at offset, which are before s.end.
func (s *scanner) bytes(offset, n int64) ([]byte, error) {
	if offset < s.windowAt || offset+n > s.windowAt+int64(len(s.window)) {
		if err := s.fill(offset, n); err != nil {
			return nil, err
		}
	}
	from := offset - s.windowAt
	return s.window[from : from+n : from+n], nil
}

func (s *scanner) fill(offset, n int64) error {
	size := min(max(n, windowBytes), s.end-offset)
	if int64(cap(s.window)) < size {
		s.window = make([]byte, size)
	}
	s.windowAt, s.window = offset, s.window[:size]
	read, err := s.file.ReadAt(s.window, offset)
	s.window = s.window[:read]
	if int64(read) >= n { // it reads ahead; a file that is too short is so from there on
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
