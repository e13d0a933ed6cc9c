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

// A recordFile writes the files of a Recorder, one after the other. It writes whole lines, and a flush
// completes a block of the compression: after a crash, a file can be read at least to its last flush.
type recordFile struct {
	cfg   *RecorderConfig
	begun uint64 // files created

	lines, flushed uint64 // written; passed to the operating system

	file    *os.File // nil if there is none
	plain   *bufio.Writer
	zip     CompressionWriter // nil without compression
	out     io.Writer
	opened  time.Time
	written int64
	text    []byte
}

// line writes a line and returns its length; 0 if the format excludes it.
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
	if err := f.prepare(time.Unix(0, r.at)); err != nil {
		return 0, err
	}
	if _, err = f.out.Write(f.text); err != nil {
		return 0, err
	}
	f.written += int64(len(f.text))
	f.lines++
	return len(f.text), nil
}

// prepare makes sure that a file with room for one more line is open.
func (f *recordFile) prepare(now time.Time) error {
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

// create creates a file named by the time, or by the first nanosecond after it that is free.
func (f *recordFile) create(now time.Time) (*os.File, error) {
	suffix := ".ndjson"
	if !f.cfg.Plain {
		suffix += f.cfg.Compression.Suffix
	}
	for {
		name := f.cfg.Name + "-" + now.UTC().Format("20060102T150405.000000000Z") + suffix
		file, err := os.OpenFile(filepath.Join(f.cfg.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			f.syncDir()
			return file, err
		}
		now = now.Add(1)
	}
}

// syncDir syncs the folder, so that the new file is in it after a power cut.
func (f *recordFile) syncDir() {
	if dir, err := os.Open(f.cfg.Dir); err == nil {
		_ = dir.Sync() // Windows cannot
		_ = dir.Close()
	}
}

// flush passes all lines to the operating system. It closes a file that has reached its age, even if
// nothing more comes.
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
