package pipeline

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/natsbus"
)

const (
	pollInterval = 20 * time.Millisecond
	quietFor     = time.Second
)

// waitStored waits until a consumer has stored, and acknowledged, all that its stream holds.
func waitStored(ctx context.Context, js jetstream.JetStream, stream string, c *natsbus.Consumer) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	last := s.CachedInfo().State.LastSeq
	return poll(ctx, func() bool { return c.Stats().Sequence >= last })
}

// waitQuiet waits until no record has come for a second: the frames of a recording have been sent, and
// the last of them may still be on their way.
func (p *Pipeline) waitQuiet(ctx context.Context) error {
	seen, since := p.tally.total(received), time.Now()
	err := poll(ctx, func() bool {
		if n := p.tally.total(received); n != seen {
			seen, since = n, time.Now()
		}
		return time.Since(since) >= quietFor
	})
	if ctx.Err() != nil {
		return nil // interrupted: what has come is what there is
	}
	return err
}

func poll(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
