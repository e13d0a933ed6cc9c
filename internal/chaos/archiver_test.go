package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/natsbus"
)

// durable is the name of the archiver at the bus.
const durable = "archive"

// runArchiver stores the records of the bus until ctx ends. Its arguments are the addresses of NATS and of
// ClickHouse. It prints events to standard output, each with a number of records.
func runArchiver(ctx context.Context, args string) error {
	var bus, db string
	if _, err := fmt.Sscan(args, &bus, &db); err != nil {
		return err
	}
	conn, err := dial(ctx, db)
	if err != nil {
		return err
	}
	defer conn.Close()
	store, err := chstore.New(conn, chstore.Config{
		// Small blocks, so that a Write is killed between its INSERTs too.
		BlockBytes: 64 << 10, RetryMin: 5 * time.Millisecond, RetryMax: 100 * time.Millisecond,
		Hooks: &chstore.Hooks{
			Inserted: func(i chstore.InsertInfo) { fmt.Println("inserted", i.Rows) },
			Skipped:  func(i chstore.SkipInfo) { fmt.Println("skipped", i.Rows) },
			Retrying: func(i chstore.RetryInfo) { fmt.Println("retried", i.Rows) },
			Fenced:   func(chstore.FenceInfo) { fmt.Println("fenced", 0) },
		},
	})
	if err != nil {
		return err
	}
	if err := again(ctx, func() error { return store.Migrate(ctx) }); err != nil {
		return err
	}
	js, err := connect(ctx, bus)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	group, ctx := errgroup.WithContext(ctx)
	for _, stream := range []string{natsbus.BooksStream(""), natsbus.TradesStream("")} {
		consumer, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{
			Stream: stream, Durable: durable, Batch: 300, FlushEvery: 20 * time.Millisecond,
			AckWait:  time.Hour, // the test would fail if a redelivery depended on it
			RetryMin: 5 * time.Millisecond, RetryMax: 200 * time.Millisecond, DeadLetters: true,
			Hooks: &natsbus.Hooks{
				DurableReset:     func(natsbus.DurableResetInfo) { fmt.Println("realigned", 0) },
				Consumed:         func(i natsbus.ConsumeInfo) { fmt.Println("redelivered", i.Redelivered) },
				SinkFailed:       func(i natsbus.SinkFailedInfo) { fmt.Println("held", i.Records) },
				DeadLettered:     func(i natsbus.DeadLetterInfo) { fmt.Println("deadlettered", 1) },
				DeadLetterFailed: func(natsbus.RetryInfo) { fmt.Println("held", 1) },
			},
		})
		if err != nil {
			return err
		}
		group.Go(func() error { return consumer.Run(ctx, store) })
	}
	return group.Wait()
}

// again repeats a call that fails while a server restarts, until ctx ends.
func again(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || ctx.Err() != nil || !chstore.Retryable(err) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func dial(ctx context.Context, addr string) (conn *chstore.Conn, err error) {
	err = again(ctx, func() (err error) {
		conn, err = chstore.Dial(ctx, addr)
		return err
	})
	return conn, err
}

// connect connects to a server, and waits for one that is restarting. The error handler is silent: the library's
// default one prints each write and each handshake that the death of the server cuts off, and killArchiver takes any
// output of an archiver on standard error for a failure.
func connect(ctx context.Context, url string) (jetstream.JetStream, error) {
	for {
		nc, err := natsbus.Connect(ctx, url, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
			nats.CustomReconnectDelay(func(int) time.Duration { return 10 * time.Millisecond }))
		if err == nil {
			return jetstream.New(nc)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}
