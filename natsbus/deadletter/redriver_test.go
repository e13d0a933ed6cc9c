package deadletter_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// redrive runs a Redriver until the test ends.
func redrive(t *testing.T, b *bustest.Bus, cfg deadletter.RedriverConfig) (*deadletter.Redriver, func() error) {
	t.Helper()
	cfg.RetryMin, cfg.RetryMax = time.Millisecond, 10*time.Millisecond
	r, err := deadletter.NewRedriver(b.DeadLetters(), cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop := func() error { cancel(); return <-done }
	t.Cleanup(cancel)
	return r, stop
}

// A letter that always fails is re-driven as often as the policy says and then stays in quarantine; one that the sink
// accepts later is stored; and one of a reason without a policy is left alone.
func TestRedriverRedrivesAndGivesUp(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(10)
	b.Publish(t, recs)
	_, err := b.JS.Publish(t.Context(), "md.binance.spot.depth.BTCUSDT", []byte("no record"))
	require.NoError(t, err)
	var got sinktest.Recorder
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
	bustest.Run(t, c, bustest.NewPicky(&got, recs[4]))
	bustest.Settled(t, c, 11)

	quarantined := make(chan *deadletter.Letter, 10)
	r, stop := redrive(t, b, deadletter.RedriverConfig{
		Every: 10 * time.Millisecond, Rate: -1,
		Policies: map[natsbus.DeadReason]deadletter.Policy{natsbus.DeadRefused: {MaxRedrives: 2, Delay: time.Millisecond}},
		Hooks:    &deadletter.Hooks{Quarantined: func(l *deadletter.Letter) { quarantined <- l }},
	})
	l := <-quarantined
	require.Equal(t, 2, l.Redrives)
	require.EqualValues(t, 5, l.StreamSequence)
	passes := r.Stats().Passes
	require.Eventually(t, func() bool { return r.Stats().Passes > passes+5 }, bustest.Patience, bustest.Interval)
	require.NoError(t, stop())
	stats := r.Stats()
	require.EqualValues(t, 2, stats.Redriven, "it does not circulate")
	require.Equal(t, 1, stats.Quarantine)
	require.Equal(t, 1, stats.Left, "the message that is no record")
	require.Empty(t, quarantined, "it is reported once")
	require.Len(t, b.Letters(t, deadletter.Filter{}), 2, "both are still there")
	// The Consumer counts a letter after it has terminated the original, which may be after the letter can be read.
	require.Eventually(t, func() bool { return c.Stats().DeadReasons[natsbus.DeadRefused] == 3 }, bustest.Patience, bustest.Interval)
}

// A letter waits for its delay, and is stored once when the sink accepts it.
func TestRedriverWaits(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(3)
	b.Publish(t, recs)
	var got sinktest.Recorder
	sk := bustest.NewPicky(&got, recs[1])
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
	bustest.Run(t, c, sk)
	bustest.Settled(t, c, 3)
	sk.Relent()
	policies := map[natsbus.DeadReason]deadletter.Policy{natsbus.DeadRefused: {Delay: time.Hour}}
	r, stop := redrive(t, b, deadletter.RedriverConfig{Every: time.Millisecond, Policies: policies})
	require.Eventually(t, func() bool { return r.Stats().Passes > 3 }, bustest.Patience, bustest.Interval)
	require.NoError(t, stop())
	require.Equal(t, 1, r.Stats().Waiting)
	require.Zero(t, r.Stats().Redriven)

	policies[natsbus.DeadRefused] = deadletter.Policy{Delay: time.Nanosecond}
	redrive(t, b, deadletter.RedriverConfig{Every: time.Millisecond, Policies: policies})
	bustest.RequireEqual(t, append(bustest.Without(recs, 1), recs[1]), bustest.Await(t, &got, 3))
	require.Eventually(t, func() bool { return b.Messages(t, "MD_DLQ")+b.Messages(t, "MD_REDRIVE") == 0 }, bustest.Patience, bustest.Interval)
}

// A letter stays in the stream of dead letters until its re-drive is confirmed.
func TestRedriverKeepsWhatIsNotConfirmed(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	kill(t, b, bustest.Updates(2))
	require.NoError(t, b.JS.DeleteStream(t.Context(), "MD_REDRIVE"))
	failed := make(chan natsbus.ServerFailedInfo, 1000)
	r, _ := redrive(t, b, deadletter.RedriverConfig{
		Every: time.Millisecond, Rate: -1,
		Policies: map[natsbus.DeadReason]deadletter.Policy{natsbus.DeadRefused: {Delay: time.Nanosecond}},
		Hooks:    &deadletter.Hooks{ServerFailed: func(i natsbus.ServerFailedInfo) { failed <- i }},
	})
	info := <-failed
	require.ErrorIs(t, info.Err, natsbus.ErrNoStream)
	<-failed
	require.Equal(t, 2, b.Messages(t, "MD_DLQ"))
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
	require.Eventually(t, func() bool { return b.Messages(t, "MD_REDRIVE") == 2 && b.Messages(t, "MD_DLQ") == 0 }, bustest.Patience, bustest.Interval)
	require.GreaterOrEqual(t, r.Stats().Failures, uint64(2))
}

// Letters that cannot be re-driven keep no other letter from it, and every pass reports them.
func TestRedriverPassesStrangeLetters(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	publishStrange(t, b)
	kill(t, b, bustest.Updates(3))
	failed := make(chan natsbus.ServerFailedInfo, 1000)
	r, stop := redrive(t, b, deadletter.RedriverConfig{
		Every: 10 * time.Millisecond, Rate: -1,
		Policies: map[natsbus.DeadReason]deadletter.Policy{natsbus.DeadRefused: {Delay: time.Nanosecond}},
		Hooks:    &deadletter.Hooks{ServerFailed: func(i natsbus.ServerFailedInfo) { failed <- i }},
	})
	for range 2 {
		require.ErrorIs(t, bustest.Receive(t, failed).Err, natsbus.ErrNoStream)
	}
	require.NoError(t, stop())
	stats := r.Stats()
	require.EqualValues(t, 3, stats.Redriven)
	require.Equal(t, 4, stats.Left)
	require.GreaterOrEqual(t, stats.Passes, uint64(2))
	require.Equal(t, 3, b.Messages(t, "MD_REDRIVE"))
}

func TestRedriverConfigIsChecked(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	for _, p := range []deadletter.Policy{{MaxRedrives: -1}, {Delay: -1}, {Delay: 2, MaxDelay: 1}} {
		_, err := deadletter.NewRedriver(b.DeadLetters(), deadletter.RedriverConfig{
			Policies: map[natsbus.DeadReason]deadletter.Policy{natsbus.DeadRefused: p},
		})
		require.Error(t, err, p)
	}
	_, err := deadletter.NewRedriver(b.DeadLetters(), deadletter.RedriverConfig{Every: -1})
	require.Error(t, err)
	r, err := deadletter.NewRedriver(deadletter.New(b.JS, "NONE"), deadletter.RedriverConfig{})
	require.NoError(t, err)
	require.ErrorIs(t, r.Run(t.Context()), jetstream.ErrStreamNotFound)
}
