package integration

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
)

// A fileSink appends the records of one stream to a file, each once, also those redelivered after a crash. A
// Write is one frame, which is complete or absent, and which contains the Origin of its last record: the position
// of the file in the stream. A sink needs no more to store exactly once what a Consumer delivers at least once.
//
// A frame is its length and its CRC-32, four bytes each, and a payload: the source and sequence of its last record,
// and the bodies of its records, each after its length.
type fileSink struct {
	file *os.File
	mark marketprism.Origin
	n    int // records in the file
	buf  []byte
}

const frameHead = 8

// openFileSink opens a file and truncates an incomplete frame at its end.
func openFileSink(path string) (*fileSink, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s := &fileSink{file: file}
	end, err := readFrames(file, func(origin marketprism.Origin, bodies [][]byte) error {
		s.mark = origin
		s.n += len(bodies)
		return nil
	})
	if err == nil {
		err = file.Truncate(end)
	}
	if err == nil {
		_, err = file.Seek(end, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

// Write appends the records that are not in the file, and returns when they are on disk.
func (s *fileSink) Write(_ context.Context, recs []marketprism.Record) error {
	for len(recs) > 0 && recs[0].Origin.Source == s.mark.Source && recs[0].Origin.Sequence <= s.mark.Sequence {
		recs = recs[1:]
	}
	if len(recs) == 0 {
		return nil
	}
	last := recs[len(recs)-1].Origin
	buf := append(s.buf[:0], make([]byte, frameHead)...)
	buf = binary.AppendUvarint(buf, last.Sequence)
	buf = appendText(buf, []byte(last.Source))
	var (
		body []byte
		err  error
	)
	for i := range recs {
		if body, err = natsbus.AppendRecord(body[:0], &recs[i]); err != nil {
			return err
		}
		buf = appendText(buf, body)
	}
	payload := buf[frameHead:]
	binary.LittleEndian.PutUint32(buf, uint32(len(payload)))
	binary.LittleEndian.PutUint32(buf[4:], crc32.ChecksumIEEE(payload))
	s.buf = buf
	if _, err := s.file.Write(buf); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.mark = last
	s.n += len(recs)
	return nil
}

func appendText(b, text []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// readFrames calls f for every complete frame of a file and returns the end of the last one.
func readFrames(file io.Reader, f func(origin marketprism.Origin, bodies [][]byte) error) (end int64, err error) {
	from := bufio.NewReaderSize(file, 1<<20)
	var head [frameHead]byte
	for {
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return end, atEnd(err)
		}
		payload := make([]byte, binary.LittleEndian.Uint32(head[:]))
		if _, err := io.ReadFull(from, payload); err != nil {
			return end, atEnd(err)
		}
		if crc32.ChecksumIEEE(payload) != binary.LittleEndian.Uint32(head[4:]) {
			return end, fmt.Errorf("the frame at byte %d is damaged", end)
		}
		end += frameHead + int64(len(payload))
		sequence, n := binary.Uvarint(payload)
		origin := marketprism.Origin{Sequence: sequence}
		var bodies [][]byte
		for rest := payload[n:]; len(rest) > 0; {
			size, n := binary.Uvarint(rest)
			text := rest[n : n+int(size)]
			rest = rest[n+int(size):]
			if origin.Source == "" {
				origin.Source = string(text)
			} else {
				bodies = append(bodies, text)
			}
		}
		if err := f(origin, bodies); err != nil {
			return end, err
		}
	}
}

func atEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
