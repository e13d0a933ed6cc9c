package wal

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A position is a place between two frames. The zero position is before every segment.
type position struct {
	number uint64 // of the segment
	offset int64
}

func (p position) before(q position) bool {
	return p.number < q.number || p.number == q.number && p.offset < q.offset
}

// A progress is what the file "position" holds.
type progress struct {
	read    position // everything before was committed
	synced  position // everything before was on disk
	damaged bool     // Damage was read, and the queue was never empty since
}

const (
	positionName  = "position"
	positionMagic = "MPspillP"
	positionBytes = 8 + 5*8 + 4
)

// save writes the file anew, under another name first, so that a crash leaves the old or the new one.
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

// loadProgress returns the zero progress where there is no file, and lost where it is not valid.
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
