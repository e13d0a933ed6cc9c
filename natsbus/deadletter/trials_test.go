package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// Two Redrivers and a person re-drive at once what always fails. Each letter dies as often as the bound allows, and is
// then there once: no copy circulates, and none is lost.
func TestRedrivesFromAllSidesEnd(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(40)
	bad := recs[10:16]
	var (
		mu   sync.Mutex
		died = make(map[uint64]int) // by stream sequence
		got  sinktest.Recorder
	)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{DeadLettered: func(i natsbus.DeadLetterInfo) {
		mu.Lock()
		defer mu.Unlock()
		died[i.Sequence]++
	}}})
	bustest.Run(t, c, bustest.NewPicky(&got, bad...))
	cfg := deadletter.RedriverConfig{
		Every: time.Millisecond, Rate: -1,
		Policies: map[natsbus.DeadReason]deadletter.Policy{natsbus.DeadRefused: {Delay: time.Nanosecond}},
	}
	one, _ := redrive(t, b, cfg)
	two, _ := redrive(t, b, cfg)
	b.Publish(t, recs)
	require.Eventually(t, func() bool {
		_, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{Rate: -1})
		require.NoError(t, err)
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, times := range died {
			n += times
		}
		return n >= len(bad)*(1+3)
	}, bustest.Patience, bustest.Interval)
	for _, r := range []*deadletter.Redriver{one, two} { // nothing moves any more
		passes := r.Stats().Passes
		require.Eventually(t, func() bool { return r.Stats().Passes > passes+2 && r.Stats().Quarantine == len(bad) }, bustest.Patience, bustest.Interval)
	}
	letters := b.Letters(t, deadletter.Filter{})
	require.Len(t, letters, len(bad))
	require.Zero(t, b.Messages(t, "MD_REDRIVE"))
	mu.Lock()
	defer mu.Unlock()
	for i, l := range letters {
		require.Equal(t, 3, l.Redrives)
		require.Equal(t, bad[0].Update.FirstID+int64(i), int64(l.StreamSequence))
		require.Equal(t, 1+3, died[l.StreamSequence])
	}
	bustest.RequireEqual(t, append(recs[:10:10], recs[16:]...), bustest.Await(t, &got, len(recs)-len(bad)))
}

// The leaders of all streams that a dead letter passes through step down, while records are refused and re-driven from two
// sides. In the end every record is stored, and no letter is left.
func redrivesThroughLeaderChanges(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(60)
	var got sinktest.Recorder
	sk := bustest.NewPicky(&got, recs[10:16]...)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
	bustest.Run(t, c, sk)
	cfg := deadletter.RedriverConfig{
		Every: 5 * time.Millisecond, Rate: -1,
		Policies: map[natsbus.DeadReason]deadletter.Policy{natsbus.DeadRefused: {MaxRedrives: 1 << 20, Delay: time.Nanosecond}},
	}
	redrive(t, b, cfg)
	redrive(t, b, cfg)
	for part := range slices.Chunk(recs, 20) {
		b.Publish(t, part)
		for stream, durable := range map[string]string{"MD_DEPTH": "test", "MD_REDRIVE": "MD_DEPTH=test"} {
			b.StepDown(t, stream, durable)
		}
		b.StepDown(t, "MD_DLQ")
	}
	sk.Relent()
	require.Eventually(t, func() bool { return len(got.Unique()) == len(recs) }, bustest.Patience, bustest.Interval)
	require.Eventually(t, func() bool { return b.Messages(t, "MD_DLQ")+b.Messages(t, "MD_REDRIVE") == 0 }, bustest.Patience, bustest.Interval)
	for _, r := range got.Records() {
		require.EqualValues(t, r.Update.LastID, r.Origin.Sequence)
	}
}

// Hundreds of messages are given up, while the watches that make letters of them are stopped and started again. Each
// becomes one letter.
func TestAdvisoriesThroughRestartsOfTheWatch(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	const n = 200
	b.Publish(t, bustest.Updates(n))
	other, err := b.JS.CreateConsumer(t.Context(), "MD_DEPTH", jetstream.ConsumerConfig{
		Durable: "other", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 1,
	})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(7, 8))
	stopped := make(chan struct{})
	var watches sync.WaitGroup
	for range 2 {
		seed := rng.Uint64()
		watches.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 9))
			for run, again := 0, true; again; run++ {
				w, err := deadletter.NewAdvisoryWatch(b.JS, deadletter.AdvisoryConfig{RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond})
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.Int64N(int64(50+run)*int64(time.Millisecond)))) // in the end also long enough for a slow machine
				if err := w.Run(ctx); err != nil {
					t.Error(err)
				}
				cancel()
				select {
				case <-stopped:
					again = false
				default:
				}
			}
		})
	}
	fetched, err := other.Fetch(n, jetstream.FetchMaxWait(bustest.Patience))
	require.NoError(t, err)
	i := 0
	for msg := range fetched.Messages() {
		if i++; i%2 == 0 {
			require.NoError(t, msg.Nak()) // it may not be delivered again
		} else {
			require.NoError(t, msg.TermWithReason(fmt.Sprint("reason ", i)))
		}
	}
	require.NoError(t, fetched.Error())
	require.Equal(t, n, i)
	require.Nil(t, next(t, other, 200*time.Millisecond), "the server gives a message up when it would deliver it again")
	require.Eventually(t, func() bool {
		return b.Messages(t, "MD_DLQ") >= n && b.Unacked(t, deadletter.AdvisoriesStream(""), "dead-letters") == 0
	}, bustest.Patience, bustest.Interval)
	close(stopped)
	watches.Wait()
	letters := b.Letters(t, deadletter.Filter{Consumer: "other"})
	require.Len(t, letters, n)
	seen := make(map[uint64]bool)
	reasons := make(map[natsbus.DeadReason]int)
	for _, l := range letters {
		seen[l.StreamSequence] = true
		reasons[l.Reason]++
		require.NotEmpty(t, l.Body)
	}
	require.Len(t, seen, n)
	require.Equal(t, map[natsbus.DeadReason]int{deadletter.MaxDeliveries: n / 2, deadletter.Terminated: n / 2}, reasons)
}

// The Consumer is stopped and started at random moments while its sink is away or takes records, and all letters are
// re-driven between. In the end each message that is no record, or is refused, is one letter, which counts its re-drives.
func TestPoisonIsOneLetterThroughRestarts(t *testing.T) {
	short.Skip(t)
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 11))
		b := bustest.New(t, natsbus.StreamsConfig{})
		recs := bustest.Updates(30)
		var got sinktest.Recorder
		sk := bustest.NewPicky(&got)
		sk.Named = rng.IntN(2) == 0
		poison := make(map[uint64]bool) // by stream sequence
		for i := range recs {
			b.Publish(t, recs[i:i+1])
			if rng.IntN(8) == 0 {
				sk.Refuse(recs[i])
				poison[uint64(b.Messages(t, "MD_DEPTH"))] = true
			}
			if rng.IntN(8) == 0 {
				ack, err := b.JS.Publish(t.Context(), natsbus.Subject("", bustest.BTC, marketprism.KindUpdate), []byte("garbage"))
				require.NoError(t, err)
				poison[ack.Sequence] = true
			}
		}
		redrives := make(map[uint64]int)
		for range 8 {
			away := rng.IntN(2) == 0
			c := b.Consumer(t, natsbus.ConsumerConfig{
				DeadLetters: true, DrainTimeout: -1, Batch: 1 + rng.IntN(40), FlushEvery: 5 * time.Millisecond,
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.Int64N(int64(40*time.Millisecond))))
			_ = c.Run(ctx, sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
				if away {
					return errors.New("away")
				}
				return sk.Write(ctx, recs)
			}))
			cancel()
			_, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{
				Rate: -1, MaxRedrives: -1, Moved: func(l *deadletter.Letter) { redrives[l.StreamSequence]++ },
			})
			require.NoError(t, err)
		}
		bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true}), sk)
		require.Eventually(t, func() bool {
			return b.Messages(t, "MD_DLQ") >= len(poison) && b.Unacked(t, "MD_DEPTH", "test")+b.Messages(t, "MD_REDRIVE") == 0
		}, bustest.Patience, bustest.Interval)
		for _, l := range b.Letters(t, deadletter.Filter{}) {
			require.True(t, poison[l.StreamSequence], "seed %d: letter of message %d comes twice, or it is a record", seed, l.StreamSequence)
			delete(poison, l.StreamSequence)
			require.Equal(t, redrives[l.StreamSequence], l.Redrives, "seed %d: message %d", seed, l.StreamSequence)
		}
		require.Empty(t, poison, "seed %d", seed)
	}
}

// While a re-driven record that is refused again waits for the stream of dead letters, the stream is read.
func TestBlockedRedriveDoesNotBlockTheStream(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(21)
	kill(t, b, recs[:1])
	_, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
	require.NoError(t, err)
	require.NoError(t, b.JS.DeleteStream(t.Context(), "MD_DLQ"))
	failed := make(chan natsbus.RetryInfo, 1000)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, DrainTimeout: -1, RetryMin: time.Hour, RetryMax: time.Hour, Hooks: &natsbus.Hooks{
		DeadLetterFailed: func(i natsbus.RetryInfo) { failed <- i },
	}})
	var got sinktest.Recorder
	stop := bustest.Run(t, c, bustest.NewPicky(&got, recs[0]))
	bustest.Receive(t, failed)
	b.Publish(t, recs[1:])
	bustest.RequireEqual(t, recs[1:], bustest.Await(t, &got, len(recs)-1))
	require.Error(t, stop(), "the re-driven record is in no letter")
	require.Equal(t, 1, b.Messages(t, "MD_REDRIVE"))
}

// A Run that ends with a re-driven record neither written nor in a letter says so.
func TestRunReportsReleasedRedrives(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	kill(t, b, bustest.Updates(1))
	_, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
	require.NoError(t, err)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, DrainTimeout: -1})
	away := errors.New("away")
	stop := bustest.Run(t, c, sink.Func(func(context.Context, []marketprism.Record) error { return away }))
	require.Eventually(t, func() bool { return c.Stats().SinkFailures > 0 }, bustest.Patience, bustest.Interval)
	require.ErrorIs(t, stop(), away)
	require.EqualValues(t, 1, c.Stats().Released)
}
