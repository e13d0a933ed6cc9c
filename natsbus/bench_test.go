package natsbus_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/sink"
)

// benchRecords returns updates of a busy spot book, spread over 50 symbols.
func benchRecords(n int) []marketprism.Record {
	feed := eventgen.New(eventgen.Config{Events: 1000})
	recs := make([]marketprism.Record, n)
	for i := range recs {
		u := feed.Updates[i%len(feed.Updates)]
		u.FirstID, u.LastID = int64(i), int64(i)
		recs[i] = marketprism.Record{
			Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "SYM" + strconv.Itoa(i%50) + "USDT"},
			EventTime:  u.EventTime, ReceivedAt: u.EventTime.Add(3 * time.Millisecond), Update: &u,
		}
	}
	return recs
}

func BenchmarkEncode(b *testing.B) {
	recs := benchRecords(1000)
	var buf []byte
	b.ReportAllocs()
	i, bytes := 0, 0
	for b.Loop() {
		var err error
		if buf, err = natsbus.AppendRecord(buf[:0], &recs[i%len(recs)]); err != nil {
			b.Fatal(err)
		}
		bytes += len(buf)
		i++
	}
	b.SetBytes(int64(bytes / i))
}

func BenchmarkDecode(b *testing.B) {
	recs := benchRecords(1000)
	bodies := make([][]byte, len(recs))
	for i := range recs {
		bodies[i], _ = natsbus.AppendRecord(nil, &recs[i])
	}
	var (
		decoder natsbus.Decoder
		rec     marketprism.Record
	)
	b.ReportAllocs()
	i, bytes := 0, 0
	for b.Loop() {
		body := bodies[i%len(bodies)]
		if i%len(bodies) == 0 {
			decoder.Reset()
		}
		if err := decoder.Decode("", body, &rec); err != nil {
			b.Fatal(err)
		}
		bytes += len(body)
		i++
	}
	b.SetBytes(int64(bytes / i))
}

// benchBatch is the number of records that one iteration of the benchmarks below publishes or consumes.
const benchBatch = 1000

func benchBus(b *testing.B) *bustest.Bus {
	return bustest.New(b, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 7 << 30}})
}

// BenchmarkPublish publishes batches of 1000 records and waits for the acknowledgements: through a
// Publisher, and with nats.go alone publishing the same bodies, encoded beforehand.
func BenchmarkPublish(b *testing.B) {
	recs := benchRecords(benchBatch)
	renumber := func(round int) {
		for i := range recs {
			id := int64(round*benchBatch + i)
			recs[i].Update.FirstID, recs[i].Update.LastID = id, id
		}
	}
	b.Run("natsbus", func(b *testing.B) {
		bus := benchBus(b)
		p := bus.Publisher(b, natsbus.PublisherConfig{})
		b.ReportAllocs()
		round := 0
		for b.Loop() {
			renumber(round)
			round++
			if err := p.Write(b.Context(), recs); err != nil {
				b.Fatal(err)
			}
		}
		perRecord(b)
	})
	b.Run("nats.go", func(b *testing.B) {
		bus := benchBus(b)
		js, err := jetstream.New(bus.JS.Conn(), jetstream.WithPublishAsyncMaxPending(2048), jetstream.WithPublishAsyncTimeout(5*time.Second),
			jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { b.Error(err) }))
		require.NoError(b, err)
		subjects, bodies := make([]string, len(recs)), make([][]byte, len(recs))
		for i := range recs {
			subjects[i] = natsbus.Subject("", recs[i].Instrument, recs[i].Kind())
			bodies[i], _ = natsbus.AppendRecord(nil, &recs[i])
		}
		b.ReportAllocs()
		round := 0
		for b.Loop() {
			renumber(round)
			round++
			for i := range recs {
				msg := &nats.Msg{Subject: subjects[i], Data: bodies[i], Header: nats.Header{jetstream.MsgIDHeader: {recs[i].Key()}}}
				if _, err := js.PublishMsgAsync(msg); err != nil {
					b.Fatal(err)
				}
			}
			<-js.PublishAsyncComplete()
		}
		perRecord(b)
	})
}

// BenchmarkConsume reads batches of 1000 records and acknowledges them: through a Consumer, decoded,
// and with nats.go alone, not decoded.
func BenchmarkConsume(b *testing.B) {
	const stored = 100_000
	bus := benchBus(b)
	bus.Publish(b, benchRecords(stored))
	b.Run("natsbus", func(b *testing.B) {
		counts := make(chan int, 2*stored) // the sink never waits
		var stop func() error
		round, left, have := 0, 0, 0
		b.ReportAllocs()
		for b.Loop() {
			if left == 0 {
				if stop != nil {
					_ = stop()
				}
				round++
				c := bus.Consumer(b, natsbus.ConsumerConfig{Durable: fmt.Sprintf("bench%d", round), Batch: benchBatch})
				stop = bustest.Run(b, c, sink.Func(func(_ context.Context, recs []marketprism.Record) error {
					counts <- len(recs)
					return nil
				}))
				left = stored
			}
			for have < benchBatch {
				have += <-counts
			}
			have -= benchBatch
			left -= benchBatch
		}
		perRecord(b)
		_ = stop()
	})
	b.Run("nats.go", func(b *testing.B) {
		var durable jetstream.Consumer
		round, left := 0, 0
		b.ReportAllocs()
		for b.Loop() {
			if left == 0 {
				round++
				var err error
				durable, err = bus.JS.CreateConsumer(b.Context(), natsbus.BooksStream(""), jetstream.ConsumerConfig{
					Durable: fmt.Sprintf("raw%d", round), AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 2 * benchBatch,
				})
				require.NoError(b, err)
				left = stored
			}
			fetched, err := durable.Fetch(benchBatch, jetstream.FetchMaxWait(time.Second))
			require.NoError(b, err)
			var last jetstream.Msg
			for msg := range fetched.Messages() {
				if last != nil {
					require.NoError(b, last.Ack())
				}
				last = msg
				left--
			}
			require.NoError(b, last.DoubleAck(b.Context()))
		}
		perRecord(b)
	})
}

// BenchmarkPoison reads 20,000 records, alone and with a message that is no record behind each tenth, into a sink that
// costs nothing. The Writes of the sink are counted.
func BenchmarkPoison(b *testing.B) {
	const stored = 20_000
	for _, poison := range []int{0, stored / 10} {
		b.Run(fmt.Sprintf("%d of %d", poison, stored), func(b *testing.B) {
			bus := benchBus(b)
			p := bus.Publisher(b, natsbus.PublisherConfig{})
			recs := benchRecords(stored)
			for part := range slices.Chunk(recs, 10) {
				require.NoError(b, p.Write(b.Context(), part))
				if poison > 0 {
					_, err := bus.JS.Publish(b.Context(), natsbus.Subject("", part[0].Instrument, marketprism.KindUpdate), []byte("garbage"))
					require.NoError(b, err)
				}
			}
			round, writes := 0, 0
			for b.Loop() {
				round++
				c := bus.Consumer(b, natsbus.ConsumerConfig{Durable: fmt.Sprintf("bench%d", round), Batch: benchBatch, DeadLetters: true})
				stop := bustest.Run(b, c, sink.Func(func(context.Context, []marketprism.Record) error {
					writes++
					return nil
				}))
				bustest.Settled(b, c, stored+poison)
				require.NoError(b, stop())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/stored, "ns/record")
			b.ReportMetric(float64(writes)/float64(b.N), "writes")
		})
	}
}

// perRecord reports the cost of one record.
func perRecord(b *testing.B) {
	records := float64(b.N) * benchBatch
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/records, "ns/record")
	b.ReportMetric(records/b.Elapsed().Seconds(), "records/s")
}
