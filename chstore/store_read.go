package chstore

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
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
// was received, which can be after updates that follow it by id. BookAt matches them by id.
//
// An error ends the iteration. Records stream from the server, one query for each table: memory does
// not grow with the range. The queries end when the caller stops, or ctx ends.
func (s *Store) Records(ctx context.Context, q Query) iter.Seq2[marketprism.Record, error] {
	return func(yield func(marketprism.Record, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		end := s.observe(opRecords)
		m, err := s.openMerge(ctx, q)
		end(&err)
		defer m.close()
		defer cancel() // before close, which would otherwise read all remaining rows
		for err == nil {
			var rec marketprism.Record
			var ok bool
			if rec, ok, err = m.next(ctx); err == nil {
				if !ok || !yield(rec, nil) {
					return
				}
			}
		}
		yield(marketprism.Record{}, err)
	}
}

// kindsByTable returns the wanted kinds of each table.
func kindsByTable(kinds []marketprism.Kind) (byTable [tableCount][]marketprism.Kind, err error) {
	if len(kinds) == 0 {
		kinds = marketprism.Kinds()
	}
	for _, k := range kinds {
		if k.String() == "unknown" {
			return byTable, fmt.Errorf("%w: %d", marketprism.ErrKind, k)
		}
		t := tableOf(k)
		byTable[t] = append(byTable[t], k)
	}
	return byTable, nil
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
		err = r.missingError(ctx, t, b.missing)
	}
	if err != nil {
		return nil, err
	}
	return b.book(), nil
}

func (s *Store) reader(i marketprism.Instrument) *reader { return &reader{s.db, i} }
