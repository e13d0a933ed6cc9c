package sink

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/wal"
)

// A load is a batch of a Spill's queue and its records.
type load struct {
	batch wal.Batch
	err   error // of reading it
	recs  []marketprism.Record
	errs  []error // of decoding each of batch.Entries; nil for damage
}

// after reads and decodes the batch behind another.
func (l *load) after(before *wal.Batch, queue *wal.Queue, cfg *SpillConfig) {
	l.recs, l.errs = l.recs[:0], l.errs[:0]
	l.err = queue.ReadAfter(before, &l.batch, cfg.MaxBatch, drainBytes)
	if l.err != nil {
		return
	}
	decode := cfg.Decode
	if cfg.Peek != nil {
		decode = cfg.Peek
	}
	for i := range l.batch.Entries {
		var r marketprism.Record
		var err error
		if entry := &l.batch.Entries[i]; entry.Damage == nil {
			err = decode(entry.Payload, &r)
		}
		l.recs, l.errs = append(l.recs, r), append(l.errs, err)
	}
}

// free frees the memory that the records point to.
func (l *load) free() {
	clear(l.recs)
	clear(l.errs)
}

// entryOf returns the entry that r was decoded from; nil for a Gap that was made since.
func (l *load) entryOf(r *marketprism.Record) *wal.Entry {
	for i := range l.recs {
		if isSame(&l.recs[i], r) {
			return &l.batch.Entries[i]
		}
	}
	return nil
}

// whole returns r with what Peek left out.
func (l *load) whole(r *marketprism.Record, cfg *SpillConfig) *marketprism.Record {
	if cfg.Peek == nil || r.Update == nil {
		return r
	}
	entry, whole := l.entryOf(r), new(marketprism.Record)
	if entry == nil || cfg.Decode(entry.Payload, whole) != nil {
		return r
	}
	return whole
}

// withoutBodies appends nil to bodies, up to n of them.
func withoutBodies(bodies [][]byte, n int) [][]byte {
	for len(bodies) < n {
		bodies = append(bodies, nil)
	}
	return bodies
}

// bodiesOf returns the bodies of recs, some of all in the same order and a Gap that was made since, which has none.
func bodiesOf(recs, all []marketprism.Record, bodies [][]byte) [][]byte {
	of := make([][]byte, len(recs))
	next := 0
	for i := range recs {
		for at := next; at < len(all); at++ {
			if isSame(&recs[i], &all[at]) {
				of[i], next = bodies[at], at+1
				break
			}
		}
	}
	return of
}
