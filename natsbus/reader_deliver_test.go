package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// If any records of a batch are refused, the others are written once and in order, and the refused ones become dead
// letters.
func TestRefusedRecordIsIsolated(t *testing.T) {
	short.Skip(t)
	const batch = 128
	tests := []struct {
		name     string
		named    bool
		poison   []int
		refusals uint64 // Writes that fail, at most
	}{
		{"halving, one in the middle", false, []int{77}, 8},
		{"halving, first and last of a batch", false, []int{0, 127}, 2 * 8},
		{"halving, neighbours and several batches", false, []int{5, 6, 7, 130, 399}, 5 * 8},
		{"halving, a whole batch of them", false, span(128, 256), 2*batch + 2*8},
		{"named, one in the middle", true, []int{77}, 1},
		{"named, several", true, []int{0, 1, 77, 127, 128, 399}, 6},
		{"named, a whole batch of them", true, span(128, 256), 16},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := bustest.New(t, natsbus.StreamsConfig{})
			recs := bustest.Updates(400)
			b.Publish(t, recs)
			var (
				got  sinktest.Recorder
				dead []natsbus.DeadLetterInfo
			)
			sk := bustest.NewPicky(&got)
			sk.Named = test.named
			for _, i := range test.poison {
				sk.Refuse(recs[i])
			}
			c := b.Consumer(t, natsbus.ConsumerConfig{Batch: batch, DeadLetters: true, Hooks: &natsbus.Hooks{
				DeadLettered: func(i natsbus.DeadLetterInfo) { dead = append(dead, i) },
			}})
			stop := bustest.Run(t, c, sk)
			bustest.Settled(t, c, len(recs))
			b.AllAcked(t, "MD_DEPTH", "test")
			require.NoError(t, stop())
			bustest.RequireEqual(t, bustest.Without(recs, test.poison...), got.Records())

			require.Len(t, dead, len(test.poison))
			for n, i := range test.poison {
				require.Equal(t, recs[i].Key(), dead[n].Key)
				require.EqualValues(t, i+1, dead[n].Sequence)
				require.Equal(t, natsbus.DeadRefused, dead[n].Reason)
			}
			require.Equal(t, len(test.poison), b.Messages(t, "MD_DLQ"))
			stats := c.Stats()
			require.EqualValues(t, len(recs)-len(test.poison), stats.Records)
			require.EqualValues(t, len(test.poison), stats.DeadLettered)
			require.LessOrEqual(t, stats.Refusals, test.refusals)
			require.Zero(t, stats.SinkFailures+stats.Released)
			require.Equal(t, natsbus.CircuitClosed, stats.Circuit)
		})
	}
}

// withGarbage publishes recs with one message that is no record behind each of n, and returns how many there are.
func withGarbage(t *testing.T, b *bustest.Bus, recs []marketprism.Record, n int) (garbage int) {
	t.Helper()
	p := b.Publisher(t, natsbus.PublisherConfig{})
	for part := range slices.Chunk(recs, n) {
		require.NoError(t, p.Write(t.Context(), part))
		_, err := b.JS.Publish(t.Context(), natsbus.Subject("", bustest.BTC, marketprism.KindUpdate), []byte("garbage"))
		require.NoError(t, err)
		garbage++
	}
	return garbage
}

// Of 10 % poison each batch costs no Write more, whether it cannot be decoded or the sink names it.
func TestPoisonCostsNoWrite(t *testing.T) {
	const batch = 220
	t.Run("undecodable", func(t *testing.T) {
		b := bustest.New(t, natsbus.StreamsConfig{})
		recs := bustest.Updates(2 * batch * 10 / 11)
		garbage := withGarbage(t, b, recs, 10)
		var got sinktest.Recorder
		c := b.Consumer(t, natsbus.ConsumerConfig{Batch: batch, FlushEvery: time.Minute, DeadLetters: true})
		bustest.Run(t, c, &got)
		bustest.Settled(t, c, len(recs)+garbage)
		bustest.RequireEqual(t, recs, got.Records())
		require.Len(t, got.Writes(), 2)
		require.Equal(t, garbage, b.Messages(t, "MD_DLQ"))
	})
	t.Run("refused", func(t *testing.T) {
		b := bustest.New(t, natsbus.StreamsConfig{})
		recs := bustest.Updates(2 * batch)
		b.Publish(t, recs)
		var (
			got    sinktest.Recorder
			poison []int
		)
		sk := bustest.NewPicky(&got)
		sk.Named = true
		for i := 5; i < len(recs); i += 10 {
			sk.Refuse(recs[i])
			poison = append(poison, i)
		}
		c := b.Consumer(t, natsbus.ConsumerConfig{Batch: batch, FlushEvery: time.Minute, DeadLetters: true})
		bustest.Run(t, c, sk)
		bustest.Settled(t, c, len(recs))
		bustest.RequireEqual(t, bustest.Without(recs, poison...), got.Records())
		require.Len(t, got.Writes(), 2)
		require.EqualValues(t, 2, c.Stats().Refusals)
		require.Equal(t, len(poison), b.Messages(t, "MD_DLQ"))
	})
}

// The server gets the replies in the order of the stream, those of dead letters among the acknowledgements.
func TestRepliesKeepTheOrderOfTheStream(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	replies := make(chan *nats.Msg, 1000)
	sub, err := b.JS.Conn().ChanSubscribe("$JS.ACK.MD_DEPTH.>", replies)
	require.NoError(t, err)
	defer func() { require.NoError(t, sub.Unsubscribe()) }()
	recs := bustest.Updates(60)
	garbage := withGarbage(t, b, recs, 7)
	sk := bustest.NewPicky(&sinktest.Recorder{}, recs[0], recs[30], recs[31], recs[59])
	sk.Named = true
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
	stop := bustest.Run(t, c, sk)
	bustest.Settled(t, c, len(recs)+garbage)
	require.NoError(t, stop())
	terms := 0
	for sequence := 1; sequence <= len(recs)+garbage; sequence++ {
		reply := bustest.Receive(t, replies)
		require.Equal(t, strconv.Itoa(sequence), strings.Split(reply.Subject, ".")[5], "%s", reply.Data)
		if strings.HasPrefix(string(reply.Data), "+TERM dlq:") {
			terms++
		} else {
			require.Equal(t, "+ACK", string(reply.Data))
		}
	}
	require.Equal(t, garbage+4, terms)
	require.EqualValues(t, terms, c.Stats().Replies.Term)
}

// While a letter is not accepted, what is before its message is acknowledged, and nothing behind it. The batch was written
// when that came out; nothing else is written, also by a later Run.
func TestNothingIsWrittenBehindABlockedLetter(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(98)                 // the second Run gets two whole batches
	garbage := withGarbage(t, b, recs[:40], 15) // behind records 15, 30 and 40
	require.NoError(t, b.JS.DeleteStream(t.Context(), natsbus.DeadLettersStream("")))
	var got sinktest.Recorder
	failed := make(chan int, 100)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, DrainTimeout: -1, Batch: 40 + garbage, FlushEvery: time.Minute, Hooks: &natsbus.Hooks{
		DeadLetterFailed: func(natsbus.RetryInfo) { failed <- len(got.Records()) },
	}})
	stop := bustest.Run(t, c, &got)
	require.Equal(t, 40, bustest.Receive(t, failed))
	b.Publish(t, recs[40:45])
	require.Equal(t, 40, bustest.Receive(t, failed))
	require.Equal(t, 45+garbage-15, b.Unacked(t, "MD_DEPTH", "test"))
	require.Error(t, stop())

	for len(failed) > 0 {
		<-failed
	}
	b.Publish(t, recs[45:])
	bustest.Run(t, c, &got)
	for range 2 {
		require.Equal(t, 40, bustest.Receive(t, failed))
	}
	require.Equal(t, len(recs)+garbage-15, b.Unacked(t, "MD_DEPTH", "test"))
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
	bustest.Settled(t, c, len(recs)+garbage)
	bustest.RequireEqual(t, recs, got.Unique())
	require.LessOrEqual(t, len(got.Writes()), 3)
	letters := b.Letters(t, deadletter.Filter{})
	require.Len(t, letters, garbage)
	for i, sequence := range []uint64{16, 32, 43} {
		require.Equal(t, sequence, letters[i].StreamSequence)
	}
}

type sinkError struct{ error }

func (e *sinkError) Unwrap() error { return e.error }

// The workers' refusals are of the batch's records, in an error that is the sink's own.
func TestWorkersNameRefusedRecords(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(400)
	for i := range recs {
		recs[i].Instrument.Symbol = fmt.Sprintf("SYM%dUSDT", i%64)
	}
	b.Publish(t, recs)
	var got sinktest.Recorder
	sk := bustest.NewPicky(&got)
	sk.Named = true
	var want []string
	for i := 3; i < len(recs); i += 11 {
		sk.Refuse(recs[i])
		want = append(want, recs[i].Key())
	}
	var dead []string
	c := b.Consumer(t, natsbus.ConsumerConfig{Workers: 4, DeadLetters: true, Hooks: &natsbus.Hooks{
		DeadLettered: func(i natsbus.DeadLetterInfo) { dead = append(dead, i.Key) },
	}, Classify: func(err error) natsbus.Failure {
		var own *sinkError
		require.ErrorAs(t, err, &own)
		require.ErrorIs(t, err, own.error)
		return natsbus.ClassifyError(err)
	}})
	stop := bustest.Run(t, c, sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		if err := sk.Write(ctx, recs); err != nil {
			return &sinkError{err}
		}
		return nil
	}))
	bustest.Settled(t, c, len(recs))
	require.NoError(t, stop())
	require.Equal(t, want, dead)
	require.Len(t, got.Unique(), len(recs)-len(want))
}

func span(from, to int) []int {
	var places []int
	for i := from; i < to; i++ {
		places = append(places, i)
	}
	return places
}

// While the sink is away no record is blamed, returned or skipped, even if a refusal is joined with the outage; and a
// record that is refused later is found all the same.
func TestOutageIsNoRefusal(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(300)
	b.Publish(t, recs)
	var (
		got    sinktest.Recorder
		states []natsbus.CircuitState
	)
	sk := bustest.NewPicky(&got, recs[150])
	outages := 12
	flaky := sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		if outages--; outages >= 0 && outages < 10 { // the first batch, the one after it during the halving
			return errors.Join(&bustest.RefusedError{}, errors.New("connection refused"))
		}
		return sk.Write(ctx, recs)
	})
	c := b.Consumer(t, natsbus.ConsumerConfig{Batch: 100, DeadLetters: true, Hooks: &natsbus.Hooks{
		Circuit: func(i natsbus.CircuitInfo) { states = append(states, i.State) },
	}})
	stop := bustest.Run(t, c, flaky)
	bustest.Await(t, &got, len(recs)-1)
	bustest.Settled(t, c, len(recs))
	b.AllAcked(t, "MD_DEPTH", "test")
	require.NoError(t, stop())
	bustest.RequireEqual(t, bustest.Without(recs, 150), got.Records())
	stats := c.Stats()
	require.EqualValues(t, 1, stats.DeadLettered)
	require.EqualValues(t, 10, stats.SinkFailures)
	require.Zero(t, stats.Redelivered+stats.Released, "nothing was returned to the server")
	require.True(t, stats.CircuitOpenSince.IsZero())
	want := []natsbus.CircuitState{}
	for range 10 {
		want = append(want, natsbus.CircuitOpen, natsbus.CircuitProbing)
	}
	require.Equal(t, append(want, natsbus.CircuitClosed), states)
}

// An unknown error counts as an outage until MaxAttempts, for the batch and for each part of the batch.
func TestUnknownErrorsAreExhausted(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(16)
	b.Publish(t, recs)
	var got sinktest.Recorder
	sk := bustest.NewPicky(&got, recs[5])
	c := b.Consumer(t, natsbus.ConsumerConfig{
		Batch: 16, FlushEvery: 2 * time.Second, DeadLetters: true, MaxAttempts: 3, // all in one batch
		Classify: func(error) natsbus.Failure { return natsbus.Failure{Class: natsbus.Unknown} },
	})
	bustest.Run(t, c, sk)
	bustest.Await(t, &got, len(recs)-1)
	bustest.Settled(t, c, len(recs))
	bustest.RequireEqual(t, bustest.Without(recs, 5), got.Records())
	letter := b.Letters(t, deadletter.Filter{})[0]
	require.Equal(t, natsbus.DeadExhausted, letter.Reason)
	require.Equal(t, 3, letter.Attempts)
	require.EqualValues(t, 6, letter.StreamSequence)
	require.EqualValues(t, 5*2, c.Stats().SinkFailures, "two repetitions of the batch, its half, ... and the record")
}

// Without dead letters a refused batch is written again.
func TestRefusedBatchIsRepeatedWithoutDeadLetters(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(10)
	b.Publish(t, recs)
	var got sinktest.Recorder
	sk := bustest.NewPicky(&got, recs[3])
	failures := 0
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{Hooks: &natsbus.Hooks{SinkFailed: func(natsbus.SinkFailedInfo) {
		if failures++; failures == 3 {
			sk.Relent()
		}
	}}}), sk)
	bustest.RequireEqual(t, recs, bustest.Await(t, &got, len(recs)))
	require.Zero(t, b.Messages(t, "MD_DLQ"))
}

func TestClassifyError(t *testing.T) {
	plain, refused := errors.New("x"), &bustest.RefusedError{}
	named := func(indexes ...int) error {
		e := &sink.RefusedError{}
		for _, i := range indexes {
			e.Records = append(e.Records, sink.Refusal{Index: i, Err: refused})
		}
		return e
	}
	refusal := natsbus.Failure{Class: natsbus.Refusal}
	refusalOf := func(indexes ...int) natsbus.Failure {
		return natsbus.Failure{Class: natsbus.Refusal, Refused: sink.Refused(named(indexes...), 100)}
	}
	for _, test := range []struct {
		err  error
		want natsbus.Failure
	}{
		{nil, natsbus.Failure{}},
		{plain, natsbus.Failure{}},
		{refused, refusal},
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w", refused)), refusal},
		{fmt.Errorf("a: %w", named(3, 7)), refusalOf(3, 7)},
		{errors.Join(named(7, 3), refused, named(5, 7)), refusalOf(3, 5, 7)},
		{errors.Join(named(3), plain), natsbus.Failure{}},
		{errors.Join(refused, plain), natsbus.Failure{}},
		{errors.Join(plain, refused), natsbus.Failure{}},
		{fmt.Errorf("a: %w", errors.Join(refused, errors.Join(refused, plain))), natsbus.Failure{}},
		{context.Canceled, natsbus.Failure{}},
	} {
		require.Equal(t, test.want, natsbus.ClassifyError(test.err), "%v", test.err)
	}
}

// Each instrument keeps its order while others are written concurrently.
func TestWorkersKeepTheOrderOfAnInstrument(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(2000)
	for i := range recs { // so many that one worker does not get all
		recs[i].Instrument.Symbol = fmt.Sprintf("SYM%dUSDT", i%64)
	}
	b.Publish(t, recs)
	var (
		mu     sync.Mutex
		order  = make(map[marketprism.Instrument][]uint64)
		busy   int
		atOnce int
	)
	both := make(chan struct{}) // closed when two Writes run
	c := b.Consumer(t, natsbus.ConsumerConfig{Workers: 4, Batch: 500})
	bustest.Run(t, c, sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		mu.Lock()
		if busy++; busy == 2 && atOnce < 2 {
			close(both)
		}
		atOnce = max(atOnce, busy)
		mu.Unlock()
		select {
		case <-both:
		case <-ctx.Done():
			return ctx.Err()
		}
		mu.Lock()
		defer mu.Unlock()
		busy--
		for _, r := range recs {
			order[r.Instrument] = append(order[r.Instrument], r.Origin.Sequence)
		}
		return nil
	}))
	require.Eventually(t, func() bool { return c.Stats().Records == uint64(len(recs)) }, bustest.Patience, bustest.Interval)
	mu.Lock()
	defer mu.Unlock()
	require.LessOrEqual(t, atOnce, 4)
	n := 0
	for inst, sequences := range order {
		require.True(t, slices.IsSorted(sequences), "%v", inst)
		n += len(sequences)
	}
	require.Equal(t, len(recs), n)
}

// A message that another program has put among the re-drives, and that is no record, becomes a dead letter of the
// stream, and holds up nothing.
func TestForeignMessageAmongRedrives(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	_, err := b.JS.Publish(t.Context(), "redrive.MD_DEPTH.test.md.binance.spot.depth.BTCUSDT", []byte("garbage"))
	require.NoError(t, err)
	letters := make(chan natsbus.DeadLetterInfo, 1)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{
		DeadLettered: func(i natsbus.DeadLetterInfo) { letters <- i },
	}})
	var got sinktest.Recorder
	bustest.Run(t, c, &got)
	letter := bustest.Receive(t, letters)
	require.Equal(t, "MD_DEPTH", letter.Stream)
}

// A message whose letter is stored, but whose reply was lost, comes again and counts as one letter.
func TestRepeatedLetterCountsOnce(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	withGarbage(t, b, bustest.Updates(1), 1)
	letters := 0
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{DeadLettered: func(natsbus.DeadLetterInfo) { letters++ }}})
	var got sinktest.Recorder
	for run := range uint64(2) {
		stop := bustest.Run(t, c, &got)
		require.Eventually(t, func() bool { return c.Stats().Replies.Term == run+1 }, bustest.Patience, bustest.Interval)
		require.NoError(t, stop())
		require.NoError(t, b.JS.DeleteConsumer(t.Context(), "MD_DEPTH", "test")) // it forgets the replies
	}
	require.EqualValues(t, 1, c.Stats().DeadLettered)
	require.Equal(t, 1, letters)
	require.Equal(t, map[natsbus.DeadReason]uint64{natsbus.DeadDecode: 1}, c.Stats().DeadReasons)
}
