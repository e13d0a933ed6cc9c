package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

const (
	segmentMagic  = "MPspill1"
	segmentHeader = 20
	frameHeader   = 12

	// MaxPayload is the length of the longest payload.
	MaxPayload = math.MaxInt32
)

// FrameSize returns the size of the frame of a payload of n bytes.
func FrameSize(n int) int64 { return frameHeader + int64(n) }

func castagnoli(sum uint32, b []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b) // the table is made once
}

// appendSegmentHeader appends the header of a segment.
func appendSegmentHeader(b []byte, number uint64) []byte {
	start := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint64(b, number)
	return binary.LittleEndian.AppendUint32(b, castagnoli(0, b[start:]))
}

// validSegmentHeader checks the first segmentHeader bytes of a segment.
func validSegmentHeader(h []byte, number uint64) bool {
	return string(h[:8]) == segmentMagic &&
		binary.LittleEndian.Uint64(h[8:]) == number &&
		binary.LittleEndian.Uint32(h[16:]) == castagnoli(0, h[:16])
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
	read    position // everything before was committed
	synced  position // everything before was on disk
	damaged bool     // Damage was read, and the queue was not empty since
}

const (
	positionName  = "position"
	positionMagic = "MPspillP"
	positionBytes = 8 + 5*8 + 4
)

// save writes the file under another name and renames it, so a crash leaves the old or the new one.
func (p progress) save(dir string) error {
	b := append(make([]byte, 0, positionBytes), positionMagic...)
	damaged := uint64(0)
	if p.damaged {
		damaged = 1
	}
	for _, n := range [...]uint64{p.read.number, uint64(p.read.offset), p.synced.number, uint64(p.synced.offset), damaged} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, castagnoli(0, b))
	name := filepath.Join(dir, positionName)
	if err := os.WriteFile(name+".new", b, filePerm); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// loadProgress returns the zero progress if there is no file, and lost if the file is not valid.
func loadProgress(dir string) (p progress, lost bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, positionName))
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
	p.synced = position{at(2), int64(at(3))}
	p.damaged = at(4) == 1
	return p, false, nil
}
