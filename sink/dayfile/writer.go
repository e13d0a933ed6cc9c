package dayfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/internal/wal"
	"github.com/marketprism/marketprism/sink"
)

// logFolder is the folder of the log. Readers of folders leave out names that begin with _ (Hive, DuckDB, Polars).
const logFolder = "_log"

// A Format makes the files of one instrument and day.
type Format interface {
	// Name is the format's name in manifests and errors.
	Name() string
	// Convert makes the files of a day. It is called by one goroutine at a time.
	Convert(ctx context.Context, day *Day) error
}

// A Config says where a Writer keeps its files. Zero is the default of all fields but Dir.
type Config struct {
	// Dir is the folder of the files, created if it does not exist. One Writer at a time owns it.
	Dir string

	// LogDir is the folder of the log; "" means _log in Dir. Writers with logs of their own may share Dir if they write other instruments.
	LogDir string

	// Lateness is how long after the end of a day, by the clocks of its records, the day's files are made, and
	// records of it refused from then on; 0 means 10 min.
	Lateness time.Duration

	// SegmentBytes is the size of one file of the log; 0 means 256 MiB.
	SegmentBytes int64

	// MaxLogBytes bounds the log, which holds what is not yet in files: at least a day. 0 means no bound but that of the disk.
	MaxLogBytes int64

	// NoSync leaves the syncs of the log to the system: what Write accepted then survives the death of the process, but not a
	// power cut. Files are always synced before they get their names.
	NoSync bool

	Hooks *Hooks // nil means none
}

// Hooks observe a Writer. Any of them may be nil. Hooks must not block and must not call the Writer.
type Hooks struct {
	// Opened: the folder was opened. On the goroutine of New, before it returns.
	Opened func(OpenedInfo)
	// Written: the files of an instrument and day have their names. On the goroutine that converts.
	Written func(WrittenInfo)
	// Damaged: a part of the log does not read back. On the goroutine that converts.
	Damaged func(DamagedInfo)
}

// OpenedInfo describes the log of a folder.
type OpenedInfo struct {
	LogBytes  int64 // of records that are not in files
	TornBytes int64 // cut off at the end: of a Write that a crash interrupted, and that was not accepted
}

// WrittenInfo describes the files of an instrument and day.
type WrittenInfo struct {
	Manifest *Manifest
	Elapsed  time.Duration
}

// DamagedInfo describes damage of the log.
type DamagedInfo struct {
	Err *DamageError
}

// The reasons for which a Writer refuses records, for errors.Is.
var (
	// ErrClosed is the error of every call after Close.
	ErrClosed = errors.New("dayfile: closed")
	// ErrFull is the error of a Write without room in the log.
	ErrFull = errors.New("dayfile: the log is full")
	// ErrLate is the error for a record of a day whose files are made.
	ErrLate = errors.New("dayfile: the day of the record is over")
	// ErrTime is the error for a record whose time is beyond the year 2261, which no file can hold in nanoseconds.
	ErrTime = errors.New("dayfile: the time of the record is out of range")
)

// A Writer is a sink that makes files. Its methods are safe for concurrent use.
type Writer struct {
	cfg    Config
	format Format
	lock   interface{ Close() error }

	mu        sync.Mutex
	log       *recordLog
	locals    map[stream]int64 // the effective local clock of each stream, in ns
	maxLocal  int64            // of all records: the clock by which days end
	sealed    int32            // the last day of which no more records are accepted
	converted int32            // the last day whose files are made and whose log is gone
	closed    bool
	due       chan struct{} // has room for one: a day may be over

	converting sync.Mutex // held by who makes files
}

// New opens the folder of a Writer, and goes on where the last one ended.
func New(cfg Config, format Format) (*Writer, error) {
	cfg.Lateness = cmp.Or(cfg.Lateness, 10*time.Minute)
	cfg.SegmentBytes = cmp.Or(cfg.SegmentBytes, 256<<20)
	cfg.Hooks = cmp.Or(cfg.Hooks, &Hooks{})
	switch {
	case cfg.Dir == "":
		return nil, errors.New("dayfile: Config.Dir is not set")
	case cfg.Lateness < 0 || cfg.SegmentBytes < 0 || cfg.MaxLogBytes < 0:
		return nil, errors.New("dayfile: Config has a negative bound")
	}
	dir := cmp.Or(cfg.LogDir, filepath.Join(cfg.Dir, logFolder))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := wal.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	w := &Writer{cfg: cfg, format: format, lock: lock, locals: make(map[stream]int64), sealed: -1, converted: -1, due: make(chan struct{}, 1)}
	if w.log, err = openLog(dir, cfg.SegmentBytes, !cfg.NoSync); err == nil {
		err = w.restore()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	hook.Call(cfg.Hooks.Opened, OpenedInfo{LogBytes: w.log.bytes, TornBytes: w.log.torn})
	return w, nil
}

// restore takes up the state of the Writer that had the folder before.
func (w *Writer) restore() error {
	if err := removePartial(w.cfg.Dir); err != nil {
		return err
	}
	day, err := lastCarried(w.log.dir)
	if err != nil {
		return err
	}
	w.converted, w.sealed = day, day
	if err := w.log.remove(day); err != nil { // its files were made before the crash
		return err
	}
	for i := range w.log.segments {
		w.maxLocal = max(w.maxLocal, int64(w.log.segments[i].lastDay)*nanosPerDay)
	}
	return nil
}

// Write appends recs to the log. The error is a *sink.RefusedError for records that are not valid (see
// marketprism.Record.Validate), late or out of range; ErrFull or ErrClosed; or that of the disk.
func (w *Writer) Write(ctx context.Context, recs []marketprism.Record) error {
	if err := ctx.Err(); err != nil || len(recs) == 0 {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return ErrClosed
	case w.cfg.MaxLogBytes > 0 && w.log.bytes >= w.cfg.MaxLogBytes:
		return ErrFull
	}
	entries, advanced, err := w.place(recs)
	if err != nil {
		return err
	}
	if err := w.log.append(entries); err != nil {
		return err
	}
	for s, local := range advanced {
		w.locals[s] = local
		w.maxLocal = max(w.maxLocal, local)
	}
	if w.dueDay() > w.converted {
		select {
		case w.due <- struct{}{}:
		default:
		}
	}
	return nil
}

// place returns recs with their effective local clocks, and those of their streams afterwards.
func (w *Writer) place(recs []marketprism.Record) ([]entry, map[stream]int64, error) {
	entries := make([]entry, len(recs))
	advanced := make(map[stream]int64)
	var refused []sink.Refusal
	for i := range recs {
		r := &recs[i]
		s := stream{r.Instrument, classOf(r.Kind())}
		local, err := localClock(r)
		if err == nil {
			before, ok := advanced[s]
			if !ok {
				before = w.locals[s]
			}
			if local = max(local, before); dayOf(local) <= w.sealed {
				err = ErrLate
			}
		}
		if err != nil {
			refused = append(refused, sink.Refusal{Index: i, Err: err})
			continue
		}
		advanced[s] = local
		entries[i] = entry{record: *r, local: local}
	}
	if refused != nil {
		return nil, nil, &sink.RefusedError{Records: refused}
	}
	return entries, advanced, nil
}

// localClock returns the local clock of a record in ns since 1970; the exchange's where it has none.
func localClock(r *marketprism.Record) (int64, error) {
	if err := r.Validate(); err != nil {
		return 0, err
	}
	_, transact := flagsOf(r)
	for _, t := range [...]time.Time{r.EventTime, r.ReceivedAt, transact} {
		if t.Year() > 2261 || !t.IsZero() && t.Year() < 1700 {
			return 0, ErrTime
		}
	}
	if r.ReceivedAt.IsZero() {
		return r.EventTime.UnixNano(), nil
	}
	return r.ReceivedAt.UnixNano(), nil
}

// dueDay returns the last day that is over by the clocks of the records.
func (w *Writer) dueDay() int32 { return dayOf(w.maxLocal-int64(w.cfg.Lateness)) - 1 }

// Run makes the files of each day once it is over, and returns nil when ctx has ended. Records of days that are not over stay in the
// log for the next Writer of the folder, or for Flush. An error ends Run, and the next Run or Flush tries again.
func (w *Writer) Run(ctx context.Context) error {
	for {
		w.mu.Lock()
		day := w.dueDay()
		w.mu.Unlock()
		if err := w.convert(ctx, day); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.due:
		}
	}
}

// Flush makes the files of the days that end at or before until, or of all that the log has records of if until is zero. The log of a
// day that is not over by the clock of this machine is kept, so that a Writer that goes on in the folder makes its files again, complete.
func (w *Writer) Flush(ctx context.Context, until time.Time) error {
	w.mu.Lock()
	day := dayOf(w.maxLocal)
	closed := w.closed
	w.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if !until.IsZero() {
		day = dayOf(until.UnixNano()) - 1
	}
	return w.convert(ctx, day)
}

// Close releases the folder. It makes no files: see Flush.
func (w *Writer) Close() error {
	w.converting.Lock()
	defer w.converting.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	return errors.Join(w.log.close(), w.lock.Close())
}

// convert makes the files of the days up to last that the log has records of.
func (w *Writer) convert(ctx context.Context, last int32) error {
	w.converting.Lock()
	defer w.converting.Unlock()
	for {
		w.mu.Lock()
		day, segments, closed := w.nextDay(last), slices.Clone(w.log.segments), w.closed
		isOver := day < dayOf(time.Now().UnixNano())
		if isOver && day <= last {
			w.sealed = max(w.sealed, day)
		}
		w.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case day > last:
			return nil
		}
		c := conversion{day: day, segments: segments, dir: w.cfg.Dir, logDir: w.log.dir, format: w.format, hooks: w.cfg.Hooks, lateness: w.cfg.Lateness}
		if err := c.run(ctx, isOver); err != nil {
			return fmt.Errorf("dayfile: convert %s to %s: %w", dateOf(day), w.format.Name(), err)
		}
		if !isOver {
			return nil
		}
		w.mu.Lock()
		w.converted = day
		err := w.log.remove(day)
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// nextDay returns the first day after converted that a segment may have records of; a later day than last if there is
// none.
func (w *Writer) nextDay(last int32) int32 {
	next := last + 1
	for _, s := range w.log.segments {
		if s.lastDay > w.converted {
			next = min(next, max(s.firstDay, w.converted+1))
		}
	}
	return next
}
