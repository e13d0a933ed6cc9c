package sink

import (
	"context"
	"errors"
	"fmt"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/internal/wal"
)

// An encoder makes payloads of records, in memory that it uses again.
type encoder struct {
	encode   func(dst []byte, r *marketprism.Record) ([]byte, error)
	buf      []byte
	payloads [][]byte
}

// all makes e.payloads those of recs.
func (e *encoder) all(recs []marketprism.Record) error {
	e.buf, e.payloads = e.buf[:0], e.payloads[:0]
	for i := range recs {
		payload, err := e.one(&recs[i])
		if err != nil {
			return fmt.Errorf("sink: record %d of %d: %w", i, len(recs), err)
		}
		e.payloads = append(e.payloads, payload)
	}
	return nil
}

// one returns the payload of r. It is valid until the next call of all.
func (e *encoder) one(r *marketprism.Record) ([]byte, error) {
	buf, err := e.encode(e.buf, r)
	if err != nil {
		return nil, err
	}
	start := len(e.buf)
	e.buf = buf
	return buf[start:len(buf):len(buf)], nil
}

// store puts recs on the disk. The caller has its turn.
func (s *Spill) store(ctx context.Context, recs []marketprism.Record) error {
	if err := s.enc.all(recs); err != nil {
		return err
	}
	for i, p := range s.enc.payloads {
		if size := wal.FrameSize(len(p)); size > s.cfg.MaxBytes || len(p) > wal.MaxPayload {
			return fmt.Errorf("%w: record %d of %d has %d bytes, MaxBytes is %d", ErrTooLarge, i, len(recs), size, s.cfg.MaxBytes)
		}
	}
	if s.cfg.Overflow == DropNewest {
		return s.storeSome(recs)
	}
	return s.storeAll(ctx)
}

// storeAll stores the encoded records, and waits for room under Block.
func (s *Spill) storeAll(ctx context.Context) error {
	rest := s.enc.payloads
	for first := true; ; first = false {
		s.mu.Lock()
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		if closed {
			return ErrClosed
		}
		n := fitting(rest, s.room())
		if n < len(rest) {
			if first {
				s.full()
			}
			if s.cfg.Overflow == Fail {
				return fmt.Errorf("%w: %d bytes are on disk, MaxBytes is %d", ErrFull, s.queue.Stats().Bytes, s.cfg.MaxBytes)
			}
		}
		if err := s.append(rest[:n]); err != nil {
			return err
		}
		if rest = rest[n:]; len(rest) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("sink: no room for %d of %d records: %w", len(rest), len(s.enc.payloads), ctx.Err())
		}
	}
}

// fitting returns how many of payloads fit into room.
func fitting(payloads [][]byte, room int64) (n int) {
	for _, p := range payloads {
		if room -= wal.FrameSize(len(p)); room < 0 {
			break
		}
		n++
	}
	return n
}

// storeSome stores those of recs that there is room for, and Gaps for the others, for which there
// always is.
func (s *Spill) storeSome(recs []marketprism.Record) error {
	s.mu.Lock()
	chosen := s.choose(recs)
	s.mu.Unlock()
	stored, err := s.storeChosen(chosen)
	if err != nil {
		s.mu.Lock()
		// What stands for a hole must not be lost with the Write that made it.
		s.accepted.gaps = append(chosen.gapsFrom(stored), s.accepted.gaps...)
		s.mu.Unlock()
		return err
	}
	if chosen.full {
		s.full()
	}
	s.dropped(chosen.dropped)
	return nil
}

// A choice is what becomes of the records of one Write under DropNewest.
type choice struct {
	kept    []keptRecord
	dropped []marketprism.Record
	full    bool
}

// A keptRecord is the payload of a record, or a Gap that has none yet.
type keptRecord struct {
	payload []byte
	gap     *marketprism.Record
}

// choose goes through recs, whose payloads are encoded. s.mu is held.
func (s *Spill) choose(recs []marketprism.Record) (c choice) {
	c.addGaps(s.accepted)
	room := s.room()
	for i := range recs {
		r, size := &recs[i], wal.FrameSize(len(s.enc.payloads[i]))
		switch {
		case size > room:
			c.full = true
			if !s.accepted.open(r, 0) {
				c.dropped = append(c.dropped, *r)
			}
			c.addGaps(s.accepted)
		case !s.accepted.pass(r):
			c.dropped = append(c.dropped, *r)
		default:
			room -= size
			c.kept = append(c.kept, keptRecord{payload: s.enc.payloads[i]})
		}
	}
	return c
}

// addGaps takes the waiting gaps.
func (c *choice) addGaps(h *holes) {
	for _, gap := range h.takeGaps(nil) {
		c.kept = append(c.kept, keptRecord{gap: &gap})
	}
}

// gapsFrom returns the gaps from the nth record on.
func (c *choice) gapsFrom(n int) (gaps []marketprism.Record) {
	for _, kept := range c.kept[n:] {
		if kept.gap != nil {
			gaps = append(gaps, *kept.gap)
		}
	}
	return gaps
}

// storeChosen stores what was kept, and returns how many of that are on disk.
func (s *Spill) storeChosen(c choice) (stored int, err error) {
	payloads := make([][]byte, len(c.kept))
	for i, kept := range c.kept {
		payloads[i] = kept.payload
		if kept.gap == nil {
			continue
		}
		if payloads[i], err = s.enc.one(kept.gap); err != nil {
			return 0, fmt.Errorf("sink: the Gap of %v: %w", kept.gap.Instrument, err)
		}
	}
	return s.appendPayloads(payloads)
}

// room is how many bytes may be appended.
func (s *Spill) room() int64 { return s.cfg.MaxBytes - s.queue.Stats().Bytes }

// full counts a Write that found no room, and tells of it.
func (s *Spill) full() {
	s.mu.Lock()
	s.stats.Full++
	s.mu.Unlock()
	queued := s.queue.Stats()
	hook.Call(s.cfg.Hooks.Full, FullInfo{Overflow: s.cfg.Overflow, Records: queued.Payloads, Bytes: int(queued.Bytes)})
}

func (s *Spill) append(payloads [][]byte) error {
	_, err := s.appendPayloads(payloads)
	return err
}

func (s *Spill) appendPayloads(payloads [][]byte) (n int, err error) {
	n, err = s.queue.Append(payloads)
	if n > 0 {
		s.mu.Lock()
		s.stats.Spilled += uint64(n)
		s.mu.Unlock()
		s.wake()
	}
	switch {
	case errors.Is(err, wal.ErrClosed):
		err = ErrClosed
	case err != nil:
		err = &DiskError{err}
	}
	return n, err
}
