// Package recording reads recordings of an exchange: files of one JSON object a line, in the order of
// capture, plain or compressed with gzip or zstd.
//
//	{"ts":NANOS,"kind":"rest","path":"/api/v3/depth?symbol=X&limit=1000","body":{…}}
//	{"ts":NANOS,"kind":"ws","frame":{"stream":…,"data":{…}}}
//
// ts is the local receive time in nanoseconds since 1970; body and frame are verbatim. Other keys are
// ignored.
package recording

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"
)

// MaxLine bounds the length of a line, in bytes. A snapshot of 5,000 levels a side has about 320 kB.
const MaxLine = 16 << 20

// maxWindow bounds the memory that the header of a zstd frame can demand. The program zstd stays below
// it by default.
const maxWindow = 128 << 20

// A Reader reads the lines of one recording, one at a time. It is not safe for concurrent use.
type Reader struct {
	name  string
	text  *bufio.Reader
	close func() error
	line  int // number of the last line read, from 1
	buf   []byte
	open  bool  // the last line read has no newline: it is the last one and may be cut
	err   error // the last result of Next, io.EOF or a *LineError; nil before
}

// Open opens a recording file and detects its compression by its first bytes. The caller closes it. The
// errors are those of the file, and a *LineError if its header is broken.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path) // #nosec G304 -- the caller names the file
	if err != nil {
		return nil, err
	}
	r, err := NewReader(path, f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	release := r.close
	r.close = func() error { return errors.Join(release(), f.Close()) }
	return r, nil
}

// NewReader returns a Reader of src, which it does not close. The name is for error messages. The error
// is a *LineError if a compressed recording's header is broken.
func NewReader(name string, src io.Reader) (*Reader, error) {
	r := &Reader{name: name, close: func() error { return nil }}
	plain := bufio.NewReaderSize(src, 64<<10)
	magic, _ := plain.Peek(4) // a shorter file is not compressed; an error comes again on reading
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		unzip, err := gzip.NewReader(plain)
		if err != nil {
			return nil, &LineError{Name: name, Line: 1, Err: truncated(err)}
		}
		r.text = bufio.NewReaderSize(unzip, 64<<10) // Close of unzip releases nothing
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		unzip, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, &LineError{Name: name, Line: 1, Err: truncated(err)}
		}
		r.text = bufio.NewReaderSize(unzip, 64<<10)
		r.close = func() error { unzip.Close(); return nil }
	default:
		r.text = plain
	}
	return r, nil
}

// Next returns the next line, which stays valid. The error is io.EOF after the last one, else a
// *LineError; every later call returns it again. A recorder that was killed leaves half a line at the
// end: that is ErrTruncated, after all complete lines.
func (r *Reader) Next() (Line, error) {
	if r.err != nil {
		return Line{}, r.err
	}
	text, err := r.nextText()
	if err == nil {
		var l Line
		if l, err = parse(text); err == nil {
			return l, nil
		}
		if r.open {
			err = ErrTruncated
		}
	}
	r.err = err
	if err != io.EOF {
		r.err = &LineError{Name: r.name, Line: r.line, Err: err}
	}
	return Line{}, r.err
}

// nextText returns the next line that is not blank, without its newline.
func (r *Reader) nextText() ([]byte, error) {
	for {
		r.line++
		r.buf = r.buf[:0]
		for {
			part, err := r.text.ReadSlice('\n')
			r.buf = append(r.buf, part...)
			switch {
			case len(r.buf) > MaxLine:
				return nil, ErrTooLong
			case err == nil:
			case err == bufio.ErrBufferFull:
				continue
			case err == io.EOF && len(r.buf) == 0:
				return nil, io.EOF
			case err == io.EOF:
				r.open = true
			default:
				return nil, truncated(err)
			}
			break
		}
		if text := bytes.TrimSpace(r.buf); len(text) > 0 {
			return text, nil
		}
	}
}

// truncated returns ErrTruncated for an input that ends too early, else err.
func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}

// Line returns the number of the line that Next returned last, from 1, in the uncompressed file.
func (r *Reader) Line() int { return r.line }

// Lines yields the lines up to the end of the recording, or to the first error, which comes last.
func (r *Reader) Lines() iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for {
			l, err := r.Next()
			if err == io.EOF || !yield(l, err) || err != nil {
				return
			}
		}
	}
}

// Close releases the decoder and, after Open, closes the file.
func (r *Reader) Close() error { return r.close() }
