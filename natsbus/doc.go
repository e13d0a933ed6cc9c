// Package natsbus carries market data over NATS JetStream: a [Publisher] is a sink that publishes records, a
// [Consumer] reads them and writes them to another sink.
//
// # Usage
//
//	bus, err := natsbus.Open(ctx, "nats://127.0.0.1:4222") // connects, and makes the streams
//	err = bus.Write(ctx, recs)                             // nil: all of recs are stored
//
//	consumer, err := natsbus.NewConsumer(bus.JS, natsbus.ConsumerConfig{
//		Stream: natsbus.BooksStream(""), Durable: "archiver",
//	})
//	err = consumer.Run(ctx, store) // until ctx ends
//
// [Connect], [EnsureStreams] and [NewPublisher] do the same in steps, with settings. A program that publishes an exchange's
// records is examples/collect, and one that stores those of the bus examples/archive: about twenty lines each.
//
// One record is one message, a JSON object that CODEC.md describes, on a subject that [Subject] makes, such as
// md.binance.spot.depth.BTCUSDT. All records of books are in one stream, MD_DEPTH, and so have one order; trades are in
// another, MD_TRADE.
//
// # Packages below
//
//   - bookfeed keeps order books from the records on the bus, with no request to the exchange.
//   - deadletter lists, re-drives and removes dead letters.
//   - presence shows which services are alive.
//
// # Delivery guarantees
//
// A record that Write has accepted is not lost, as long as the server keeps its disk: Write returns nil after the stream
// has confirmed every record. A server confirms before it forces data to the disk; its option sync_interval limits how
// much a power cut may lose, and more than one replica covers it.
//
// A record is stored once: its Nats-Msg-Id is Record.Key, made of the exchange's own ids, with a checksum of the content,
// and the stream drops a second message with that id within its dedupe window, from this collector or another. An id that
// comes again with other content, after a market was wiped, is no copy. Instead of the checksum, the id of a Snapshot or Gap
// contains the time of its receipt: a quiet book that is lost twice ends and begins twice at one update id.
//
// The records of one instrument that one goroutine writes are stored in order, across repetitions and reconnections,
// with two exceptions: a server that is just running full may refuse a large record and accept a smaller one behind it,
// and where the leader of a stream changes, the old one may leave out a record of those in flight while the new one
// stores a later one. PublisherStats.OutOfOrder counts and Hooks.OutOfOrder reports that; readers that check update ids are
// not misled.
//
// A Consumer writes every record to its sink at least once, in the order of the stream, and acknowledges it when the
// sink has accepted it. Record.Origin is its position in the stream: by it a store drops the records that it has
// already, so that each is stored exactly once.
//
// An outage drops nothing. A Publisher waits while the stream is full or the server away, a Consumer while its sink fails
// or the server is away; hooks and counters report it.
//
// # Dead letters
//
// A message that is no record stops the Consumer unless ConsumerConfig.DeadLetters is set. With it, the Consumer moves
// such a message, and a record that the sink will never accept, to the stream of dead letters, MD_DLQ, with the cause in
// its headers, and terminates it in the durable when it is stored there. Records are refused if Classify calls the
// sink's error a Refusal: those that the error names (sink.RefusedError); otherwise the Consumer splits the batch until
// the record is alone. All others of the batch are written in one Write, then the letters are stored, and all messages
// acknowledged in order. Any other failure of the sink is an outage, for which no record is blamed.
//
// # Measuring
//
// Counters are in Stats: [PublisherStats] by stream and reason, [ConsumerStats] with the replies to the server and the
// dead letters by reason. Durations are in Hooks: Acked, from sending to confirmation; Delivered, from storing to
// delivery; Handled, the time of the sink. [Consumer.Lag] and [ReadStreamStats] ask the server; the latter returns, for
// MD_DLQ, the number of letters and the age of the oldest. [ConnHooks] observe a connection.
//
// # Tracing
//
// A [TraceConfig] traces some records with OpenTelemetry spans, from the context of Publisher.Write to the one that a
// Consumer passes to its sink: chstore passes it to its hook and to the server. A traced record has the headers
// traceparent and tracestate, which it keeps as a dead letter and when it is re-driven. Only the API of OpenTelemetry is
// used; the program chooses the SDK that records the spans, if any.
//
// # Security
//
// Connect passes TLS, credentials files, NKeys, passwords and tokens as options to the client library. SECURITY.md lists
// the permissions that each role needs. Errors name servers without user and password.
//
// # Concurrency
//
// A Publisher may be used by any number of goroutines; between their records there is no order. A Consumer runs once at a
// time and calls its sink with one Write at a time, unless ConsumerConfig.Workers allows several for different
// instruments. A durable must have one Run at a time in all processes: for more throughput, read several streams, or
// filter by exchange.
//
// # Limitations
//
// A Consumer needs nats-server 2.14 or newer, which can reset a durable. Run begins with that reset, so the messages in
// flight of a Run that died come first and at once, not after AckWait and out of order.
//
// After the dedupe window (2 min for books) the stream has forgotten a record and stores it again. Readers drop it by its
// ids.
//
// A letter has about 1 KiB of headers more than its message. Where that exceeds the server's max_payload, the letter is
// stored without the body and names the position of the original, see deadletter.Letter.BodySize; it cannot be
// re-driven.
package natsbus
