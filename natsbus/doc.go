// Package natsbus carries market data over NATS JetStream: a [Publisher] is a sink that publishes
// records, a [Consumer] reads them back and writes them to another sink.
//
// # Usage
//
//	nc, err := natsbus.Connect(ctx, "nats://127.0.0.1:4222")
//	js, err := jetstream.New(nc)
//	err = natsbus.EnsureStreams(ctx, js, natsbus.StreamsConfig{})
//
//	publisher, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
//	err = publisher.Write(ctx, recs) // nil: all of recs are stored
//
//	consumer, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{
//		Stream: natsbus.BooksStream(""), Durable: "archiver",
//	})
//	err = consumer.Run(ctx, store) // until ctx ends
//
// One record is one message, a JSON object that CODEC.md describes, on a subject that [Subject] makes,
// such as md.binance.spot.depth.BTCUSDT. All that a reader of books needs is in one stream, MD_DEPTH,
// where it has one order; trades are in another, MD_TRADE.
//
// # Delivery guarantees
//
// Nothing that Write has accepted is lost, as long as the server keeps its disk: Write returns nil
// after the stream has confirmed every record. A server confirms before it forces data to the disk;
// its option sync_interval says how much a power cut may cost, and more than one replica covers it.
//
// A record is stored once: its Nats-Msg-Id is Record.Key, made of the exchange's own ids, and the
// stream drops a second one that comes within its dedupe window, from this collector or another.
//
// The records of one instrument that one goroutine writes are stored in order, across repetitions and
// reconnections. The exception: a server that is just running full may refuse a large record and
// take a smaller one behind it. That is counted in PublisherStats.Overtaken and told by
// Hooks.Overtaken; readers that look at update ids are not misled.
//
// A Consumer hands every record to its sink at least once, in the order of the stream, and
// acknowledges it when the sink has accepted it. Record.Origin is its place in the stream: by it a
// store drops what it has already, so that each record is stored exactly once.
//
// Nothing is dropped because of an outage. A Publisher waits while the stream is full or the server
// away, a Consumer while its sink fails or the server is away; hooks and counters tell. A message
// that is no record stops the Consumer, or is moved to the stream of dead letters, MD_DLQ, and leaves
// the durable when it is stored there.
//
// # Concurrency
//
// A Publisher may be used from any number of goroutines; between their records there is no order. A
// Consumer runs once at a time and calls its sink from one goroutine. One durable is for one Run at a
// time in all processes: for more throughput, read several streams, or filter by exchange.
//
// # Limitations
//
// A Consumer needs nats-server 2.14 or newer, which can reset a durable. When it begins to run it has
// the server deliver from the first unacknowledged message on, so what a Run that died had in hand
// comes first and at once, not after AckWait and out of order.
//
// After the dedupe window (2 min for books) the stream has forgotten a record and stores it again.
// Readers drop it by its ids.
//
// A dead letter stays in MD_DLQ until its limits are reached; it is read and published again by other
// tools.
package natsbus
