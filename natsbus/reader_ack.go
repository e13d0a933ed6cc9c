package natsbus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// ackText acknowledges a message when it is published on the message's reply subject. The methods of
// jetstream.Msg do the same, but only once, and an acknowledgement that got lost has to be repeated.
const ackText = "+ACK"

// acknowledge tells the server that the batch is done, and returns when the server has confirmed the
// last message: it handles those of one connection in order, so it has handled the others before.
func (r *reader) acknowledge(msgs []pull.Delivery) error {
	for attempt := 1; ; attempt++ {
		timeout, last := ackTimeout, maxAckAttempts
		if r.reconnected() {
			// A server that crashed may have forgotten the deliveries, and does not answer for those.
			timeout, last = reconnectedAckTimeout, attempt
		}
		err := r.sendAcks(msgs, timeout)
		switch {
		case err == nil:
			return nil
		case r.work.Err() != nil, isPermanent(err):
			return err
		case attempt >= last && r.conn.IsConnected():
			// The durable may have been made anew and not know the deliveries.
			return fmt.Errorf("%w: %d acknowledgements: %w", ErrUnavailable, len(msgs), err)
		}
		_ = backoff.Sleep(r.work, r.failed(err)) // work is looked at after the next attempt
	}
}

const (
	maxAckAttempts        = 3
	ackTimeout            = 5 * time.Second
	reconnectedAckTimeout = time.Second
	releaseDelay          = time.Second
)

func (r *reader) sendAcks(msgs []pull.Delivery, timeout time.Duration) error {
	reconnects := r.conn.Stats().Reconnects
	end := len(msgs) - 1
	for _, msg := range msgs[:end] {
		if err := r.conn.Publish(msg.Reply, []byte(ackText)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.work, timeout)
	defer cancel()
	// The answer to a request over a connection that breaks never comes.
	broken := r.conn.StatusChanged(nats.RECONNECTING)
	defer r.conn.RemoveStatusListener(broken)
	go func() {
		if _, ok := <-broken; ok {
			cancel()
		}
	}()
	if _, err := r.conn.RequestWithContext(ctx, msgs[end].Reply, []byte(ackText)); err != nil {
		return err
	}
	r.count(func(s *ConsumerStats) { s.Replies.Ack += uint64(len(msgs)) })
	if r.conn.Stats().Reconnects != reconnects {
		return nats.ErrDisconnected // what was sent over the old connection may be lost
	}
	return nil
}

func (r *reader) consumed(msgs []pull.Delivery, elapsed time.Duration) {
	redelivered := redelivered(msgs)
	r.count(func(s *ConsumerStats) {
		s.Batches++
		s.Records += uint64(len(msgs))
		s.Redelivered += uint64(redelivered)
		if r.lane {
			s.Redriven += uint64(len(msgs))
		} else {
			s.Sequence = last(msgs)
		}
	})
	hook.Call(r.cfg.Hooks.Consumed, ConsumeInfo{
		Stream: r.cfg.Stream, Records: len(msgs), First: first(msgs), Last: last(msgs), Redelivered: redelivered,
		Behind: msgs[len(msgs)-1].Meta.NumPending, Elapsed: elapsed,
	})
}

// release hands a batch back, so that another Run has it sooner than after AckWait. It is a courtesy:
// what is not handed back comes again all the same.
func (r *reader) release(msgs []pull.Delivery) {
	if len(msgs) == 0 {
		return
	}
	naks := 0
	for naks < len(msgs) && msgs[naks].Nak(r.conn, releaseDelay) == nil {
		naks++
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), releaseDelay)
	defer cancel()
	_ = r.conn.FlushWithContext(ctx)
	r.count(func(s *ConsumerStats) {
		s.Released += uint64(len(msgs))
		s.Replies.Nak += uint64(naks)
	})
	hook.Call(r.cfg.Hooks.Released, ReleaseInfo{Stream: r.cfg.Stream, Records: len(msgs), First: first(msgs), Last: last(msgs)})
}
