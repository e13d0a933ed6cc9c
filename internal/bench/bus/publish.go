package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/natsbus"
)

// window is how many messages are on their way, which is the Publisher's default.
const window = 2048

// publishers are a Publisher, nats.go that encodes the same records and makes the same ids, and nats.go with
// bodies that were encoded before.
func publishers(js jetstream.JetStream) []side {
	return []side{
		{"publish, natsbus", func(ctx context.Context, first, n int) error {
			p, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
			if err != nil {
				return err
			}
			defer p.Close()
			recs := records()
			for ; n > 0; first, n = first+batch, n-batch {
				renumber(recs, first)
				if err := p.Write(ctx, recs); err != nil {
					return err
				}
			}
			return nil
		}},
		{"publish, nats.go with the same encoding", func(_ context.Context, first, n int) error { return publishRaw(js, first, n, true) }},
		{"publish, nats.go, encoded before", func(_ context.Context, first, n int) error { return publishRaw(js, first, n, false) }},
	}
}

func publishRaw(js jetstream.JetStream, first, n int, encode bool) error {
	failed := make(chan error, 1)
	raw, err := jetstream.New(js.Conn(), jetstream.WithPublishAsyncMaxPending(window), jetstream.WithPublishAsyncTimeout(5*time.Second),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			select {
			case failed <- err:
			default: // the first tells enough
			}
		}))
	if err != nil {
		return err
	}
	defer raw.CleanupPublisher()
	recs := records()
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
			if encode { // into memory of its own, since the library keeps it until the acknowledgement
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
