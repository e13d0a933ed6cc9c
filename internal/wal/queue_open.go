package wal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	suffix    = ".wal"
	badSuffix = ".bad"
)

func segmentName(number uint64) string { return fmt.Sprintf("%016d%s", number, suffix) }

// A Recovery describes what Open found.
type Recovery struct {
	Stats
	TornBytes    int64 // cut off at the end: of payloads that were never accepted
	PositionLost bool  // the read position is unknown: some payloads are read again
	Damaged      bool  // see Queue.Damaged
}

// Open opens the folder for one process at a time, and reads through all of it once. Its errors are
// ErrLocked and those of the file system.
func Open(cfg Config) (_ *Queue, _ Recovery, err error) {
	if err := makeDir(filepath.Clean(cfg.Dir)); err != nil {
		return nil, Recovery{}, err
	}
	lock, err := lock(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return nil, Recovery{}, err
	}
	q := &Queue{cfg: cfg, lock: lock}
	var r Recovery
	if err := q.recover(&r); err != nil {
		return nil, Recovery{}, errors.Join(err, lock.Close())
	}
	r.Stats, r.Damaged = q.Stats(), q.progress.damaged
	return q, r, nil
}

// makeDir creates a folder and its parents, and syncs each parent: after a power cut the content of a folder that
// its parent does not list is lost.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	if err := makeDir(above); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

func (q *Queue) recover(r *Recovery) (err error) {
	if q.progress, r.PositionLost, err = loadProgress(q.cfg.Dir); err != nil {
		return err
	}
	q.last = max(q.progress.read.number, q.progress.synced.number)
	if err := q.list(); err != nil {
		return err
	}
	var drained, kept []segment
	for i, s := range q.segments {
		last := i == len(q.segments)-1
		if s, err = q.count(s, last, r); err != nil {
			return err
		}
		// An empty segment after others stays, so that no number is missing.
		if q.left(s) == 0 && len(kept) == 0 {
			drained = append(drained, s)
			continue
		}
		kept = append(kept, s)
	}
	q.segments = kept
	q.passDrained()
	if q.empty() {
		q.progress.damaged = false
	}
	if len(drained) == 0 {
		return nil
	}
	return errors.Join(q.save(), q.remove(drained)) // in this order, as in Commit
}

// list lists the segments.
func (q *Queue) list() error {
	entries, err := os.ReadDir(q.cfg.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, bad := strings.CutSuffix(entry.Name(), badSuffix)
		digits, ok := strings.CutSuffix(name, suffix)
		number, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || name != segmentName(number) {
			continue
		}
		q.last = max(q.last, number) // a number is never reused, not even that of a damaged segment
		if bad {
			q.bad++
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		q.segments = append(q.segments, segment{number: number, size: info.Size()})
	}
	slices.SortFunc(q.segments, func(a, b segment) int { return cmp.Compare(a.number, b.number) })
	q.addMissing()
	return nil
}

// addMissing adds a segment for each missing number, between two segments and from the read
// position to the last synced segment, and gives that one its synced size: reading them reports the
// Damage.
func (q *Queue) addMissing() {
	read, synced := q.progress.read, q.progress.synced
	first, last := uint64(1), uint64(0)
	if n := len(q.segments); n > 0 {
		first, last = max(q.segments[0].number, read.number+1), q.segments[n-1].number
	}
	if read.before(synced) { // its segment was not read to the end, see passDrained
		first, last = max(read.number, 1), max(last, synced.number)
	}
	for i, number := 0, first; number <= last; number++ {
		for i < len(q.segments) && q.segments[i].number < number {
			i++
		}
		if i == len(q.segments) || q.segments[i].number > number {
			q.segments = slices.Insert(q.segments, i, segment{number: number, size: segmentHeader + 1})
		}
	}
	for i, s := range q.segments {
		if s.number == synced.number {
			q.segments[i].size = max(s.size, synced.offset)
		}
	}
}

// count counts the unread payloads of a segment, and cuts off the torn end of the last segment.
func (q *Queue) count(s segment, last bool, r *Recovery) (segment, error) {
	if s.number < q.progress.read.number {
		return s, nil
	}
	f, err := os.Open(q.path(s.number))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer f.Close()
	scan := &scanner{file: f, path: f.Name(), number: s.number, end: s.size}
	if s.number == q.progress.read.number {
		scan.offset = min(q.progress.read.offset, s.size)
	}
	var tail *Damage // the first of those at the end
	for {
		_, damage, err := scan.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return s, err
		}
		switch {
		case damage == nil:
			tail = nil
			s.payloads++
		case tail == nil:
			tail = damage
		}
	}
	if !last || tail == nil || (position{s.number, tail.From}).before(q.progress.synced) {
		return s, nil
	}
	r.TornBytes = s.size - tail.From
	s.size = tail.From
	return s, truncate(f.Name(), s.size)
}
