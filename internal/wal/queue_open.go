package wal

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

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
	lock, err := Lock(filepath.Join(cfg.Dir, "lock"))
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
	return SyncDir(above)
}

func (q *Queue) recover(r *Recovery) (err error) {
	if q.progress, r.PositionLost, err = loadProgress(q.cfg.Dir); err != nil {
		return err
	}
	q.last = max(q.progress.read.number, q.progress.accepted.number)
	if err := q.list(r.PositionLost); err != nil {
		return err
	}
	if err := q.setEnds(); err != nil {
		return err
	}
	var drained, kept []segment
	for i, s := range q.segments {
		torn, err := q.count(&s)
		if err == nil && i == len(q.segments)-1 {
			err = q.cutTorn(&s, torn, r)
		}
		if err != nil {
			return err
		}
		// An empty segment after others stays, so that no number is missing.
		if q.left(s) == 0 && len(kept) == 0 {
			drained = append(drained, s)
			if end := (position{s.number, s.size}); q.progress.read.before(end) {
				q.progress.read = end // so that the segment is not taken for missing
			}
			continue
		}
		kept = append(kept, s)
	}
	q.segments = kept
	q.passDrained()
	if q.empty() {
		q.progress.damaged = false
	}
	for _, s := range q.segments {
		if end := (position{s.number, s.size}); s.size > segmentHeader && q.progress.accepted.before(end) {
			q.progress.accepted = end
		}
	}
	if len(drained) == 0 {
		return nil
	}
	return errors.Join(q.save(), q.remove(drained)) // in this order, as in Commit
}

// list lists the segments, and counts what is kept. lost is that of addMissing.
func (q *Queue) list(lost bool) error {
	entries, err := os.ReadDir(q.cfg.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		number, kept := parseName(entry.Name())
		if number == 0 {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		q.last = max(q.last, number) // a number is never reused, not even that of a damaged segment
		if kept {
			q.kept.Files++
			q.kept.Bytes += occupied(info.Size())
			continue
		}
		q.segments = append(q.segments, segment{number: number, size: info.Size()})
	}
	slices.SortFunc(q.segments, func(a, b segment) int { return cmp.Compare(a.number, b.number) })
	q.addMissing(lost)
	return nil
}

// addMissing adds a segment for each missing number, between two segments and from the read
// position to the last segment that was saved as accepted, and gives that one its size then: reading them reports the
// Damage. If nothing was read yet, the first number is 1; lost means that the position is unknown.
func (q *Queue) addMissing(lost bool) {
	read, accepted := q.progress.read, q.progress.accepted
	first, last := uint64(1), uint64(0)
	if n := len(q.segments); n > 0 {
		last = q.segments[n-1].number
		if lost || read.number > 0 {
			first = max(q.segments[0].number, read.number+1)
		}
	}
	if read.before(accepted) { // its segment was not read to the end, see passDrained
		first, last = max(read.number, 1), max(last, accepted.number)
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
		if s.number == accepted.number {
			q.segments[i].size = max(s.size, accepted.offset)
		}
	}
}

// setEnds gives every segment but the last the size that the header of the next one states: what its file lacks is
// Damage. So is a missing header, also where the next one's is damaged.
func (q *Queue) setEnds() error {
	for i := range q.segments {
		s := &q.segments[i]
		if i == len(q.segments)-1 || s.number < q.progress.read.number {
			continue
		}
		end, err := q.endBefore(q.segments[i+1].number)
		if err != nil {
			return err
		}
		if s.size < segmentHeader {
			s.size = segmentHeader + 1
		}
		s.size = max(s.size, end)
	}
	return nil
}

// endBefore returns the end of the segment before another, as that one's header states it; 0 if it does not.
func (q *Queue) endBefore(number uint64) (int64, error) {
	f, err := os.Open(q.path(number))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var h [segmentHeader]byte
	switch _, err := io.ReadFull(f, h[:]); {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return 0, nil
	case err != nil:
		return 0, err
	}
	if end, ok := parseSegmentHeader(h[:], number); ok {
		return end, nil
	}
	return 0, nil
}

// count counts the unread payloads of a segment, and returns where the damage at its end begins.
func (q *Queue) count(s *segment) (torn int64, err error) {
	if s.number < q.progress.read.number {
		return s.size, nil
	}
	f, err := os.Open(q.path(s.number))
	if errors.Is(err, fs.ErrNotExist) {
		return s.size, nil
	}
	if err != nil {
		return s.size, err
	}
	defer f.Close()
	scan := &scanner{file: f, path: f.Name(), number: s.number, end: s.size}
	if s.number == q.progress.read.number {
		scan.offset = min(q.progress.read.offset, s.size)
	}
	torn = s.size
	for {
		_, damage, err := scan.next()
		switch {
		case err == io.EOF:
			return torn, nil
		case err != nil:
			return torn, err
		case damage == nil:
			torn = s.size
			s.payloads++
		default:
			torn = min(torn, damage.From)
		}
	}
}

// cutTorn cuts off the last segment from torn on, unless it was saved as accepted, and completes a header that a crash
// interrupted: once another segment follows, a missing header is damage.
func (q *Queue) cutTorn(s *segment, torn int64, r *Recovery) error {
	if s.number < q.progress.read.number || (position{s.number, torn}).before(q.progress.accepted) {
		return nil
	}
	path := q.path(s.number)
	if torn < s.size {
		r.TornBytes = s.size - torn
		s.size = torn
		if err := truncate(path, torn); err != nil {
			return err
		}
	}
	if s.size >= segmentHeader {
		return nil
	}
	var before int64
	if n := len(q.segments); n > 1 {
		before = q.segments[n-2].size
	}
	s.size = segmentHeader
	return begin(path, s.number, before)
}

// begin writes the header of an empty segment.
func begin(path string, number uint64, before int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm) // #nosec G304 -- the folder is a setting
	if err != nil {
		return err
	}
	_, err = f.Write(appendSegmentHeader(nil, number, before))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
