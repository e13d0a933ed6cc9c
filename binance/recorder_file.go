package binance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// A recordFile is the file that a Recorder writes, and those that follow it. Between two flushes only
// whole lines were given to the file, and a flush ends a block of the compression: what a crash leaves
// can be read up to the last flush at least.
type recordFile struct {
	cfg   *RecorderConfig
	begun uint64

	lines, flushed uint64 // written, and of these given to the operating system

	file    *os.File // nil if there is none
	plain   *bufio.Writer
	zip     CompressionWriter // nil without compression
	out     io.Writer
	opened  time.Time
	written int64
	text    []byte
}

// line writes a line and returns its length; 0 if the format has no place for it.
func (f *recordFile) line(r received, data []byte) (n int, err error) {
	if r.path == "" && !bytes.HasPrefix(data, []byte(`{"stream":`)) || !json.Valid(data) {
		return 0, nil
	}
	f.text = append(f.text[:0], `{"ts":`...)
	f.text = strconv.AppendInt(f.text, r.at, 10)
	if r.path == "" {
		f.text = append(f.text, `,"kind":"ws","frame":`...)
	} else {
		path, err := json.Marshal(r.path)
		if err != nil {
			return 0, err
		}
		f.text = append(append(f.text, `,"kind":"rest","path":`...), path...)
		f.text = append(f.text, `,"body":`...)
	}
	begin := len(f.text)
	f.text = append(f.text, data...)
	// A line break in JSON can only be white space between its parts.
	for i, c := range f.text[begin:] {
		if c == '\n' || c == '\r' {
			f.text[begin+i] = ' '
		}
	}
	f.text = append(f.text, "}\n"...)
	if err := f.turn(time.Unix(0, r.at)); err != nil {
		return 0, err
	}
	if _, err = f.out.Write(f.text); err != nil {
		return 0, err
	}
	f.written += int64(len(f.text))
	f.lines++
	return len(f.text), nil
}

// turn sees to it that there is a file with room for one more line.
func (f *recordFile) turn(now time.Time) error {
	full := f.cfg.MaxBytes > 0 && f.written >= f.cfg.MaxBytes || f.cfg.MaxAge > 0 && now.Sub(f.opened) >= f.cfg.MaxAge
	if f.file != nil && !full {
		return nil
	}
	if err := f.close(); err != nil {
		return err
	}
	file, err := f.create(now)
	if err != nil {
		return err
	}
	f.begun++
	f.file, f.opened, f.written = file, now, 0
	f.plain = bufio.NewWriterSize(file, 64<<10)
	f.out, f.zip = f.plain, nil
	if f.cfg.Plain {
		return nil
	}
	zip, err := f.cfg.Compression.NewWriter(f.plain)
	if err != nil {
		return fmt.Errorf("compression: %w", err) // zip may be a nil pointer in the interface
	}
	f.out, f.zip = zip, zip
	return nil
}

// create makes a file that is named by the time, or by the next nanosecond of which there is none yet.
func (f *recordFile) create(now time.Time) (*os.File, error) {
	suffix := ".ndjson"
	if !f.cfg.Plain {
		suffix += f.cfg.Compression.Suffix
	}
	for {
		name := f.cfg.Name + "-" + now.UTC().Format("20060102T150405.000000000Z") + suffix
		file, err := os.OpenFile(filepath.Join(f.cfg.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			f.listed()
			return file, err
		}
		now = now.Add(1)
	}
}

// listed has the folder list its files after a power cut, on the systems that can be told to.
func (f *recordFile) listed() {
	if dir, err := os.Open(f.cfg.Dir); err == nil {
		_ = dir.Sync() // Windows cannot
		_ = dir.Close()
	}
}

// flush gives all that was written to the operating system. A file that has reached its age is closed,
// also if nothing more comes.
func (f *recordFile) flush(now time.Time) error {
	if f.file == nil {
		return nil
	}
	if f.cfg.MaxAge > 0 && now.Sub(f.opened) >= f.cfg.MaxAge {
		return f.close()
	}
	if f.flushed == f.lines {
		return nil
	}
	if f.zip != nil {
		if err := f.zip.Flush(); err != nil {
			return err
		}
	}
	if err := f.plain.Flush(); err != nil {
		return err
	}
	f.flushed = f.lines
	return nil
}

func (f *recordFile) close() error {
	if f.file == nil {
		return nil
	}
	var unzipped error
	if f.zip != nil {
		unzipped = f.zip.Close()
	}
	err := errors.Join(unzipped, f.plain.Flush(), f.file.Sync(), f.file.Close())
	f.file = nil
	if err == nil {
		f.flushed = f.lines
	}
	return err
}
