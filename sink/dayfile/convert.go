package dayfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// A conversion makes the files of one day.
type conversion struct {
	day      int32
	segments []segment
	dir      string
	logDir   string
	format   Format
	hooks    *Hooks
	lateness time.Duration
}

// run makes the files. If the day is over it also keeps the books at its end, for the next day.
func (c *conversion) run(ctx context.Context, isOver bool) error {
	temp, err := os.MkdirTemp(c.logDir, "split-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	carried, err := loadCarried(c.logDir, c.day-1)
	if err != nil {
		return err
	}
	streams, damage, err := c.split(temp, carried)
	if err != nil {
		return err
	}
	for _, in := range c.instruments(streams, carried) {
		if err := ctx.Err(); err != nil {
			return err
		}
		begun := time.Now()
		state, ok := carried[in]
		if !ok {
			state.bookState = before(c.dir, in, c.day)
		}
		day := &Day{Instrument: in, Date: startOf(c.day), root: c.dir, lateness: c.lateness, streams: streams, begin: state, end: state}
		if day.isQuiet() {
			continue // nothing happened: the state stays
		}
		if err := c.format.Convert(ctx, day); err != nil {
			return errors.Join(fmt.Errorf("%v: %w", in, err), day.discard())
		}
		m, err := day.commit(c.format.Name(), damage)
		if err != nil {
			return fmt.Errorf("%v: %w", in, errors.Join(err, day.discard()))
		}
		carried[in] = day.end
		hook.Call(c.hooks.Written, WrittenInfo{Manifest: m, Elapsed: time.Since(begun)})
	}
	if !isOver {
		return nil
	}
	return storeCarried(c.logDir, c.day, carried)
}

// before returns the numbers at which the day before ended, by its manifest.
func before(dir string, in marketprism.Instrument, day int32) bookState {
	m, err := ReadManifest(dir, in, startOf(day-1))
	if err != nil {
		return bookState{}
	}
	s := bookState{Seq: m.Seq}
	if n := len(m.Spans); n > 0 {
		s.Span = m.Spans[n-1].Span
	}
	return s
}

// instruments returns those of the day in order of their names.
func (c *conversion) instruments(streams map[stream]*spool, carried map[marketprism.Instrument]carry) []marketprism.Instrument {
	seen := make(map[marketprism.Instrument]bool)
	for s := range streams {
		seen[s.instrument] = true
	}
	for in := range carried {
		seen[in] = true
	}
	all := make([]marketprism.Instrument, 0, len(seen))
	for in := range seen {
		all = append(all, in)
	}
	slices.SortFunc(all, func(a, b marketprism.Instrument) int { return cmp.Compare(a.String(), b.String()) })
	return all
}

// split writes the records of the day to one temporary file a stream, and counts the places where the log is damaged.
func (c *conversion) split(dir string, carried map[marketprism.Instrument]carry) (map[stream]*spool, int, error) {
	streams := make(map[stream]*spool)
	seqs := make(map[marketprism.Instrument]int64)
	for in, state := range carried {
		seqs[in] = state.Seq
	}
	damage := 0
	zip, err := newPacker()
	if err != nil {
		return nil, 0, err
	}
	defer zip.Close()
	open := func(s stream) *spool {
		sp := streams[s]
		if sp == nil {
			sp = &spool{path: filepath.Join(dir, strconv.Itoa(len(streams))), instrument: s.instrument}
			streams[s] = sp
		}
		return sp
	}
	add := func(e *entry) error {
		in := e.record.Instrument
		seqs[in]++
		e.seq = seqs[in]
		return open(stream{in, classOf(e.record.Kind())}).add(e, zip)
	}
	err = read(c.segments, c.day, add, func(d *DamageError) {
		damage++
		hook.Call(c.hooks.Damaged, DamagedInfo{Err: d})
		for in := range carried {
			open(stream{in, books})
		}
		for s, sp := range streams {
			if s.class == books {
				sp.breakSpan(c.day)
			}
		}
	})
	if err != nil {
		return nil, 0, err
	}
	for _, sp := range streams {
		if err := sp.flush(zip); err != nil {
			return nil, 0, err
		}
	}
	return streams, damage, nil
}
