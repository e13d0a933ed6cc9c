package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
)

// window is the number of unacknowledged messages, the Publisher's default.
const window = 2048

// publishers returns a Publisher, nats.go with the same encoding and ids, and nats.go with bodies encoded
// beforehand.
func publishers(js jetstream.JetStream, symbols int) []side {
	return []side{
		{"publish, natsbus", func(ctx context.Context, first, n int) error {
			p, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
			if err != nil {
				return err
			}
			defer p.Close()
			recs := records(symbols)
			for ; n > 0; first, n = first+batch, n-batch {
				renumber(recs, first)
				if err := p.Write(ctx, recs); err != nil {
					return err
				}
			}
			return nil
		}},
		{"publish, nats.go with the same encoding", func(_ context.Context, first, n int) error { return publishRaw(js, symbols, first, n, true) }},
		{"publish, nats.go, encoded before", func(_ context.Context, first, n int) error { return publishRaw(js, symbols, first, n, false) }},
	}
}

func publishRaw(js jetstream.JetStream, symbols, first, n int, encode bool) error {
	failed := make(chan error, 1)
	raw, err := jetstream.New(js.Conn(), jetstream.WithPublishAsyncMaxPending(window), jetstream.WithPublishAsyncTimeout(5*time.Second),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			select {
			case failed <- err:
			default: // one error is enough
			}
		}))
	if err != nil {
		return err
	}
	defer raw.CleanupPublisher()
	recs := records(symbols)
	subjects, bodies := make([]string, batch), make([][]byte, batch)
	for i := range recs {
		subjects[i] = natsbus.Subject("", recs[i].Instrument, recs[i].Kind())
		if bodies[i], err = natsbus.AppendRecord(nil, &recs[i]); err != nil {
			return err
		}
	}
	for ; n > 0; first, n = first+batch, n-batch {
		renumber(recs, first)
		for i := range recs {
			body := bodies[i]
			if encode { // into new memory: the library keeps it until the acknowledgement
				if body, err = natsbus.AppendRecord(make([]byte, 0, len(body)+64), &recs[i]); err != nil {
					return err
				}
			}
			msg := &nats.Msg{Subject: subjects[i], Data: body, Header: nats.Header{jetstream.MsgIDHeader: {recs[i].Key()}}}
			if _, err := raw.PublishMsgAsync(msg); err != nil {
				return err
			}
		}
		<-raw.PublishAsyncComplete()
	}
	select {
	case err := <-failed:
		return errors.Join(errors.New("a message was not stored"), err)
	default:
		return nil
	}
}

// consumers returns a Consumer, nats.go with the same decoding, and nats.go without decoding. Every round reads
// the stream from its beginning.
func consumers(js jetstream.JetStream) []side {
	return []side{
		{"consume, natsbus", func(ctx context.Context, first, n int) error { return consume(ctx, js, first, n) }},
		{"consume, nats.go with the same decoding", func(ctx context.Context, first, n int) error { return consumeRaw(ctx, js, first, n, true) }},
		{"consume, nats.go, not decoded", func(ctx context.Context, first, n int) error { return consumeRaw(ctx, js, first, n, false) }},
	}
}

// patience bounds one round of a Consumer, which would wait without limit for missing records.
const patience = 2 * time.Minute

var (
	errRead  = errors.New("all is read") // ends a Consumer that has read enough
	errShort = fmt.Errorf("the stream did not return all records within %v", patience)
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
	if cause := context.Cause(ctx); !errors.Is(cause, errRead) {
		return errors.Join(err, cause)
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
				if err := decoder.Decode(msg.Subject(), msg.Data(), &recs[i]); err != nil {
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
