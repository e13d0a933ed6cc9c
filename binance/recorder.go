package binance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/internal/defaults"
)

// A RecorderConfig describes a Recorder. Only Dir must be set.
type RecorderConfig struct {
	Dir  string // folder of the files; it must exist
	Name string // the files are NAME-TIME.ndjson.gz; "" means "binance"

	Plain       bool        // write NAME-TIME.ndjson without compression
	Compression Compression // the zero value is gzip

	// MaxBytes and MaxAge bound a file: it ends with the first line that reaches either. Bytes are
	// counted before compression. 0 means 1 GiB and 1 h; negative means no bound.
	MaxBytes int64
	MaxAge   time.Duration

	// FlushEvery is the interval at which lines are passed to the operating system, and so the most that
	// is lost if the process dies. If the machine dies, lines that the operating system has not written
	// are lost too; a completed file is on the disk. 0 means 1 s.
	FlushEvery time.Duration

	// QueueBytes bounds the frames and answers that wait for the disk; 0 means 64 MiB. Those that do not
	// fit are not recorded but counted in RecorderStats.Lost.
	QueueBytes int

	// Lost is called each time the queue becomes full, on a goroutine of its own. Nil means none.
	Lost func()
}

func (cfg RecorderConfig) withDefaults() (RecorderConfig, error) {
	defaults.Set(&cfg.Name, "binance")
	defaults.Set(&cfg.MaxBytes, 1<<30)
	defaults.Set(&cfg.MaxAge, time.Hour)
	defaults.Set(&cfg.FlushEvery, time.Second)
	defaults.Set(&cfg.QueueBytes, 64<<20)
	switch {
	case cfg.Dir == "":
		return cfg, errors.New("binance: RecorderConfig.Dir is empty")
	case (cfg.Compression.Suffix == "") != (cfg.Compression.NewWriter == nil):
		return cfg, errors.New("binance: RecorderConfig.Compression: want both of Suffix and NewWriter, or neither")
	case cfg.Plain && cfg.Compression.NewWriter != nil:
		return cfg, errors.New("binance: RecorderConfig: Plain and Compression exclude each other")
	case cfg.FlushEvery < 0 || cfg.QueueBytes < 0:
		return cfg, fmt.Errorf("binance: FlushEvery %v, QueueBytes %d: want positive bounds", cfg.FlushEvery, cfg.QueueBytes)
	}
	if cfg.Compression.NewWriter == nil {
		cfg.Compression = Compression{Suffix: ".gz", NewWriter: newGzip}
	}
	return cfg, nil
}

// A Compression is a format for a Recorder's files. This package has gzip; the program brings any other,
// so that a bot links only what it uses. For zstd, with github.com/klauspost/compress/zstd:
//
//	Compression{Suffix: ".zst", NewWriter: func(w io.Writer) (CompressionWriter, error) { return zstd.NewWriter(w) }}
type Compression struct {
	Suffix    string                                     // of the files' names after ".ndjson"
	NewWriter func(io.Writer) (CompressionWriter, error) // for each file
}

// A CompressionWriter compresses one file. After Flush, everything written so far can be read from the
// file although it has no end yet, so a recording survives a crash.
type CompressionWriter interface {
	io.WriteCloser
	Flush() error
}

func newGzip(w io.Writer) (CompressionWriter, error) { return gzip.NewWriter(w), nil }

// A Recorder writes what Clients receive to files, unchanged: each event of the streams and each REST
// answer is one line of JSON.
//
//	{"ts":1770000000182000000,"kind":"ws","frame":{"stream":"btcusdt@trade","data":{…}}}
//	{"ts":1770000000183000000,"kind":"rest","path":"/api/v3/depth?limit=1000&symbol=BTCUSDT","body":{…}}
//
// ts is the local clock in nanoseconds since 1970. Answers to subscriptions, REST answers other than 200
// and invalid JSON are left out. Config.Recorder gives it to Clients, which never wait for the disk. It is
// safe for concurrent use. Run ends with its context; there is nothing to close.
type Recorder struct {
	cfg   RecorderConfig
	ready chan struct{} // holds a token while something is queued

	mu     sync.Mutex
	data   []byte     // of the queued frames and answers, one after the other
	queue  []received // their ends in data
	spare  []byte
	spares []received
	full   bool
	stats  RecorderStats
	err    error // why Run has failed; nothing is recorded after it

	running atomic.Bool
}

// A received is one queued frame or answer.
type received struct {
	at   int64  // local clock, nanoseconds since 1970
	path string // of a REST request; "" for a frame
	end  int    // of its bytes in Recorder.data
}

// RecorderStats are the counters of a Recorder.
type RecorderStats struct {
	Lines   uint64 // written
	Flushed uint64 // lines passed to the operating system: they survive the process
	Bytes   uint64 // of the lines, before compression
	Files   uint64 // created
	Lost    uint64 // frames and answers that came while the queue was full, or after an error of the disk
	Skipped uint64 // frames that are not events, and invalid JSON
}

// NewRecorder returns a Recorder. It fails if cfg is contradictory. Nothing is written before Run.
func NewRecorder(cfg RecorderConfig) (*Recorder, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Recorder{cfg: cfg, ready: make(chan struct{}, 1)}, nil
}

// Stats returns the counters.
func (r *Recorder) Stats() RecorderStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// frame queues a copy of a websocket frame. It does nothing on a nil Recorder.
func (r *Recorder) frame(data []byte, at time.Time) {
	if r != nil {
		r.put("", data, at)
	}
}

// answer queues a copy of the answer to the request of that path and query. It does nothing on a nil
// Recorder.
func (r *Recorder) answer(path string, body []byte, at time.Time) {
	if r != nil {
		r.put(path, body, at)
	}
}

func (r *Recorder) put(path string, data []byte, at time.Time) {
	r.mu.Lock()
	lost := r.err != nil || len(r.data)+len(data) > r.cfg.QueueBytes
	first := lost && !r.full
	r.full = lost
	if lost {
		r.stats.Lost++
	} else {
		r.data = append(r.data, data...)
		r.queue = append(r.queue, received{at: at.UnixNano(), path: path, end: len(r.data)})
	}
	r.mu.Unlock()
	if first && r.cfg.Lost != nil {
		go r.cfg.Lost() // the goroutine here reads a connection, or holds a place in the Budget
	}
	wake(r.ready)
}

// take empties the queue and returns what was in it, valid until the next call.
func (r *Recorder) take() (data []byte, list []received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, list = r.data, r.queue
	r.data, r.queue = r.spare[:0], r.spares[:0]
	r.spare, r.spares = data, list
	return data, list
}

// Run writes the queue, including what came before Run, until ctx ends. It then returns nil, with the
// queue written and the file closed. It returns earlier, with the error, if the disk fails; nothing is
// recorded after that. While it runs, another call returns ErrRunning.
func (r *Recorder) Run(ctx context.Context) error {
	if r.running.Swap(true) {
		return ErrRunning
	}
	defer r.running.Store(false)
	file := &recordFile{cfg: &r.cfg}
	flush := time.NewTicker(r.cfg.FlushEvery)
	defer flush.Stop()
	for {
		var err error
		ended := false
		select {
		case <-r.ready:
			err = r.write(file)
		case now := <-flush.C:
			err = file.flush(now)
			r.noteFlushed(file)
		case <-ctx.Done():
			ended = true
			err = errors.Join(r.write(file), file.close())
			r.noteFlushed(file)
		}
		if err != nil {
			return r.fail(file, err)
		}
		if ended {
			return nil
		}
	}
}

func (r *Recorder) noteFlushed(file *recordFile) {
	r.mu.Lock()
	r.stats.Flushed = file.flushed
	r.mu.Unlock()
}

func (r *Recorder) fail(file *recordFile, err error) error {
	err = fmt.Errorf("binance: recorder: %w", err)
	r.mu.Lock()
	r.err = err
	r.stats.Lost += uint64(len(r.queue))
	r.data, r.queue = nil, nil
	r.mu.Unlock()
	file.close() //nolint:errcheck // err came before
	return err
}

// write writes what is queued.
func (r *Recorder) write(file *recordFile) error {
	data, list := r.take()
	begin := 0
	var written RecorderStats
	var err error
	for _, one := range list {
		var n int
		if n, err = file.line(one, data[begin:one.end]); err != nil {
			break
		}
		begin = one.end
		if n == 0 {
			written.Skipped++
			continue
		}
		written.Lines++
		written.Bytes += uint64(n)
	}
	if err != nil {
		written.Lost = uint64(len(list)) - written.Lines - written.Skipped
	}
	r.mu.Lock()
	r.stats.Lost += written.Lost
	r.stats.Lines += written.Lines
	r.stats.Bytes += written.Bytes
	r.stats.Skipped += written.Skipped
	r.stats.Files = file.begun
	r.stats.Flushed = file.flushed
	r.mu.Unlock()
	return err
}

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
		file, err := os.OpenFile(filepath.Join(f.cfg.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the folder is a setting
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
