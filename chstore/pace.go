package chstore

import (
	"context"
	"iter"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/sink"
)

// pace gives records to dst in batches, none before it is due.
func pace(ctx context.Context, recs iter.Seq2[timedRecord, error], cfg ReplayConfig, dst sink.Sink) error {
	p := replayClock{cfg: cfg, dst: dst, batch: make([]marketprism.Record, 0, cfg.Batch)}
	for r, err := range recs {
		if err == nil {
			err = p.add(ctx, r)
		}
		if err != nil {
			return err
		}
	}
	return p.flush(ctx)
}

// A replayClock is a replay under way.
type replayClock struct {
	cfg     ReplayConfig
	dst     sink.Sink
	batch   []marketprism.Record
	began   time.Time // of this machine's clock, when the first record came
	first   time.Time // of the archive's clock, of that record
	started bool
}

// add takes the next record, and waits until it is due.
func (p *replayClock) add(ctx context.Context, r timedRecord) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !p.started {
		p.began, p.first, p.started = time.Now(), r.at, true
	}
	if wait := p.wait(r.at); wait > 0 {
		// What is due is given out before the wait for what is not.
		if err := p.flush(ctx); err != nil {
			return err
		}
		if wait = p.wait(r.at); wait > 0 {
			if err := backoff.Sleep(ctx, wait); err != nil {
				return err
			}
		}
	}
	p.batch = append(p.batch, r.rec)
	if len(p.batch) >= p.cfg.Batch {
		return p.flush(ctx)
	}
	return nil
}

// wait returns how long it is until a record of a time is due.
func (p *replayClock) wait(at time.Time) time.Duration {
	if p.cfg.Speed == 0 {
		return 0
	}
	return time.Duration(float64(at.Sub(p.first))/p.cfg.Speed) - time.Since(p.began)
}

func (p *replayClock) flush(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	err := p.dst.Write(ctx, p.batch)
	clear(p.batch)
	p.batch = p.batch[:0]
	return err
}
