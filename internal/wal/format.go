package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	segmentMagic  = "MPspill2"
	segmentHeader = 28
	frameHeader   = 12

	// MaxPayload is the length of the longest payload.
	MaxPayload = math.MaxInt32
)

const (
	suffix        = ".wal"
	badSuffix     = ".bad"     // of bytes that are Damage
	refusedSuffix = ".refused" // of payloads that the caller did not want
)

func segmentName(number uint64) string { return fmt.Sprintf("%016d%s", number, suffix) }

// keptName returns the name of the file with bytes of a segment.
func keptName(number uint64, offset int64, suffix string) string {
	return fmt.Sprintf("%016d-%010d%s", number, offset, suffix)
}

// parseName returns the number of the segment that a file is, or has bytes of; 0 if it is another file.
func parseName(name string) (number uint64, kept bool) {
	if digits, ok := strings.CutSuffix(name, suffix); ok {
		number, _ = strconv.ParseUint(digits, 10, 64)
		if name != segmentName(number) {
			return 0, false
		}
		return number, false
	}
	for _, suffix := range []string{badSuffix, refusedSuffix} {
		digits, offset, _ := strings.Cut(strings.TrimSuffix(name, suffix), "-")
		number, _ = strconv.ParseUint(digits, 10, 64)
		at, _ := strconv.ParseInt(offset, 10, 64)
		if name == keptName(number, at, suffix) {
			return number, true
		}
	}
	return 0, false
}

// occupied returns what a file of that size takes of the disk.
func occupied(size int64) int64 {
	const block = 4 << 10
	return (size + block - 1) / block * block
}

// FrameSize returns the size of the frame of a payload of n bytes.
func FrameSize(n int) int64 { return frameHeader + int64(n) }

func castagnoli(sum uint32, b []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b) // the table is made once
}

// appendSegmentHeader appends the header of a segment. before is the end of the segment with the number before, 0 if that
// one has nothing unread.
func appendSegmentHeader(b []byte, number uint64, before int64) []byte {
	start := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint64(b, uint64(before))
	return binary.LittleEndian.AppendUint32(b, castagnoli(0, b[start:]))
}

// parseSegmentHeader reads the first segmentHeader bytes of a segment, and reports whether they are a valid header.
func parseSegmentHeader(h []byte, number uint64) (before int64, ok bool) {
	ok = string(h[:8]) == segmentMagic &&
		binary.LittleEndian.Uint64(h[8:]) == number &&
		binary.LittleEndian.Uint32(h[24:]) == castagnoli(0, h[:24])
	return int64(binary.LittleEndian.Uint64(h[16:])), ok
}

// appendFrame appends the frame of payload for that offset of a segment.
func appendFrame(b []byte, number uint64, offset int64, payload []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, castagnoli(0, payload))
	b = binary.LittleEndian.AppendUint32(b, castagnoli(seed(number, offset), b[start:]))
	return append(b, payload...)
}

// parseFrameHeader reads the first frameHeader bytes of a frame, and reports whether they are a valid header. A
// payload is never empty, so zeros are not valid.
func parseFrameHeader(h []byte, number uint64, offset int64) (length int64, sum uint32, ok bool) {
	length = int64(binary.LittleEndian.Uint32(h))
	sum = binary.LittleEndian.Uint32(h[4:])
	ok = length > 0 && binary.LittleEndian.Uint32(h[8:]) == castagnoli(seed(number, offset), h[:8])
	return length, sum, ok
}

// seed returns the start value of the CRC of a frame header.
func seed(number uint64, offset int64) uint32 {
	return uint32(number)*0x9e3779b1 ^ uint32(offset) ^ uint32(offset>>32)*0x85ebca6b
}

// A position is a place between two frames. The zero position is before every segment.
type position struct {
	number uint64 // of the segment
	offset int64
}

func (p position) before(q position) bool {
	return p.number < q.number || p.number == q.number && p.offset < q.offset
}

// A progress is the content of the file "position".
type progress struct {
	read     position // everything before was committed
	accepted position // everything before was appended
	damaged  bool     // Damage was read, and the queue was not empty since
}

const (
	positionName  = "position"
	positionMagic = "MPspillP"
	positionBytes = 8 + 5*8 + 4
)

// save writes the file.
func (p progress) save(dir string) error {
	b := append(make([]byte, 0, positionBytes), positionMagic...)
	damaged := uint64(0)
	if p.damaged {
		damaged = 1
	}
	for _, n := range [...]uint64{p.read.number, uint64(p.read.offset), p.accepted.number, uint64(p.accepted.offset), damaged} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, castagnoli(0, b))
	name := filepath.Join(dir, positionName)
	return writeFile(name, b)
}

// writeFile writes a file under another name and renames it, so a crash of the process leaves the old or the new one.
func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, filePerm); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	return os.Rename(path+".new", path)
}

// loadProgress returns the zero progress if there is no file, and lost if the file is not valid.
func loadProgress(dir string) (p progress, lost bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, positionName)) // #nosec G304 -- the folder is a setting
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	const body = positionBytes - 4
	if len(b) != positionBytes || string(b[:8]) != positionMagic ||
		binary.LittleEndian.Uint32(b[body:]) != castagnoli(0, b[:body]) {
		return p, true, nil
	}
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8+8*i:]) }
	p.read = position{at(0), int64(at(1))}
	p.accepted = position{at(2), int64(at(3))}
	p.damaged = at(4) == 1
	return p, false, nil
}

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
	Kept     string // path of the file with these bytes; "" if there are none, or no room for them
	Reason   error
	KeepErr  error // why the bytes could not be written to Kept
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
	if _, ok := parseSegmentHeader(h, s.number); !ok {
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
