package chstore

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// A Query selects records of one instrument.
type Query struct {
	Instrument marketprism.Instrument
	Kinds      []marketprism.Kind // none means all
	From, To   time.Time          // on Record.Time(), From included and To not; zero means no bound
}

// Records returns the records that q selects in the order of Record.Time(), and of equal times book
// records by update id, then trades by id. A record that is stored more than once, by Record.Key, is
// returned once, the earliest. Records belong to the caller. Times are in UTC; sides without levels
// are nil; the cause of a gap is an orderbook.Cause. Gap records are what collectors know they missed; Check
// finds the rest.
//
// Time order is not arrival order: a snapshot without a time of the exchange has the time at which it
// was received, which can be after updates that follow it by id. BookAt matches them by id, an orderbook.Joiner makes a
// book of them, and Replay gives the order of Record's contract. A record whose id comes again after ids went back (a Gap
// with GapRegressed), with other content, or much later by the exchange's clock, is no copy.
//
// An error ends the iteration. Records stream from the server, one query for each table: memory does
// not grow with the range. The queries end when the caller stops, or ctx ends.
func (s *Store) Records(ctx context.Context, q Query) iter.Seq2[marketprism.Record, error] {
	return func(yield func(marketprism.Record, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		end := s.observe(opRecords)
		m := &merge{pool: &recordPool{}}
		epochs, err := readEpochs(ctx, s.db, q.Instrument)
		if err == nil {
			err = m.open(ctx, s.db, q, epochs)
		}
		end(&err)
		defer m.close()
		defer cancel() // before close, which would otherwise read all remaining rows
		for err == nil {
			var r *timedRecord
			if r, err = m.next(ctx); err == nil {
				if r == nil || !yield(r.rec, nil) {
					return
				}
				m.pool.put(r)
			}
		}
		yield(marketprism.Record{}, err)
	}
}

// BookAt returns the book of an instrument at a time: a snapshot, and on it the updates up to t, by the
// rule of orderbook.Joiner. Times are those of Record.Time: the exchange's, but a spot snapshot has the time at
// which it was received. Snapshot and updates are matched by id, so a wrong clock of the collector does
// no harm. The book is the caller's.
//
// It returns a *MissingError where updates between the snapshot and t are missing, by their ids. A Gap
// record alone does not count: if the ids before and after it follow each other, no update was missed. The
// error wraps ErrNoSnapshot where there is no snapshot to start from.
func (s *Store) BookAt(ctx context.Context, i marketprism.Instrument, t time.Time) (book *orderbook.Book, err error) {
	defer s.observe(opBookAt)(&err)
	r := s.reader(i)
	b, err := r.bookAt(ctx, t)
	if err == nil && b.missing != nil {
		err = r.missingError(ctx, t, b)
	}
	if err != nil {
		return nil, err
	}
	return b.book(), nil
}

// Span returns the times of the first snapshot and of the last snapshot or update of an instrument that are stored: BookAt has
// no book before the first, and the last one's from then on. Both are zero if no snapshot is stored.
func (s *Store) Span(ctx context.Context, i marketprism.Instrument) (first, last time.Time, err error) {
	defer s.observe(opBookAt)(&err)
	sc := checkInstruments(CheckQuery{Instruments: []marketprism.Instrument{i}})
	from := func(t table) string { return " FROM " + s.tableName(t.name()) + " WHERE " + sc.where }
	var snapshots uint64
	var firstSnapshot, lastSnapshot, lastUpdate int64
	err = s.conn.oneRow(ctx, nil, "SELECT count(), toInt64(min(toUnixTimestamp64Nano(ts))), toInt64(max(toUnixTimestamp64Nano(ts))), (SELECT toInt64(max(toUnixTimestamp64Nano(ts)))"+
		from(depthTable)+")"+from(snapshotTable), sc.args, &snapshots, &firstSnapshot, &lastSnapshot, &lastUpdate)
	if err != nil {
		return time.Time{}, time.Time{}, fmt.Errorf("chstore: span of %s: %w", i, withCause(ctx, err))
	}
	if snapshots == 0 {
		return time.Time{}, time.Time{}, nil
	}
	return fromNanos(firstSnapshot), fromNanos(max(lastSnapshot, lastUpdate)), nil
}

// Books returns the states of a book over a span of time, each the one that BookAt returns for its At,
// from one pass over the stored records. Of several updates with one time, BookAt returns the book after the
// last. States begin with the first book. Where updates are missing there is one state with Missing; steps up to the
// next book are left out.
//
// One pass places a spot snapshot by the collector's clock, to within ten minutes: where that clock was
// further off, which Check reports, use BookAt, which goes by ids alone.
//
// The iteration ends with an error, if any, which wraps ErrQuery for steps that are negative or have no From. It
// streams: memory does not grow with the range.
func (s *Store) Books(ctx context.Context, q BookQuery) iter.Seq2[BookState, error] {
	return func(yield func(BookState, error) bool) {
		if q.Every < 0 || q.Every > 0 && q.From.IsZero() {
			yield(BookState{}, fmt.Errorf("%w: Every %v from %v", ErrQuery, q.Every, q.From))
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		end := s.observe(opBooks)
		f, err := openFeed(ctx, s.db, Query{Instrument: q.Instrument, Kinds: bookKinds(), From: q.From, To: q.To}, lookBack)
		end(&err)
		defer f.close()
		defer cancel() // before close, which would otherwise read all remaining rows
		p := &bookStates{reader: s.reader(q.Instrument), q: q, step: q.From, yield: yield}
		if err == nil {
			err = p.run(ctx, f)
		}
		if err != nil && !p.stopped {
			yield(BookState{}, err)
		}
	}
}

func (s *Store) reader(i marketprism.Instrument) *reader { return &reader{s.db, i} }

// Replay writes stored records to dst in the order of their time, as a live feed would: a sink for live
// records can read the archive. They come in the order of marketprism.Record's contract: a reader that begins a book with
// each Snapshot, ends it with each Gap and skips updates whose ids it has, has the book that BookAt gives. So the Snapshot of an
// instrument comes before the Updates that follow it by id and after the Gap that it ends, although a spot snapshot was
// received after some of them. As in Books, the collector's clock must be right to within ten minutes for that. Updates
// of servers whose clocks are up to five seconds apart come in the order of their ids. A Gap is added where ids show
// that updates are missing and no record says so; one that ids refute waits for the next Snapshot, and is left out where
// none comes, as is a Snapshot that came after updates with higher ids.
//
// Writes follow one another, and each has its records in the memory of earlier ones. So a slow dst slows the replay down, and an error of dst ends it. With a
// Speed, each Write has the records that are due; it may be late, never early, and the replay catches up.
//
// It streams: memory does not grow with the range, but every instrument needs a connection for each of
// the tables that Kinds need, up to five, and the replay one more. The error is that of dst, of the driver or of
// ctx, or wraps ErrQuery, also where the pool has fewer connections.
func (s *Store) Replay(ctx context.Context, q ReplayQuery, cfg ReplayConfig, dst sink.Sink) error {
	cfg, err := cfg.withDefaults(q)
	if err != nil {
		return err
	}
	r := &replay{db: s.db, q: q, cfg: cfg, pool: &recordPool{reuse: true}}
	if err := r.checkPool(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	end := s.observe(opReplay)
	err = r.open(ctx)
	end(&err)
	defer r.close()
	defer cancel() // before close, which would otherwise read all remaining rows
	if err != nil {
		return err
	}
	return writeInTime(ctx, r.records(ctx), cfg, r.pool, dst)
}
