package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

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
		{"named, one in the middle", true, []int{77}, 2},
		{"named, several", true, []int{0, 1, 77, 127, 128, 399}, 2 * 6},
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
	plain, refused, named := errors.New("x"), &bustest.RefusedError{}, &bustest.NamedRefusedError{RefusedError: bustest.RefusedError{Key: "k"}}
	refusal := natsbus.Failure{Class: natsbus.Refusal}
	for _, test := range []struct {
		err  error
		want natsbus.Failure
	}{
		{nil, natsbus.Failure{}},
		{plain, natsbus.Failure{}},
		{refused, refusal},
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w", refused)), refusal},
		{fmt.Errorf("a: %w", named), natsbus.Failure{Class: natsbus.Refusal, Key: "k"}},
		{errors.Join(named, refused), natsbus.Failure{Class: natsbus.Refusal, Key: "k"}},
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
