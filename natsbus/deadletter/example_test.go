package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// A sink refuses one record of three. It becomes a dead letter, is listed, and is re-driven after the sink was repaired.
func ExampleQueue_Redrive() {
	ctx := context.Background()
	js, stop := startBus(ctx)
	defer stop()

	publisher, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer publisher.Close()
	inst := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	var recs []marketprism.Record
	for id := range int64(3) {
		recs = append(recs, marketprism.Record{Instrument: inst, ReceivedAt: time.Now(), Update: &orderbook.Update{FirstID: id + 1, LastID: id + 1}})
	}
	if err := publisher.Write(ctx, recs); err != nil {
		log.Fatal(err)
	}

	errBroken := errors.New("the sink has no column for it")
	broken := true
	others, done := make(chan struct{}), make(chan struct{})
	consumer, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{
		Stream: natsbus.BooksStream(""), Durable: "archive", DeadLetters: true,
		Classify: func(err error) natsbus.Failure {
			if errors.Is(err, errBroken) {
				return natsbus.Failure{Class: natsbus.Refusal}
			}
			return natsbus.Failure{} // an outage: wait
		},
		Hooks: &natsbus.Hooks{DeadLettered: func(natsbus.DeadLetterInfo) { broken = false }},
	})
	if err != nil {
		log.Fatal(err)
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	written := 0
	go func() {
		defer close(done)
		_ = consumer.Run(running, sink.Func(func(_ context.Context, recs []marketprism.Record) error {
			for i := range recs {
				if broken && recs[i].Update.LastID == 2 {
					return errBroken
				}
			}
			for i := range recs {
				fmt.Println("written", recs[i].Origin.Sequence, recs[i].Key())
			}
			switch written += len(recs); written {
			case 2:
				close(others)
			case 3:
				cancel()
			}
			return nil
		}))
	}()
	<-others

	dead := deadletter.New(js, natsbus.DeadLettersStream(""))
	filter := deadletter.Filter{Subject: "md.binance.>", Reasons: []natsbus.DeadReason{natsbus.DeadRefused}}
	report, err := dead.Redrive(ctx, filter, deadletter.RedriveConfig{Rate: 10})
	if err != nil {
		log.Fatal(err)
	}
	<-done
	fmt.Println(report.Redriven, "re-driven")

	// Output:
	// written 1 binance:spot:depth:BTCUSDT:1-1
	// written 3 binance:spot:depth:BTCUSDT:3-3
	// written 2 binance:spot:depth:BTCUSDT:2-2
	// 1 re-driven
}

// Reading dead letters does not change them.
func ExampleQueue_List() {
	ctx := context.Background()
	js, stop := startBus(ctx)
	defer stop()
	if _, err := js.Publish(ctx, "md.binance.spot.depth.BTCUSDT", []byte("no record")); err != nil {
		log.Fatal(err)
	}
	running, cancel := context.WithCancel(ctx)
	consumer, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{
		Stream: natsbus.BooksStream(""), Durable: "archive", DeadLetters: true,
		Hooks: &natsbus.Hooks{DeadLettered: func(natsbus.DeadLetterInfo) { cancel() }},
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = consumer.Run(running, sink.Func(func(context.Context, []marketprism.Record) error { return nil }))

	dead := deadletter.New(js, natsbus.DeadLettersStream(""))
	for letter, err := range dead.List(ctx, deadletter.Filter{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(letter.Sequence, letter.Reason, letter.Stream, letter.StreamSequence, letter.Subject)
		fmt.Printf("%s\n%s\n", letter.Error, letter.Body)
	}
	// Output:
	// 1 decode MD_DEPTH 1 md.binance.spot.depth.BTCUSDT
	// natsbus: decode at byte 0: JSON value of another type than expected
	// no record
}

// startBus runs a server in this process; elsewhere it is nats-server -js and natsbus.Connect.
func startBus(ctx context.Context) (js jetstream.JetStream, stop func()) {
	dir, err := os.MkdirTemp("", "natsbus")
	if err != nil {
		log.Fatal(err)
	}
	server, err := natsserver.Start(natsserver.Config{StoreDir: dir})
	if err != nil {
		log.Fatal(err)
	}
	nc, err := natsbus.Connect(ctx, server.URL())
	if err != nil {
		log.Fatal(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		log.Fatal(err)
	}
	if err := natsbus.EnsureStreams(ctx, js, natsbus.StreamsConfig{}); err != nil {
		log.Fatal(err)
	}
	return js, func() {
		nc.Close()
		_ = server.Close()
		_ = os.RemoveAll(dir)
	}
}
