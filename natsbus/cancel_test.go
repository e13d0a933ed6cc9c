package natsbus_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/natsbus/presence"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// busGoroutines returns the goroutines that natsbus, the packages below it and the client library have started.
func busGoroutines() []string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var found []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		ours := strings.Contains(stack, "marketprism/natsbus") || strings.Contains(stack, "/nats.go@")
		if ours && !strings.Contains(stack, "natsbus_test.") {
			found = append(found, stack)
		}
	}
	return found
}

// requireNoMore waits until there are no more goroutines of the bus than before.
func requireNoMore(t *testing.T, before int) {
	t.Helper()
	if !assert.Eventually(t, func() bool { return len(busGoroutines()) <= before }, bustest.Patience, bustest.Interval) {
		t.Fatalf("%d goroutines before, now:\n%s", before, strings.Join(busGoroutines(), "\n\n"))
	}
}

// Whatever is running is canceled at a random moment, again and again on one connection. Each call returns, and leaves
// no goroutine, no subscription and no record out of order.
func TestCancelAtAnyMoment(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("ETHUSDT", 1)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(20)...))
	recs := bustest.Updates(5000)
	goroutines, subscriptions := len(busGoroutines()), b.JS.Conn().NumSubscriptions()
	rng := rand.New(rand.NewPCG(3, 4))
	var got sinktest.Recorder
	for n := range 30 {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		run := func(what string, f func() error) {
			wg.Go(func() {
				if err := f(); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		p, err := natsbus.NewPublisher(b.JS, natsbus.PublisherConfig{MaxPending: 64})
		require.NoError(t, err)
		run("streams", func() error { return natsbus.EnsureStreams(ctx, b.JS, natsbus.StreamsConfig{}) })
		run("write", func() error { return p.Write(ctx, recs[100*n:100*(n+1)]) })
		c := b.Consumer(t, natsbus.ConsumerConfig{Durable: "canceled", DeadLetters: true, Batch: 32, DrainTimeout: time.Duration(n%2*2-1) * time.Second})
		run("consumer", func() error { return c.Run(ctx, bustest.NewPicky(&got, recs[100*n+50])) })
		h, err := presence.NewHeartbeat(b.JS.Conn(), presence.HeartbeatConfig{Service: "s", Instance: "i", Version: "1.0.0", Every: time.Millisecond})
		require.NoError(t, err)
		run("heartbeat", func() error { return h.Run(ctx) })
		w, err := presence.NewWatch(b.JS.Conn(), presence.WatchConfig{})
		require.NoError(t, err)
		run("watch", func() error { return w.Run(ctx) })
		if n%10 == 0 { // it ends within a second
			a, err := deadletter.NewAdvisoryWatch(b.JS, deadletter.AdvisoryConfig{})
			require.NoError(t, err)
			run("advisories", func() error { return a.Run(ctx) })
		}
		r, err := deadletter.NewRedriver(b.DeadLetters(), deadletter.RedriverConfig{
			Every: time.Millisecond, Policies: map[natsbus.DeadReason]deadletter.Policy{natsbus.DeadRefused: {Delay: time.Nanosecond}},
		})
		require.NoError(t, err)
		run("redriver", func() error { return r.Run(ctx) })
		run("letters", func() error { _, err := b.DeadLetters().Stats(ctx); return err })
		f, err := bookfeed.New(b.JS, bookfeed.Config{Instruments: []marketprism.Instrument{v.Instrument}})
		require.NoError(t, err)
		run("feed", func() error { return f.Run(ctx) })

		moment := time.AfterFunc(time.Duration(rng.Int64N(int64(60*time.Millisecond))), cancel)
		wg.Wait()
		moment.Stop()
		cancel()
		require.NoError(t, p.Close())
	}
	requireNoMore(t, goroutines)
	require.Eventually(t, func() bool { return b.JS.Conn().NumSubscriptions() == subscriptions }, bustest.Patience, bustest.Interval)

	// What was canceled in the middle is whole at the end: every record is stored and read once.
	p := b.Publisher(t, natsbus.PublisherConfig{})
	require.NoError(t, p.Write(t.Context(), recs[:3000]))
	c := b.Consumer(t, natsbus.ConsumerConfig{Durable: "canceled", DeadLetters: true})
	bustest.Run(t, c, &got)
	require.Eventually(t, func() bool { // at its first Run, if the others ended before, it makes the durable
		return c.Stats().DurableResets > 0 && b.Unacked(t, "MD_DEPTH", "canceled") == 0
	}, bustest.Patience, bustest.Interval)
	require.Equal(t, 3000+21, b.Messages(t, "MD_DEPTH"))
	_, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{Rate: -1, MaxRedrives: -1})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(got.Unique()) == 3000+21 }, bustest.Patience, bustest.Interval)
}

// A Connect that is canceled at a random moment, to a server that answers at once, late or never, leaves no connection.
func TestConnectIsCanceledAtAnyMoment(t *testing.T) {
	short.Skip(t)
	s := bustest.New(t, natsbus.StreamsConfig{})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	var open sync.WaitGroup // connections that the client has not closed
	open.Go(func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	goroutines := len(busGoroutines())
	rng := rand.New(rand.NewPCG(5, 6))
	var wg sync.WaitGroup
	for n := range 60 {
		address := s.URL()
		if n%2 == 1 {
			address = "nats://" + silent.Addr().String()
		}
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Duration(rng.Int64N(int64(20*time.Millisecond))), cancel)
		wg.Go(func() {
			nc, err := natsbus.Connect(ctx, address, nats.Timeout(200*time.Millisecond))
			if err == nil {
				nc.Close()
			}
		})
	}
	wg.Wait()
	requireNoMore(t, goroutines)
	require.NoError(t, silent.Close())
	open.Wait()
	require.Eventually(t, func() bool { return s.Clients() == 1 }, bustest.Patience, bustest.Interval, "the test's own")
}
