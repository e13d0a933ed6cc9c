package natsbus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// ackText acknowledges a message when it is published on the message's reply subject. The methods of
// jetstream.Msg do the same, but only once, and an acknowledgement that got lost has to be repeated.
const ackText = "+ACK"

// acknowledge tells the server that the batch is done, and returns when the server has confirmed the
// last message: it handles those of one connection in order, so it has handled the others before.
func (r *reader) acknowledge(batch []delivery) error {
	for attempt := 1; ; attempt++ {
		err := r.sendAcks(batch)
		switch {
		case err == nil:
			return nil
		case r.work.Err() != nil, hopeless(err):
			return err
		case attempt >= maxAckAttempts && r.conn.IsConnected():
			// The durable may have been made anew and not know the deliveries.
			return fmt.Errorf("%w: %d acknowledgements: %w", ErrUnavailable, len(batch), err)
		}
		r.pause(r.work, err)
	}
}

const (
	maxAckAttempts = 3
	ackTimeout     = 5 * time.Second
	releaseDelay   = time.Second
)

func (r *reader) sendAcks(batch []delivery) error {
	reconnects := r.conn.Stats().Reconnects
	end := len(batch) - 1
	for _, msg := range batch[:end] {
		if err := r.conn.Publish(msg.Reply(), []byte(ackText)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.work, ackTimeout)
	defer cancel()
	if _, err := r.conn.RequestWithContext(ctx, batch[end].Reply(), []byte(ackText)); err != nil {
		return err
	}
	if r.conn.Stats().Reconnects != reconnects {
		return nats.ErrDisconnected // what was sent over the old connection may be lost
	}
	return nil
}

func (r *reader) consumed(batch []delivery, elapsed time.Duration) {
	redelivered := 0
	for _, msg := range batch {
		if msg.meta.NumDelivered > 1 {
			redelivered++
		}
	}
	r.count(func(s *ConsumerStats) {
		s.Batches++
		s.Records += uint64(len(batch))
		s.Redelivered += uint64(redelivered)
		s.InHand -= len(batch)
		s.Sequence = last(batch)
	})
	call(r.cfg.Hooks.Consumed, ConsumeInfo{
		Records: len(batch), First: first(batch), Last: last(batch), Redelivered: redelivered,
		Behind: batch[len(batch)-1].meta.NumPending, Elapsed: elapsed,
	})
}

// release hands a batch back, so that another Run has it sooner than after AckWait. It is a courtesy:
// what is not handed back comes again all the same.
func (r *reader) release(batch []delivery) {
	for _, msg := range batch {
		if msg.NakWithDelay(releaseDelay) != nil {
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), releaseDelay)
	defer cancel()
	_ = r.conn.FlushWithContext(ctx)
	r.count(func(s *ConsumerStats) { s.Released += uint64(len(batch)) })
	call(r.cfg.Hooks.Released, ReleaseInfo{Records: len(batch), First: first(batch), Last: last(batch)})
}

// keepAlive tells the server every third of AckWait that the batch is being worked on, until the
// function that it returns is called.
func (r *reader) keepAlive(batch []delivery) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(r.cfg.AckWait / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				for _, msg := range batch {
					_ = msg.InProgress() // without a connection the batch may come again: at least once
				}
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-stopped }
}

func first(batch []delivery) uint64 { return batch[0].meta.Sequence.Stream }
func last(batch []delivery) uint64  { return batch[len(batch)-1].meta.Sequence.Stream }
