package sink

import (
	"context"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
)

// deliver writes d.recs until the destination accepts them; false if ctx ends. Where it refuses some
// for good, it gets ever smaller parts, until the one that it refuses is alone.
func (d *drain) deliver(ctx context.Context) bool {
	rest, part := d.recs, len(d.recs)
	start, attempts := time.Now(), 0
	delays := d.backoff()
	for len(rest) > 0 {
		err := d.attempt(ctx, rest[:part])
		attempts++
		switch {
		case err == nil:
			d.delivered(WrittenInfo{Records: part, Attempts: attempts, Elapsed: time.Since(start)})
			rest = rest[part:]
		case ctx.Err() != nil:
			return false
		case !Permanent(err):
			if !d.wait(ctx, FailedInfo{Records: part, Attempts: attempts, Err: err, Delay: delays.Next()}) {
				return false
			}
			continue
		case part > 1:
			part /= 2
			continue
		default:
			var ok bool
			if rest, ok = d.refuse(ctx, rest, err); !ok {
				return false
			}
		}
		part = len(rest)
		start, attempts = time.Now(), 0
		delays.Reset()
	}
	return true
}

func (d *drain) attempt(ctx context.Context, recs []marketprism.Record) error {
	if d.cfg.WriteTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.cfg.WriteTimeout)
		defer cancel()
	}
	return d.dst.Write(ctx, recs)
}

func (d *drain) delivered(info WrittenInfo) {
	d.mu.Lock()
	d.stats.Drained += uint64(info.Records)
	d.mu.Unlock()
	hook.Call(d.cfg.Hooks.Drained, info)
}

// wait tells of a failure and waits out its delay; false if ctx ends.
func (d *drain) wait(ctx context.Context, info FailedInfo) bool {
	d.mu.Lock()
	d.stats.Retries++
	d.mu.Unlock()
	hook.Call(d.cfg.Hooks.Failed, info)
	return backoff.Sleep(ctx, info.Delay) == nil
}

// refuse gives up the first of recs, of whose segment a copy is kept. It returns the others, a Gap in
// front and without what the hole has made useless; false if ctx ends.
func (d *drain) refuse(ctx context.Context, recs []marketprism.Record, cause error) ([]marketprism.Record, bool) {
	info := SpillRefusedInfo{Record: &recs[0], Err: cause}
	ok := d.insist(ctx, func() (err error) {
		info.Kept, err = d.queue.Keep(&d.batch)
		return err
	})
	if !ok {
		return nil, false
	}
	d.mu.Lock()
	d.stats.Refused++
	rest, useless := d.passed.refuse(&recs[0], recs[1:], cause)
	d.mu.Unlock()
	hook.Call(d.cfg.Hooks.Refused, info)
	d.dropped(useless)
	return rest, true
}
