package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	storedBatch   = 500
	storedTimeout = 5 * time.Second // for all that the stream holds
)

// readStored takes the last beat of every service from the stream of heartbeats, so that a Watch need not
// wait for the next. How old one is the server says, by its own clock. A server without that stream is
// left alone.
func (w *Watch) readStored(ctx context.Context, subject string) {
	ctx, cancel := context.WithTimeout(ctx, storedTimeout)
	defer cancel()
	stream := HeartbeatsStream(w.cfg.Prefix)
	err := w.hearStored(ctx, stream, subject)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, jetstream.ErrJetStreamNotEnabled) &&
		!errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) && ctx.Err() == nil && w.cfg.Refused != nil {
		w.cfg.Refused(subject, fmt.Errorf("natsbus: last beats in stream %s: %w", stream, err))
	}
}

func (w *Watch) hearStored(ctx context.Context, name, subject string) error {
	js, err := jetstream.New(w.nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: subject, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: 2 * storedTimeout,
	})
	if err != nil {
		return err
	}
	defer func() { _ = stream.DeleteConsumer(ctx, consumer.CachedInfo().Name) }() // the server forgets it by itself
	asked, local := stream.CachedInfo().TimeStamp, time.Now()
	for left := consumer.CachedInfo().NumPending; left > 0; {
		fetched, err := consumer.Fetch(storedBatch, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		left = 0
		for msg := range fetched.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			left = meta.NumPending
			age := max(asked.Sub(meta.Timestamp), 0) + time.Since(local)
			w.hear(&nats.Msg{Subject: msg.Subject(), Data: msg.Data()}, age)
		}
		if err := fetched.Error(); err != nil {
			return err
		}
	}
	return nil
}
