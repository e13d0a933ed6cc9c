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
// stream drops a second one that comes within its dedupe window, from this collector or another. Only
// the id of a Snapshot or Gap also says when it was received: a quiet book that is lost twice ends and
// begins twice at one update id.
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
// away, a Consumer while its sink fails or the server is away; hooks and counters tell.
//
// # Dead letters
//
// A message that is no record stops the Consumer unless ConsumerConfig.DeadLetters is set. With it,
// such a message, and a record that the sink will never take, is moved to the stream of dead letters,
// MD_DLQ, with the cause in its headers, and leaves the durable when it is stored there. What the sink
// will never take is what Classify calls a Refusal: its batch is parted until the record is alone, and
// the others are written and acknowledged in order. Any other failure of the sink is an outage, for
// which no record is blamed.
//
//	dead := natsbus.NewDeadLetters(js, natsbus.DeadLettersStream(""))
//	for letter, err := range dead.List(ctx, natsbus.DeadLetterFilter{Subject: "md.binance.>"}) { … }
//	report, err := dead.Redrive(ctx, natsbus.DeadLetterFilter{}, natsbus.RedriveConfig{DryRun: true})
//
// [DeadLetters.Redrive] puts letters back for the one durable that could not use them, through the
// stream MD_REDRIVE, which its Consumer reads beside its own: other readers see nothing of it. A record
// comes again with the Origin that it had, so that a store still has it once, but behind later ones of
// its symbol. A letter leaves MD_DLQ when the bus has confirmed that MD_REDRIVE has it. One that failed
// again is a letter again, and how often it may be put back is bounded. A durable that is deleted
// leaves one named STREAM=DURABLE on MD_REDRIVE.
//
// A [Redriver] does so by itself, by a policy for each reason: how often, how long after the failure. A
// letter that was put back as often as that stays in MD_DLQ, in quarantine, for somebody to look at.
//
// The durables of Consumers have no MaxDeliver, so the server never passes over a message of theirs.
// An [AdvisoryWatch] makes dead letters of what the durables of other programs have given up.
//
// # Books from the bus
//
// Package bookfeed keeps order books from the records on the bus, with no request to the exchange.
//
// # Who is alive
//
// A [Heartbeat] publishes every few seconds how a service is, on a subject such as
// mdhb.collector.tokyo-1, and makes it a NATS micro service, so that "nats micro ls" and "nats micro
// info" find it and a request gets its status. A [Watch] tells which services are alive, late or gone, from
// the last beats in MD_HEARTBEAT on.
//
// # Measuring
//
// Counters are in Stats: [PublisherStats] by stream and reason, [ConsumerStats] with what the server was
// told of messages and dead letters by reason, [DeadLetterCounts]. Durations are in Hooks: Acked, from
// sending to confirmation; Delivered, from storing to delivery; Handled, the time of the sink. What the
// server knows is asked for: [Consumer.Lag], and [ReadStreamStats], which for MD_DLQ tells how many
// letters there are and how old the oldest is. A connection is observed with [ConnHooks].
//
// # Tracing
//
// With a [TraceConfig] some records are followed by OpenTelemetry spans, from the context that
// Publisher.Write is given to the one that a Consumer gives its sink: chstore shows it in its hook and
// hands it to the server. A record that is followed has the headers traceparent and tracestate, which
// it keeps as a dead letter and when it is re-driven. Only the API of OpenTelemetry is used; which SDK
// records the spans, if any, is the program's choice.
//
// # Security
//
// Connect passes TLS, credentials files, NKeys, passwords and tokens on as options of the client library.
// SECURITY.md lists the permissions that each role needs. Errors name servers without user and password.
//
// # Concurrency
//
// A Publisher may be used from any number of goroutines; between their records there is no order. A
// Consumer runs once at a time and gives its sink one Write at a time, unless ConsumerConfig.Workers has
// it write several instruments at once. One durable is for one Run at a time in all processes: for more
// throughput, read several streams, or filter by exchange.
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
// A letter has about 1 KiB of headers more than its message. Where that is more than the server's
// max_payload allows, the letter goes without the body and says where it stands, see
// [DeadLetter.BodySize]; it cannot be put back.
package natsbus
