package natsbus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/sink"
)

// Hooks and the sink of a Consumer may call the methods of Publishers and Consumers, but for a Write in Acked, which
// waits for acknowledgements.
func TestHooksCallBack(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	var p *natsbus.Publisher
	var c *natsbus.Consumer
	extra := bustest.Update(1000)
	seen := make(map[string]chan error)
	call := func(name string, writes bool) func() {
		done := make(chan error, 1)
		seen[name] = done
		first := make(chan struct{}, 1)
		return func() {
			select {
			case first <- struct{}{}:
			default:
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), bustest.Patience)
			defer cancel()
			p.Stats()
			c.Stats()
			_, err := c.Lag(ctx)
			if errors.Is(err, jetstream.ErrConsumerNotFound) { // Run has not made it yet
				err = nil
			}
			if err == nil && writes {
				err = p.Write(ctx, []marketprism.Record{extra})
			}
			done <- err
		}
	}
	published, acked, delivered := call("Published", true), call("Acked", false), call("Delivered", true)
	handled, consumed, failed := call("Handled", true), call("Consumed", true), call("SinkFailed", true)
	circuit, write := call("Circuit", true), call("Sink", true)
	hooks := &natsbus.Hooks{
		Published:  func(natsbus.PublishInfo) { published() },
		Acked:      func(natsbus.AckInfo) { acked() },
		Delivered:  func(natsbus.DeliveryInfo) { delivered() },
		Handled:    func(natsbus.HandleInfo) { handled() },
		Consumed:   func(natsbus.ConsumeInfo) { consumed() },
		SinkFailed: func(natsbus.SinkFailedInfo) { failed() },
		Circuit:    func(natsbus.CircuitInfo) { circuit() },
	}
	p = b.Publisher(t, natsbus.PublisherConfig{Hooks: hooks})
	c = b.Consumer(t, natsbus.ConsumerConfig{Hooks: hooks, RetryMin: time.Millisecond, RetryMax: time.Millisecond})
	writes := 0
	bustest.Run(t, c, sink.Func(func(context.Context, []marketprism.Record) error {
		if writes++; writes < 20 {
			return context.DeadlineExceeded
		}
		write()
		return nil
	}))
	require.NoError(t, p.Write(t.Context(), bustest.Updates(3)))
	for name, done := range seen {
		require.NoError(t, bustest.Receive(t, done), name)
	}
}
