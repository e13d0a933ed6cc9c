package chstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/sink"
)

// A ReplayQuery selects records of several instruments.
type ReplayQuery struct {
	Instruments []marketprism.Instrument
	Kinds       []marketprism.Kind // none means all
	From, To    time.Time          // on Record.Time(), From included and To not; zero means no bound
}

// A ReplayConfig says how fast records are given out. The zero value is as fast as they are taken.
type ReplayConfig struct {
	// Speed is how many seconds of the archive pass in a second: 1 is as it was. 0 means as fast as
	// possible.
	Speed float64
	// Batch is the most records of one Write. 0 means 1000.
	Batch int
	// Books begins the records of each instrument with a Snapshot of its book just before From, where
	// it is known, so that a reader has the book from the first moment on. The record is made from
	// what is stored; its ReceivedAt is From. Stored snapshots with a lower id, which came late, are left
	// out.
	Books bool
}

// ErrReplay is wrapped by the error of Replay for a query or a configuration it cannot follow.
var ErrReplay = errors.New("chstore: cannot replay")

func (cfg ReplayConfig) withDefaults(q ReplayQuery) (ReplayConfig, error) {
	defaults.Set(&cfg.Batch, 1000)
	switch {
	case len(q.Instruments) == 0:
		return cfg, fmt.Errorf("%w: no instruments", ErrReplay)
	case cfg.Speed < 0 || math.IsNaN(cfg.Speed) || math.IsInf(cfg.Speed, 0):
		return cfg, fmt.Errorf("%w: Speed %v", ErrReplay, cfg.Speed)
	case cfg.Batch < 0:
		return cfg, fmt.Errorf("%w: Batch %d", ErrReplay, cfg.Batch)
	case cfg.Books && q.From.IsZero():
		return cfg, fmt.Errorf("%w: Books needs From", ErrReplay)
	}
	return cfg, nil
}

// Replay gives stored records to dst in the order of their time, as a live feed would: what reads the
// exchange reads the archive. As Record has it, the Snapshot of an instrument comes before the Updates
// that follow it by id, although a spot snapshot was received after some of them. As in Books, the collector's
// clock has to be right to within ten minutes for that. Updates of servers whose clocks are up to five
// seconds apart come in the order of their ids.
//
// Writes follow one another, so a slow dst slows the replay down, and an error of dst ends it. With a
// Speed, a Write holds what is due; it may be late, never early, and the time lost is made up for.
//
// It streams: memory does not grow with the range, but every instrument holds a connection for each of
// the tables that Kinds need, up to five, and the replay one more. ErrReplay is the error where the
// pool has fewer, besides those of dst, of the driver and of ctx.
func (s *Store) Replay(ctx context.Context, q ReplayQuery, cfg ReplayConfig, dst sink.Sink) error {
	cfg, err := cfg.withDefaults(q)
	if err != nil {
		return err
	}
	if err := s.checkPool(q); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	end := s.observe(opReplay)
	feeds, err := s.openFeeds(ctx, q, cfg)
	end(&err)
	defer func() {
		cancel() // before close, which would otherwise read all that is left
		for _, f := range feeds {
			f.close()
		}
	}()
	if err != nil {
		return err
	}
	return pace(ctx, mergeFeeds(ctx, feeds), cfg, dst)
}

// checkPool makes sure that there are connections for all that a replay has open at once.
func (s *Store) checkPool(q ReplayQuery) error {
	byTable, err := kindsByTable(q.Kinds)
	if err != nil {
		return err
	}
	need := 1 // for questions in between
	for _, kinds := range byTable {
		if len(kinds) > 0 {
			need += len(q.Instruments)
		}
	}
	if limit := s.conn.Stats().MaxOpenConns; need > limit {
		return fmt.Errorf("%w: it needs %d connections, and MaxOpenConns is %d (ask for fewer instruments or kinds, or give the address max_open_conns=%d)",
			ErrReplay, need, limit, need)
	}
	return nil
}

// openFeeds starts the queries of a replay. What it returns is to be closed, even after an error.
func (s *Store) openFeeds(ctx context.Context, q ReplayQuery, cfg ReplayConfig) (feeds []*instrumentFeed, err error) {
	for _, i := range q.Instruments {
		f := &instrumentFeed{}
		if cfg.Books {
			if err := s.firstBook(ctx, i, q.From, f); err != nil {
				return feeds, err
			}
		}
		feeds = append(feeds, f)
	}
	for n, i := range q.Instruments {
		feeds[n].feed, err = s.openFeedByID(ctx, Query{Instrument: i, Kinds: q.Kinds, From: q.From, To: q.To})
		if err != nil {
			return feeds, err
		}
		if feeds[n].held {
			feeds[n].follow(feeds[n].next.Snapshot.LastID, q.From)
		}
	}
	return feeds, nil
}

// firstBook puts the book just before from in front of a feed.
func (s *Store) firstBook(ctx context.Context, i marketprism.Instrument, from time.Time, f *instrumentFeed) error {
	fold, err := s.reader(i).bookAt(ctx, from.Add(-1))
	switch {
	case errors.Is(err, ErrNoSnapshot):
		return nil
	case err != nil || fold.missing != nil:
		return err
	}
	snapshot := fold.book().Snapshot()
	f.next = marketprism.Record{Instrument: i, EventTime: snapshot.EventTime, ReceivedAt: from, Snapshot: &snapshot}
	f.at, f.held = from, true
	return nil
}

// An instrumentFeed is a feed with its next record.
type instrumentFeed struct {
	*feed
	next marketprism.Record
	at   time.Time
	held bool // there is a next record
	done bool
}

func (f *instrumentFeed) close() {
	if f.feed != nil {
		f.feed.close()
	}
}

// peek makes sure that the next record is there, unless there is none.
func (f *instrumentFeed) peek(ctx context.Context) error {
	if f.held || f.done {
		return nil
	}
	var err error
	f.next, f.at, f.held, err = f.feed.next(ctx)
	f.done = !f.held
	return err
}

// mergeFeeds joins feeds in the order of time, those of equal time in the order of feeds.
func mergeFeeds(ctx context.Context, feeds []*instrumentFeed) iter.Seq2[timedRecord, error] {
	return func(yield func(timedRecord, error) bool) {
		for {
			var first *instrumentFeed
			for _, f := range feeds {
				if err := f.peek(ctx); err != nil {
					yield(timedRecord{}, err)
					return
				}
				if f.held && (first == nil || f.at.Before(first.at)) {
					first = f
				}
			}
			if first == nil {
				return
			}
			first.held = false
			if !yield(timedRecord{first.next, first.at}, nil) {
				return
			}
		}
	}
}
