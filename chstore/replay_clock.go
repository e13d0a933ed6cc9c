package chstore

import (
	"context"
	"iter"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/sink"
)

// writeInTime writes records to dst in batches, none before it is due.
func writeInTime(ctx context.Context, recs iter.Seq2[timedRecord, error], cfg ReplayConfig, dst sink.Sink) error {
	c := replayClock{cfg: cfg, dst: dst, batch: make([]marketprism.Record, 0, cfg.Batch)}
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
	batch   []marketprism.Record // due, and not written yet
	began   time.Time            // of this machine's clock, when the first record came
	first   time.Time            // of the archive's clock, of that record
	started bool
}

// add adds the next record to the batch once it is due.
func (c *replayClock) add(ctx context.Context, r timedRecord) error {
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
	c.batch = append(c.batch, r.rec)
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
	clear(c.batch)
	c.batch = c.batch[:0]
	return err
}
