package natsbus_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestPublisherAndConsumerAreASink(t *testing.T) {
	short.Skip(t)
	sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
		b := bustest.New(t, natsbus.StreamsConfig{})
		streams := []string{natsbus.BooksStream(""), natsbus.TradesStream("")}
		got := make([]sinktest.Recorder, len(streams))
		for i, stream := range streams {
			bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{Stream: stream}), &got[i])
		}
		return b.Publisher(t, natsbus.PublisherConfig{}), func(t *testing.T) (all []marketprism.Record) {
			for i, stream := range streams {
				all = append(all, bustest.Await(t, &got[i], b.Messages(t, stream))...)
			}
			return all
		}
	})
}

func TestTwoPublishersStoreEachRecordOnce(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := sinktest.Records(1, 4000)
	var wg sync.WaitGroup
	publishers := []*natsbus.Publisher{b.Publisher(t, natsbus.PublisherConfig{}), b.Publisher(t, natsbus.PublisherConfig{})}
	for i, p := range publishers {
		wg.Go(func() {
			for batch := range slices.Chunk(recs, 100+i*57) {
				if err := p.Write(t.Context(), batch); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	books, trades := split(recs)
	require.Equal(t, len(books), b.Messages(t, natsbus.BooksStream("")))
	require.Equal(t, len(trades), b.Messages(t, natsbus.TradesStream("")))
	one, two := publishers[0].Stats(), publishers[1].Stats()
	require.EqualValues(t, len(recs), one.Duplicates+two.Duplicates)
	require.EqualValues(t, 2*len(recs), one.Acked+two.Acked)

	var got sinktest.Recorder
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{}), &got)
	stored := bustest.Await(t, &got, len(books))
	if one.OutOfOrder+two.OutOfOrder > 0 { // a server was slow to confirm, and the publisher has reported the disorder
		byKey := func(a, b marketprism.Record) int { return strings.Compare(a.Key(), b.Key()) }
		slices.SortStableFunc(books, byKey)
		slices.SortStableFunc(stored, byKey)
	}
	requirePerInstrument(t, books, stored)
}

// Encoded records, and others among them, are published as Write does it.
func TestWriteEncoded(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs, _ := split(sinktest.Records(5, 600))
	peeked, bodies, peek := slices.Clone(recs), make([][]byte, len(recs)), natsbus.Decoder{SkipLevels: true}
	for i := range recs {
		if i%3 > 0 {
			var err error
			bodies[i], err = natsbus.AppendRecord(nil, &recs[i])
			require.NoError(t, err)
			require.NoError(t, peek.Decode("", bodies[i], &peeked[i]))
		}
	}
	p := b.Publisher(t, natsbus.PublisherConfig{})
	require.NoError(t, p.WriteEncoded(t.Context(), peeked, bodies))
	require.NoError(t, p.Write(t.Context(), recs))
	require.EqualValues(t, len(recs), p.Stats().Duplicates, "the ids are the same")
	var got sinktest.Recorder
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{}), &got)
	requirePerInstrument(t, recs, bustest.Await(t, &got, len(recs)))
}

// requirePerInstrument compares the records of each instrument, in order.
func requirePerInstrument(t testing.TB, want, got []marketprism.Record) {
	t.Helper()
	wanted, found := byInstrument(want), byInstrument(got)
	for inst, recs := range wanted {
		bustest.RequireEqual(t, recs, found[inst])
	}
	require.Len(t, found, len(wanted))
}

func byInstrument(recs []marketprism.Record) map[marketprism.Instrument][]marketprism.Record {
	m := make(map[marketprism.Instrument][]marketprism.Record)
	for _, r := range recs {
		m[r.Instrument] = append(m[r.Instrument], r)
	}
	return m
}

// The server is restarted while records are published and consumed. Each record is stored once, and arrives in order.
func TestServerRestartsUnderLoad(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	underLoad(t, b, func() { b.Restart(t) })
}

// The same, where the server runs on and only the connection is lost.
func TestConnectionIsCutUnderLoad(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	underLoad(t, b, func() { require.NoError(t, b.JS.Conn().ForceReconnect()) })
	require.NotZero(t, b.JS.Conn().Stats().Reconnects)
}

// The leaders of the streams and of their durables step down, one after the other.
func leaderChangesUnderLoad(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	underLoad(t, b, func() {
		b.StepDown(t, "MD_DEPTH", "test")
		b.StepDown(t, "MD_TRADE", "test")
	})
}

// underLoad calls disturb four times while records are published and consumed, and checks that each record is stored
// once, and read in order. In a cluster a change of leaders may put some out of order, and each must be reported.
func underLoad(t *testing.T, b *bustest.Bus, disturb func()) {
	recs := sinktest.Records(2, 12_000)
	books, trades := split(recs)
	const restarts = 4
	due := make(chan struct{}, restarts)
	published, reported := 0, 0
	p := b.Publisher(t, natsbus.PublisherConfig{MaxPending: 256, Hooks: &natsbus.Hooks{
		Published: func(i natsbus.PublishInfo) {
			before := published
			published += i.Records
			for at := range restarts {
				if mark := (at + 1) * len(recs) / (restarts + 1); before < mark && mark <= published {
					due <- struct{}{}
				}
			}
		},
		OutOfOrder: func(i natsbus.OutOfOrderInfo) { reported += i.Records },
	}})
	var gotBooks, gotTrades sinktest.Recorder
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{Batch: 300}), &gotBooks)
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{Batch: 300, Stream: natsbus.TradesStream("")}), &gotTrades)

	written := make(chan error, 1)
	go func() {
		for batch := range slices.Chunk(recs, 150) {
			if err := p.Write(t.Context(), batch); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	for range restarts {
		<-due
		disturb()
	}
	require.NoError(t, <-written)
	require.NotZero(t, p.Stats().Retries)
	require.Equal(t, len(books), b.Messages(t, natsbus.BooksStream("")), "stored once each")
	require.Equal(t, len(trades), b.Messages(t, natsbus.TradesStream("")), "stored once each")
	late := 0
	for got, want := range map[*sinktest.Recorder][]marketprism.Record{&gotBooks: books, &gotTrades: trades} {
		require.Eventually(t, func() bool { return len(got.Unique()) == len(want) }, bustest.Patience, bustest.Interval)
		read := got.Unique()
		late += putInOrder(t, read, want)
		bustest.RequireEqual(t, want, read)
	}
	require.Equal(t, reported, late)
	if b.Cluster == nil {
		require.Zero(t, late)
	}
}

// putInOrder sorts records as they were written, and returns how many came behind a later one of their instrument.
func putInOrder(t *testing.T, read, written []marketprism.Record) (late int) {
	type place struct{ written, read int }
	places := make(map[string]place, len(written))
	for i := range written {
		places[written[i].Key()] = place{written: i}
	}
	require.Len(t, places, len(written))
	for i := range read {
		p, ok := places[read[i].Key()]
		require.True(t, ok, "%s was not written", read[i].Key())
		places[read[i].Key()] = place{p.written, i}
	}
	first := make(map[marketprism.Instrument]int) // where the first of the later records was read
	for _, rec := range slices.Backward(written) {
		at := places[rec.Key()].read
		if before, ok := first[rec.Instrument]; ok && before < at {
			late++
			continue
		}
		first[rec.Instrument] = at
	}
	slices.SortFunc(read, func(a, b marketprism.Record) int { return places[a.Key()].written - places[b.Key()].written })
	return late
}

// large returns a record of about that many bytes.
func large(id int64, bytes int) marketprism.Record {
	return marketprism.Record{Instrument: bustest.BTC, ReceivedAt: time.Unix(1_780_000_000, 0).UTC(), Snapshot: &orderbook.Snapshot{
		LastID: id, Bids: make([]orderbook.Level, bytes/len(`["0","0"],`)),
	}}
}

func TestWriteWaitsForAFullStreamUntilCtxEnds(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 20_000}})
	ctx, cancel := context.WithCancel(t.Context())
	retries := 0
	p := b.Publisher(t, natsbus.PublisherConfig{RetryMin: 1, Hooks: &natsbus.Hooks{Retrying: func(i natsbus.RetryInfo) {
		require.ErrorIs(t, i.Err, natsbus.ErrStreamFull)
		if retries++; retries == 3 {
			cancel()
		}
	}}})
	var recs []marketprism.Record
	for id := range int64(200) {
		recs = append(recs, bustest.Update(id+1))
	}
	err := p.Write(ctx, recs)
	var failed *natsbus.PublishError
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, natsbus.ErrStreamFull)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "md.binance.spot.depth.BTCUSDT", failed.Subject)
	stored := b.Messages(t, natsbus.BooksStream(""))
	require.Equal(t, recs[stored].Key(), failed.Key, "the first that is not stored")
	require.NotZero(t, stored)
	require.EqualValues(t, 1, p.Stats().Failed)

	// Once there is room the same Write succeeds, and stores no record twice.
	stream, err := b.JS.Stream(t.Context(), natsbus.BooksStream(""))
	require.NoError(t, err)
	cfg := stream.CachedInfo().Config
	cfg.MaxBytes = 1 << 20
	_, err = b.JS.UpdateStream(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, p.Write(t.Context(), recs))
	require.Equal(t, len(recs), b.Messages(t, natsbus.BooksStream("")))
}

// A server may refuse a large record and accept the small one behind it, when both were in flight. Nothing is lost, and
// the disorder is reported.
func TestDisorderIsReported(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 20_000, Uncompressed: true}})
	stream, err := b.JS.Stream(t.Context(), natsbus.BooksStream(""))
	require.NoError(t, err)
	var reported []natsbus.OutOfOrderInfo
	p := b.Publisher(t, natsbus.PublisherConfig{RetryMin: 1, Hooks: &natsbus.Hooks{
		Retrying:   func(natsbus.RetryInfo) { require.NoError(t, stream.Purge(t.Context())) },
		OutOfOrder: func(i natsbus.OutOfOrderInfo) { reported = append(reported, i) },
	}})
	refused, id := large(0, 15_000), int64(1)
	for tries := 0; len(reported) == 0 && tries < 1000; tries++ { // the small one may be sent in time, or not
		require.NoError(t, p.Write(t.Context(), []marketprism.Record{large(id, 15_000)}))
		refused = large(id+2, 15_000)
		require.NoError(t, p.Write(t.Context(), []marketprism.Record{bustest.Update(id + 1), refused, bustest.Update(id + 3)}))
		require.NoError(t, stream.Purge(t.Context()))
		id += 4
	}
	require.Len(t, reported, 1)
	require.Equal(t, refused.Key(), reported[0].Key)
	require.Equal(t, 1, reported[0].Records)
	require.EqualValues(t, 1, p.Stats().OutOfOrder)
}

func TestWriteFailsAtOnceWhereWaitingCannotHelp(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	tests := []struct {
		name string
		cfg  natsbus.PublisherConfig
		rec  marketprism.Record
		err  error
	}{
		{"no stream", natsbus.PublisherConfig{Prefix: "elsewhere"}, bustest.Update(1), natsbus.ErrNoStream},
		{"too large", natsbus.PublisherConfig{}, large(1, 2<<20), natsbus.ErrTooLarge},
		{"no record", natsbus.PublisherConfig{}, marketprism.Record{Instrument: bustest.BTC}, marketprism.ErrKind},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := b.Publisher(t, test.cfg)
			err := p.Write(t.Context(), []marketprism.Record{bustest.Update(100), test.rec, bustest.Update(101)})
			if test.name == "no stream" {
				err = p.Write(t.Context(), []marketprism.Record{test.rec})
			}
			var failed *natsbus.PublishError
			require.ErrorAs(t, err, &failed)
			require.ErrorIs(t, err, test.err)
			require.Nil(t, failed.Ended)
			require.Equal(t, test.rec.Key(), failed.Key)
			require.Equal(t, 1, failed.Attempts)
		})
	}
	require.Equal(t, 1, b.Messages(t, natsbus.BooksStream("")), "the record before the bad one is stored")
}

// An instrument that makes no header value is refused for good, and the error names the part of it.
func TestInstrumentThatIsNoHeader(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	p := b.Publisher(t, natsbus.PublisherConfig{})
	for i, test := range []struct {
		key        string
		instrument marketprism.Instrument
	}{
		{"symbol", marketprism.Instrument{Exchange: "binance", Market: "spot", Symbol: "A\nB"}},
		{"symbol", marketprism.Instrument{Exchange: "binance", Market: "spot", Symbol: "A\r"}},
		{"symbol", marketprism.Instrument{Exchange: "binance", Market: "spot", Symbol: "\r\nNats-Msg-Id: x"}},
		{"market", marketprism.Instrument{Exchange: "binance", Market: "s\npot", Symbol: "AB"}},
		{"exchange", marketprism.Instrument{Exchange: "bin\rance", Market: "spot", Symbol: "AB"}},
		{"exchange", marketprism.Instrument{Exchange: " binance", Market: "spot", Symbol: "AB"}},
		{"exchange", marketprism.Instrument{Exchange: "\tbinance", Market: "spot", Symbol: "AB"}},
	} {
		bad := bustest.Update(1)
		bad.Instrument = test.instrument
		err := p.Write(t.Context(), []marketprism.Record{bustest.Update(int64(i + 1)), bad, bustest.Update(100)})
		bustest.RequireKind(t, err, "value")
		var codec *natsbus.CodecError
		require.ErrorAs(t, err, &codec)
		require.Equal(t, test.key, codec.Key)
		require.ErrorContains(t, err, "line break")
		require.True(t, sink.Permanent(err))
		var failed *natsbus.PublishError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, bad.Key(), failed.Key)
		require.Equal(t, 1, failed.Attempts)
		require.Equal(t, i+1, b.Messages(t, "MD_DEPTH"), "the records before the bad ones are stored")
	}
}

// A Write names all records that can never be published, also those that it has not sent.
func TestWriteNamesAllRefusedRecords(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	p := b.Publisher(t, natsbus.PublisherConfig{})
	recs := bustest.Updates(50)
	recs[7] = large(1, 2<<20)
	recs[20].Instrument.Symbol = "A\nB"
	recs[21].Update.Bids = []orderbook.Level{{Price: -1}}
	recs[49] = large(2, 1<<20)
	err := p.Write(t.Context(), recs)
	require.ErrorIs(t, err, natsbus.ErrTooLarge)
	var refused []int
	for _, f := range sink.Refused(err, len(recs)) {
		refused = append(refused, f.Index)
		require.Error(t, f.Err)
	}
	require.Equal(t, []int{7, 20, 21, 49}, refused)
	require.NoError(t, p.Write(t.Context(), bustest.Without(recs, refused...)))
	require.Equal(t, len(recs)-len(refused), b.Messages(t, natsbus.BooksStream("")))
}

// What a stream refuses, which allows less than the server, is known when it was sent.
func TestWriteNamesWhatTheStreamRefuses(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	cfg := bustest.Config(t, b.JS, natsbus.BooksStream(""))
	cfg.MaxMsgSize = 4096
	_, err := b.JS.UpdateStream(t.Context(), cfg)
	require.NoError(t, err)
	recs := bustest.Updates(10)
	recs[3], recs[4], recs[8] = large(1, 8000), large(2, 8000), large(3, 8000)
	p := b.Publisher(t, natsbus.PublisherConfig{})
	for len(recs) > 7 {
		refused := sink.Refused(p.Write(t.Context(), recs), len(recs))
		require.NotEmpty(t, refused)
		for _, f := range slices.Backward(refused) {
			require.NotNil(t, recs[f.Index].Snapshot)
			recs = bustest.Without(recs, f.Index)
		}
	}
	require.NoError(t, p.Write(t.Context(), recs))
}

// A sealed stream will never accept a message: the Write fails at once.
func TestSealedStreamIsReadOnly(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	sealed := bustest.Config(t, b.JS, "MD_DEPTH")
	sealed.Sealed = true
	_, err := b.JS.UpdateStream(t.Context(), sealed)
	require.NoError(t, err)
	err = b.Publisher(t, natsbus.PublisherConfig{}).Write(t.Context(), []marketprism.Record{bustest.Update(1)})
	require.ErrorIs(t, err, natsbus.ErrReadOnly)
	require.NotErrorIs(t, err, natsbus.ErrUnavailable)
}

// A Write on a subject that the server denies fails, although the server does not answer.
func TestDeniedSubjectFails(t *testing.T) {
	s := secured(t, `authorization { users = [
		{ user: admin, password: a }
		{ user: trader, password: b, permissions: { publish: ["md.*.*.trade.*", "$JS.API.>"], subscribe: ["_INBOX.>"] } }
	] }`)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), natstest.JetStream(t, s, nats.UserInfo("admin", "a")), natsbus.StreamsConfig{}))
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	b := &bustest.Bus{Server: s, JS: natstest.JetStream(t, s, append(natsbus.Options(), nats.UserInfo("trader", "b"), quiet)...)}
	p := b.Publisher(t, natsbus.PublisherConfig{AckTimeout: 200 * time.Millisecond})
	err := p.Write(t.Context(), []marketprism.Record{bustest.Update(1)})
	require.ErrorIs(t, err, natsbus.ErrDenied)
	require.ErrorContains(t, err, "md.binance.spot.depth.BTCUSDT")
	require.NoError(t, p.Write(t.Context(), []marketprism.Record{bustest.Trade(1)}))
}

// A Write for which there is no stream fails within AckTimeout also while somebody else listens on the subject, whether
// it answers or not: the server does not report then that there is no listener.
func TestNoStreamWhileSomebodyListens(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	for name, answer := range map[string]string{"listens": "", "answers": "hello", "answers JSON": "{}"} {
		t.Run(name, func(t *testing.T) {
			sub, err := b.JS.Conn().Subscribe("elsewhere.>", func(m *nats.Msg) {
				if answer != "" {
					_ = m.Respond([]byte(answer))
				}
			})
			require.NoError(t, err)
			defer func() { require.NoError(t, sub.Unsubscribe()) }()
			p := b.Publisher(t, natsbus.PublisherConfig{Prefix: "elsewhere", AckTimeout: 100 * time.Millisecond, MaxAttempts: 2, RetryMin: 1, RetryMax: 1})
			err = p.Write(t.Context(), []marketprism.Record{bustest.Update(1)})
			var failed *natsbus.PublishError
			require.ErrorAs(t, err, &failed)
			require.ErrorIs(t, err, natsbus.ErrNoStream)
			require.Equal(t, 1, failed.Attempts)
			require.NotErrorIs(t, err, natsbus.ErrUnavailable)
		})
	}
}

// A Write waits for a server that does not answer, and AckTimeout bounds each attempt.
func TestWriteWaitsForASlowServer(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	quiet := jetstream.StreamConfig{Name: "QUIET", Subjects: []string{"quiet.>"}, NoAck: true} // receives the message and confirms nothing
	_, err := b.JS.CreateStream(t.Context(), quiet)
	require.NoError(t, err)
	silent, err := b.JS.Conn().SubscribeSync("quiet.>") // otherwise the server would report that there is no listener
	require.NoError(t, err)
	retried := make(chan natsbus.RetryInfo, 100)
	p := b.Publisher(t, natsbus.PublisherConfig{
		Prefix: "quiet", AckTimeout: 50 * time.Millisecond, RetryMin: 1, RetryMax: time.Millisecond,
		Hooks: &natsbus.Hooks{Retrying: func(i natsbus.RetryInfo) { retried <- i }},
	})
	done := make(chan error, 1)
	go func() { done <- p.Write(t.Context(), []marketprism.Record{bustest.Update(1)}) }()
	require.ErrorIs(t, bustest.Receive(t, retried).Err, natsbus.ErrUnavailable)
	require.Positive(t, p.Stats().Failures.Timeout)
	quiet.NoAck = false
	_, err = b.JS.UpdateStream(t.Context(), quiet)
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.NoError(t, silent.Unsubscribe())
}

func TestWriteGivesUpAfterMaxAttempts(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	p := b.Publisher(t, natsbus.PublisherConfig{MaxAttempts: 3, RetryMin: 1, RetryMax: 1})
	require.NoError(t, b.Close())
	err := p.Write(t.Context(), []marketprism.Record{bustest.Update(1)})
	var failed *natsbus.PublishError
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, natsbus.ErrUnavailable)
	require.Equal(t, 3, failed.Attempts)
	require.EqualValues(t, 2, p.Stats().Retries)
}

func TestClosedPublisherFails(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	p := b.Publisher(t, natsbus.PublisherConfig{})
	b.Publish(t, []marketprism.Record{bustest.Update(1)})
	p.Close()
	require.ErrorIs(t, p.Write(t.Context(), []marketprism.Record{bustest.Update(2)}), natsbus.ErrClosed)

	p = b.Publisher(t, natsbus.PublisherConfig{})
	b.JS.Conn().Close()
	require.ErrorIs(t, p.Write(t.Context(), []marketprism.Record{bustest.Update(2)}), natsbus.ErrClosed)
}

// A record above MaxPendingBytes is sent alone, and the bounds are kept.
func TestPendingIsBounded(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	p := b.Publisher(t, natsbus.PublisherConfig{MaxPending: 8, MaxPendingBytes: 10_000})
	var recs []marketprism.Record
	for id := range int64(300) {
		recs = append(recs, large(id+1, int(id%50)*400))
	}
	require.NoError(t, p.Write(t.Context(), recs))
	stats := p.Stats()
	require.EqualValues(t, len(recs), stats.Acked)
	require.Zero(t, stats.Pending)
	require.Zero(t, stats.PendingBytes)
}

func TestPublisherConfigIsChecked(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t))
	for _, cfg := range []natsbus.PublisherConfig{
		{Prefix: "a b"}, {Prefix: "a..b"}, {Prefix: ">"}, {Prefix: "."}, {MaxPending: -1}, {MaxPendingBytes: -1},
		{AckTimeout: -1}, {RetryMin: -1}, {RetryMin: 2, RetryMax: 1}, {MaxAttempts: -1},
	} {
		_, err := natsbus.NewPublisher(js, cfg)
		require.Error(t, err, "%+v", cfg)
	}
}

// A quiet book whose connection is lost twice ends and begins twice at one update id. The stream keeps both, so that the
// updates behind them are within a span; a repeated Write is stored once all the same.
func TestQuietBookThatIsLostTwice(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	syncer, err := orderbook.NewSyncer(orderbook.SyncerConfig{})
	require.NoError(t, err)
	now := time.Unix(1_780_000_000, 0).UTC()
	var recs []marketprism.Record
	emit := func(out orderbook.Output) orderbook.FetchID {
		for _, e := range out.Events {
			r := marketprism.Record{Instrument: bustest.BTC, ReceivedAt: now, Update: e.Update, Snapshot: e.Snapshot, Gap: e.Gap}
			recs = append(recs, r.Clone())
		}
		now = now.Add(time.Second)
		return out.Fetch
	}
	snap := orderbook.Snapshot{LastID: 150, Bids: []orderbook.Level{{Price: 1, Quantity: 1}}}
	for range 2 {
		emit(syncer.Snapshot(now, emit(syncer.Connected(now)), &snap))
		emit(syncer.Disconnected(now, errors.New("reset")))
	}
	emit(syncer.Snapshot(now, emit(syncer.Connected(now)), &snap))
	emit(syncer.Update(now, &orderbook.Update{FirstID: 151, LastID: 152, Bids: []orderbook.Level{{Price: 2, Quantity: 1}}}))
	require.Len(t, recs, 6)
	for range 2 {
		b.Publish(t, recs)
	}
	var got sinktest.Recorder
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{}), &got)
	bustest.Await(t, &got, len(recs))
	for i, r := range got.Records() {
		require.Equal(t, recs[i].Key(), r.Key())
	}
	require.Equal(t, len(recs), b.Messages(t, natsbus.BooksStream("")))
}

// split separates records by stream.
func split(recs []marketprism.Record) (books, trades []marketprism.Record) {
	for _, r := range recs {
		if r.Trade != nil {
			trades = append(trades, r)
		} else {
			books = append(books, r)
		}
	}
	return books, trades
}

// The counts of both streams add up, and Hooks.Acked is called for every confirmation.
func TestPublisherCountsByStream(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	var (
		mu   sync.Mutex
		acks []natsbus.AckInfo
	)
	p := b.Publisher(t, natsbus.PublisherConfig{Hooks: &natsbus.Hooks{Acked: func(i natsbus.AckInfo) {
		mu.Lock()
		defer mu.Unlock()
		acks = append(acks, i)
	}}})
	require.Equal(t, "MD_DEPTH", p.Stats().Books.Stream)
	require.Equal(t, "MD_TRADE", p.Stats().Trades.Stream)

	recs := bustest.Updates(10)
	trade := bustest.Trade(1)
	require.NoError(t, p.Write(t.Context(), append(recs, trade)))
	require.NoError(t, p.Write(t.Context(), recs[:4]))

	large := bustest.Updates(1)[0]
	large.Update.FirstID, large.Update.LastID = 1000, 1000
	large.Instrument.Symbol = strings.Repeat("A", 2<<20)
	require.ErrorIs(t, p.Write(t.Context(), []marketprism.Record{large}), natsbus.ErrTooLarge)

	stats := p.Stats()
	books := stats.Books
	require.EqualValues(t, 14, books.Sent)
	require.EqualValues(t, 14, books.Acked)
	require.EqualValues(t, 4, books.Duplicates)
	require.Equal(t, natsbus.PublishFailures{TooLarge: 1}, books.Failures)
	require.Greater(t, books.SentBytes, uint64(14*100))
	require.Less(t, books.SentBytes, uint64(1<<20), "a record that was not sent is not counted")
	require.Zero(t, books.Pending)
	require.Zero(t, books.PendingBytes)
	require.EqualValues(t, 1, stats.Trades.Acked)
	require.EqualValues(t, 15, stats.Acked)
	require.EqualValues(t, 15, stats.Sent)
	require.Equal(t, books.Failures, stats.PublishCounts.Failures)

	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(acks) == 15
	}, bustest.Patience, bustest.Interval, "the last is told of as its Write returns")
	mu.Lock()
	defer mu.Unlock()
	duplicates := 0
	for _, ack := range acks {
		require.Positive(t, ack.Took)
		require.NotZero(t, ack.Sequence)
		if ack.Duplicate {
			duplicates++
		}
	}
	require.Equal(t, 4, duplicates)
}

// Failures are counted by reason: a full stream, and a missing one.
func TestPublisherCountsFailures(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 4096}})
	require.NoError(t, b.JS.DeleteStream(t.Context(), "MD_TRADE"))
	p := b.Publisher(t, natsbus.PublisherConfig{MaxAttempts: 1})
	require.ErrorIs(t, p.Write(t.Context(), bustest.Updates(100)), natsbus.ErrStreamFull)
	trade := bustest.Trade(1)
	require.ErrorIs(t, p.Write(t.Context(), []marketprism.Record{trade}), natsbus.ErrNoStream)

	stats := p.Stats()
	require.Positive(t, stats.Books.Failures.StreamFull)
	require.Equal(t, natsbus.PublishFailures{StreamFull: stats.Books.Failures.StreamFull}, stats.Books.Failures)
	require.Equal(t, natsbus.PublishFailures{NoResponders: 1}, stats.Trades.Failures)
}

// An instrument whose subject would exceed what a server takes as a line is refused for good. The server would end the
// connection, again with each repetition.
func TestInstrumentWithoutRoomInSubject(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	p := b.Publisher(t, natsbus.PublisherConfig{})
	fits, bad, worse := bustest.Update(1), bustest.Update(2), bustest.Update(3)
	fits.Instrument.Symbol = strings.Repeat("A", 1000)
	bad.Instrument.Symbol = strings.Repeat("/", 340)
	worse.Instrument.Symbol = strings.Repeat("LONG", 1250)
	recs := []marketprism.Record{fits, bad, bustest.Update(4), worse, bustest.Update(5)}
	err := p.Write(t.Context(), recs)
	require.ErrorIs(t, err, natsbus.ErrTooLarge)
	refused := sink.Refused(err, len(recs))
	require.Len(t, refused, 2)
	require.NoError(t, p.Write(t.Context(), bustest.Without(recs, refused[0].Index, refused[1].Index)))
	require.Equal(t, 3, b.Messages(t, natsbus.BooksStream("")))
}
