// Archive stores what collectors publish to NATS in ClickHouse, until Ctrl-C. It needs both servers:
//
//	nats-server -js
//	clickhouse server
//	go run ./examples/archive
package main

import (
	"context"
	"log"
	"os"
	"os/signal"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := archive(ctx, "nats://127.0.0.1:4222", "127.0.0.1:9000", chstore.Config{}); err != nil {
		log.Fatal(err)
	}
}

// archive stores the records of the bus until ctx ends. What is left on the bus is stored after the next start.
func archive(ctx context.Context, address, clickhouse string, cfg chstore.Config) error {
	store, err := chstore.Open(ctx, clickhouse, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	bus, err := natsbus.Open(ctx, address)
	if err != nil {
		return err
	}
	defer bus.Close()
	var stages []sink.Stage
	for _, stream := range []string{natsbus.BooksStream(""), natsbus.TradesStream("")} {
		consumer, err := natsbus.NewConsumer(bus.JS, natsbus.ConsumerConfig{Stream: stream, Durable: "archive", DeadLetters: true})
		if err != nil {
			return err
		}
		run := func(ctx context.Context) error { return consumer.Run(ctx, store) }
		stages = append(stages, sink.Stage{Name: stream, Run: run})
	}
	return sink.RunStages(ctx, stages...)
}
