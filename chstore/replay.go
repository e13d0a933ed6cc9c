package chstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/sink"
)

// A ReplayQuery selects records of several instruments.
type ReplayQuery struct {
	Instruments []marketprism.Instrument
	Kinds       []marketprism.Kind // none means all
	From, To    time.Time          // on Record.Time(), From included and To not; zero means no bound
}

// A ReplayConfig says how fast records are written. The zero value is as fast as the sink accepts them.
type ReplayConfig struct {
	// Speed is how many seconds of the archive pass in a second: 1 is as it was. 0 means as fast as
	// possible.
	Speed float64
	// Batch is the most records of one Write. 0 means 1000.
	Batch int
	// Books begins the records of each instrument with a Snapshot of its book just before From, where
	// it is synced, so that dst has the book from the first record on. It is built from stored
	// records; its ReceivedAt is From. Stored snapshots with a lower id, which came late, are left out.
	Books bool
}

func (cfg ReplayConfig) withDefaults(q ReplayQuery) (ReplayConfig, error) {
	defaults.Set(&cfg.Batch, 1000)
	switch {
	case len(q.Instruments) == 0:
		return cfg, fmt.Errorf("%w: no instruments", ErrQuery)
	case cfg.Speed < 0 || math.IsNaN(cfg.Speed) || math.IsInf(cfg.Speed, 0):
		return cfg, fmt.Errorf("%w: Speed %v", ErrQuery, cfg.Speed)
	case cfg.Batch < 0:
		return cfg, fmt.Errorf("%w: Batch %d", ErrQuery, cfg.Batch)
	case cfg.Books && q.From.IsZero():
		return cfg, fmt.Errorf("%w: Books needs From", ErrQuery)
	}
	return cfg, nil
}

// A replay reads the records of several instruments.
type replay struct {
	*db
	q     ReplayQuery
	cfg   ReplayConfig
	feeds []*replayFeed
	pool  *recordPool
}

// A replayFeed is the feed of one instrument with its next record.
type replayFeed struct {
	*contractFeed
	peeked *timedRecord // the next record, once it has been read
	ended  bool
}

// checkPool returns an error if there are too few connections for the queries of a replay, which all run at once.
func (r *replay) checkPool() error {
	byTable, err := kindsByTable(r.q.Kinds)
	if err != nil {
		return err
	}
	need := 1 // for queries in between
	for _, kinds := range byTable {
		if len(kinds) > 0 {
			need += len(r.q.Instruments)
		}
	}
	if limit := r.conn.Stats().MaxOpenConns; need > limit {
		return fmt.Errorf("%w: Replay needs %d connections, and MaxOpenConns is %d (ask for fewer instruments or kinds, or give the address max_open_conns=%d)",
			ErrQuery, need, limit, need)
	}
	return nil
}

// open starts the queries. The caller must close the replay, even after an error.
func (r *replay) open(ctx context.Context) error {
	for _, i := range r.q.Instruments {
		f := &replayFeed{}
		if r.cfg.Books {
			var err error
			if f.peeked, err = r.firstBook(ctx, i); err != nil {
				return err
			}
		}
		r.feeds = append(r.feeds, f)
	}
	for n, i := range r.q.Instruments {
		var err error
		f := r.feeds[n]
		f.contractFeed, err = openContractFeed(ctx, r.db, Query{Instrument: i, Kinds: r.q.Kinds, From: r.q.From, To: r.q.To}, r.pool)
		if err != nil {
			return err
		}
		if f.peeked != nil {
			f.continueFrom(f.peeked.rec.Snapshot.LastID, r.q.From)
		}
	}
	return nil
}

func (r *replay) close() {
	for _, f := range r.feeds {
		if f.contractFeed != nil {
			f.contractFeed.close()
		}
	}
}

// firstBook returns the book of an instrument just before From; nil if it is not synced.
func (r *replay) firstBook(ctx context.Context, i marketprism.Instrument) (*timedRecord, error) {
	from := r.q.From
	b, err := (&reader{r.db, i}).bookAt(ctx, from.Add(-1))
	switch {
	case errors.Is(err, ErrNoSnapshot):
		return nil, nil
	case err != nil || b.missing != nil:
		return nil, err
	}
	snapshot := b.book().Snapshot()
	return r.pool.of(marketprism.Record{Instrument: i, EventTime: snapshot.EventTime, ReceivedAt: from, Snapshot: &snapshot}, from), nil
}

// records returns the records of all feeds in the order of time, those of equal time in the order of feeds.
func (r *replay) records(ctx context.Context) iter.Seq2[*timedRecord, error] {
	return func(yield func(*timedRecord, error) bool) {
		for {
			var first *replayFeed
			for _, f := range r.feeds {
				if err := f.peek(ctx); err != nil {
					yield(nil, err)
					return
				}
				if f.peeked != nil && (first == nil || f.peeked.at.Before(first.peeked.at)) {
					first = f
				}
			}
			if first == nil {
				return
			}
			rec := first.peeked
			first.peeked = nil
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// peek reads the next record, unless it has been read or there is none.
func (f *replayFeed) peek(ctx context.Context) (err error) {
	if f.peeked != nil || f.ended {
		return nil
	}
	f.peeked, err = f.contractFeed.next(ctx)
	f.ended = f.peeked == nil
	return err
}

// writeInTime writes records to dst in batches, none before it is due. Those that were written go back to the pool: a Sink
// keeps neither records nor what they point to.
func writeInTime(ctx context.Context, recs iter.Seq2[*timedRecord, error], cfg ReplayConfig, pool *recordPool, dst sink.Sink) error {
	c := replayClock{cfg: cfg, dst: dst, pool: pool}
	for r, err := range recs {
		if err == nil {
			err = c.add(ctx, r)
		}
		if err != nil {
			return err
		}
	}
	return c.flush(ctx)
}

// A replayClock holds records back until they are due.
type replayClock struct {
	cfg     ReplayConfig
	dst     sink.Sink
	pool    *recordPool
	batch   []marketprism.Record // due, and not written yet
	used    []*timedRecord       // with the memory of batch
	began   time.Time            // of this machine's clock, when the first record came
	first   time.Time            // of the archive's clock, of that record
	started bool
}

// add adds the next record to the batch once it is due.
func (c *replayClock) add(ctx context.Context, r *timedRecord) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !c.started {
		c.began, c.first, c.started = time.Now(), r.at, true
	}
	if c.wait(r.at) > 0 {
		if err := c.flush(ctx); err != nil { // it may take until r is due
			return err
		}
		if wait := c.wait(r.at); wait > 0 {
			if err := backoff.Sleep(ctx, wait); err != nil {
				return err
			}
		}
	}
	c.batch, c.used = append(c.batch, r.rec), append(c.used, r)
	if len(c.batch) >= c.cfg.Batch {
		return c.flush(ctx)
	}
	return nil
}

// wait returns the time until a record of a time is due.
func (c *replayClock) wait(at time.Time) time.Duration {
	if c.cfg.Speed == 0 {
		return 0
	}
	return time.Duration(float64(at.Sub(c.first))/c.cfg.Speed) - time.Since(c.began)
}

func (c *replayClock) flush(ctx context.Context) error {
	if len(c.batch) == 0 {
		return nil
	}
	err := c.dst.Write(ctx, c.batch)
	for _, r := range c.used {
		c.pool.put(r)
	}
	c.batch, c.used = c.batch[:0], c.used[:0]
	return err
}
