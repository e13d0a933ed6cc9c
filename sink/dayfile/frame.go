package dayfile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"

	"github.com/klauspost/compress/zstd"
)

const (
	frameHeader = 16
	maxFrame    = math.MaxInt32
)

// A frame is the stored form of one Write.
type frame struct {
	offset            int64 // of its header
	firstDay, lastDay int32 // of its records
	payload           []byte
}

// appendFrameHeader appends the header of a frame with payload to b.
func appendFrameHeader(b []byte, f *frame) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.payload)))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.firstDay))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.lastDay))
	return binary.LittleEndian.AppendUint32(b, checksum(b[start+4:], f.payload))
}

func checksum(days, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // it is made once
	return crc32.Update(crc32.Update(0, table, days[:8]), table, payload)
}

var (
	errTorn    = errors.New("the file ends within a frame")
	errDamaged = errors.New("a frame has another checksum")
)

// A frameReader reads the frames of a file in order.
type frameReader struct {
	file   *os.File
	in     *bufio.Reader
	offset int64
	end    int64 // frames from here on are not read
	buf    []byte
	unzip  *zstd.Decoder // nil until it is needed
	plain  []byte
}

// openFrames opens the first size bytes of a file.
func openFrames(path string, size int64) (*frameReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &frameReader{file: f, in: bufio.NewReaderSize(io.LimitReader(f, size), 256<<10), end: size}, nil
}

func (r *frameReader) Close() error {
	if r.unzip != nil {
		r.unzip.Close()
	}
	return r.file.Close()
}

// next reads the next frame for which wants returns true, without touching the payloads of the others. The frame is
// valid until the next call. The error is io.EOF at the end, errTorn where the file ends within a frame, and errDamaged
// for a frame that can be skipped: the next call goes on behind it.
func (r *frameReader) next(wants func(firstDay, lastDay int32) bool) (frame, error) {
	for {
		var header [frameHeader]byte
		if _, err := io.ReadFull(r.in, header[:]); err != nil {
			if err == io.ErrUnexpectedEOF {
				err = errTorn
			}
			return frame{}, err
		}
		f := frame{
			offset:   r.offset,
			firstDay: int32(binary.LittleEndian.Uint32(header[4:])), lastDay: int32(binary.LittleEndian.Uint32(header[8:])),
		}
		size := int64(binary.LittleEndian.Uint32(header[:]))
		if size > maxFrame || r.offset+frameHeader+size > r.end {
			return f, errTorn
		}
		r.offset += frameHeader + size
		if !wants(f.firstDay, f.lastDay) {
			if _, err := r.in.Discard(int(size)); err != nil {
				return f, err
			}
			continue
		}
		if int64(cap(r.buf)) < size {
			r.buf = make([]byte, size)
		}
		f.payload = r.buf[:size]
		if _, err := io.ReadFull(r.in, f.payload); err != nil {
			return f, err
		}
		if checksum(header[4:12], f.payload) != binary.LittleEndian.Uint32(header[12:]) {
			return f, errDamaged
		}
		return f, nil
	}
}

// unpack returns a payload as it was before it was compressed. It is valid until the next call. The error is errEntry.
func (r *frameReader) unpack(f *frame) (plain []byte, err error) {
	if r.unzip == nil {
		if r.unzip, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1)); err != nil {
			return nil, err
		}
	}
	if r.plain, err = r.unzip.DecodeAll(f.payload, r.plain[:0]); err != nil {
		return nil, fmt.Errorf("%w: %w", errEntry, err)
	}
	return r.plain, nil
}

// newPacker returns a compressor of payloads.
func newPacker() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
}

// A DamageError is the error for a part of the log that does not read back as it was written.
type DamageError struct {
	Path   string
	Offset int64 // of the frame
	Err    error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("dayfile: %s is damaged at byte %d: %v", e.Path, e.Offset, e.Err)
}

// Unwrap returns Err.
func (e *DamageError) Unwrap() error { return e.Err }
