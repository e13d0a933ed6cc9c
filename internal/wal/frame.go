package wal

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

const (
	segmentMagic  = "MPspill1"
	segmentHeader = 20
	frameHeader   = 12

	// MaxPayload is the length of the longest payload.
	MaxPayload = math.MaxInt32
)

// FrameSize is what a payload of n bytes occupies.
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

// appendFrame appends the frame of payload as it stands at offset of a segment.
func appendFrame(b []byte, number uint64, offset int64, payload []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, castagnoli(0, payload))
	b = binary.LittleEndian.AppendUint32(b, castagnoli(seed(number, offset), b[start:]))
	return append(b, payload...)
}

// parseFrameHeader reads the first frameHeader bytes of a frame; false if they are none. A payload is
// never empty, so that zeros are no frame.
func parseFrameHeader(h []byte, number uint64, offset int64) (length int64, sum uint32, ok bool) {
	length = int64(binary.LittleEndian.Uint32(h))
	sum = binary.LittleEndian.Uint32(h[4:])
	ok = length > 0 && binary.LittleEndian.Uint32(h[8:]) == castagnoli(seed(number, offset), h[:8])
	return length, sum, ok
}

// seed is where the CRC of a frame header starts.
func seed(number uint64, offset int64) uint32 {
	return uint32(number)*0x9e3779b1 ^ uint32(offset) ^ uint32(offset>>32)*0x85ebca6b
}
