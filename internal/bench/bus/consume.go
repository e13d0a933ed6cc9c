package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
)

// consumers are a Consumer, nats.go that decodes the same messages, and nats.go that does not look at them. Each
// reads what is stored from the beginning, as often as it is told to.
func consumers(js jetstream.JetStream) []side {
	return []side{
		{"consume, natsbus", func(ctx context.Context, first, n int) error { return consume(ctx, js, first, n) }},
		{"consume, nats.go with the same decoding", func(ctx context.Context, first, n int) error { return consumeRaw(ctx, js, first, n, true) }},
		{"consume, nats.go, not decoded", func(ctx context.Context, first, n int) error { return consumeRaw(ctx, js, first, n, false) }},
	}
}

// patience bounds one round of a Consumer, which would wait for ever for records that a stream does not have.
const patience = 2 * time.Minute

var (
	errRead  = errors.New("all is read") // ends a Consumer that has read enough
	errShort = fmt.Errorf("the stream gave not all of the records within %v", patience)
)

func consume(ctx context.Context, js jetstream.JetStream, first, n int) error {
	c, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{
		Stream: natsbus.BooksStream(""), Durable: fmt.Sprintf("natsbus-%d", first), Batch: batch, DrainTimeout: -1,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeoutCause(ctx, patience, errShort)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = c.Run(ctx, sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		if n -= len(recs); n <= 0 {
			cancel(errRead)
		}
		return nil
	}))
	if !errors.Is(err, errRead) {
		return err
	}
	return js.DeleteConsumer(context.WithoutCancel(ctx), natsbus.BooksStream(""), fmt.Sprintf("natsbus-%d", first))
}

func consumeRaw(ctx context.Context, js jetstream.JetStream, first, n int, decode bool) error {
	name := fmt.Sprintf("raw-%d", first)
	durable, err := js.CreateConsumer(ctx, natsbus.BooksStream(""), jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 2 * batch,
	})
	if err != nil {
		return err
	}
	var (
		decoder natsbus.Decoder
		recs    [batch]marketprism.Record
	)
	for n > 0 {
		fetched, err := durable.Fetch(batch, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		var last jetstream.Msg
		i := 0
		decoder.Reset()
		for msg := range fetched.Messages() {
			if decode {
				if err := decoder.Decode(msg.Data(), &recs[i]); err != nil {
					return err
				}
			}
			if last != nil {
				if err := last.Ack(); err != nil {
					return err
				}
			}
			last = msg
			i++
		}
		if i == 0 {
			return errors.Join(errors.New("the stream has no more"), fetched.Error())
		}
		if err := last.DoubleAck(ctx); err != nil {
			return err
		}
		n -= i
	}
	return js.DeleteConsumer(ctx, natsbus.BooksStream(""), name)
}
