package natsbus_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/natsbus/presence"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestEnsureStreamsMakesAndChanges(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	books := bustest.Config(t, b.JS, "MD_DEPTH")
	require.Equal(t, []string{"md.*.*.depth.*", "md.*.*.snap.*", "md.*.*.gap.*", "md.*.*.bbo.*"}, books.Subjects)
	require.Equal(t, jetstream.FileStorage, books.Storage)
	require.Equal(t, jetstream.LimitsPolicy, books.Retention)
	require.Equal(t, jetstream.DiscardNew, books.Discard)
	require.Equal(t, jetstream.S2Compression, books.Compression)
	require.Equal(t, 24*time.Hour, books.MaxAge)
	require.EqualValues(t, 1<<30, books.MaxBytes)
	require.Equal(t, 2*time.Minute, books.Duplicates)
	require.True(t, books.AllowDirect)
	require.Equal(t, []string{"md.*.*.trade.*", "md.*.*.aggtrade.*"}, bustest.Config(t, b.JS, "MD_TRADE").Subjects)
	require.Equal(t, []string{"dlq.MD_DEPTH.*.>", "dlq.MD_TRADE.*.>"}, bustest.Config(t, b.JS, "MD_DLQ").Subjects)

	redrive := bustest.Config(t, b.JS, natsbus.RedriveStream(""))
	require.Equal(t, []string{"redrive.MD_DEPTH.*.>", "redrive.MD_TRADE.*.>"}, redrive.Subjects)
	require.Equal(t, jetstream.WorkQueuePolicy, redrive.Retention)
	require.Zero(t, redrive.MaxAge)
	require.Equal(t, []string{
		"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.MD_DEPTH.*", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.MD_DEPTH.*",
		"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.MD_TRADE.*", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.MD_TRADE.*",
	}, bustest.Config(t, b.JS, deadletter.AdvisoriesStream("")).Subjects)
	heartbeats := bustest.Config(t, b.JS, presence.Stream(""))
	require.Equal(t, []string{"mdhb.>"}, heartbeats.Subjects)
	require.Equal(t, jetstream.MemoryStorage, heartbeats.Storage)
	require.EqualValues(t, 1, heartbeats.MaxMsgsPerSubject)

	// Again: nothing changes, in particular not the settings of others.
	books.Subjects = append(books.Subjects, "extra")
	books.MaxMsgSize = 12345
	_, err := b.JS.UpdateStream(t.Context(), books)
	require.NoError(t, err)
	b.Publish(t, []marketprism.Record{bustest.Update(1)})
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
	require.Equal(t, bustest.Config(t, b.JS, "MD_DEPTH").Subjects, books.Subjects)
	require.EqualValues(t, 12345, bustest.Config(t, b.JS, "MD_DEPTH").MaxMsgSize)

	// Another configuration is applied, and the message stays.
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{
		Books: natsbus.StreamConfig{MaxAge: -1, MaxBytes: -1, DedupeWindow: time.Minute, Uncompressed: true},
	}))
	books = bustest.Config(t, b.JS, "MD_DEPTH")
	require.Zero(t, books.MaxAge)
	require.EqualValues(t, -1, books.MaxBytes)
	require.Equal(t, time.Minute, books.Duplicates)
	require.Equal(t, jetstream.NoCompression, books.Compression)
	require.Equal(t, 1, b.Messages(t, "MD_DEPTH"))
}

func TestEnsureStreamsDeletesNothing(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	b.Publish(t, []marketprism.Record{large(1, 5000), bustest.Update(2)})
	stored := time.Now()
	require.Eventually(t, func() bool { return time.Since(stored) > 200*time.Millisecond }, bustest.Patience, bustest.Interval)
	for _, limit := range []natsbus.StreamConfig{
		{MaxBytes: 1000},
		{MaxAge: 100 * time.Millisecond, DedupeWindow: 100 * time.Millisecond},
	} {
		err := natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{Books: limit})
		var failed *natsbus.StreamError
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, err, natsbus.ErrWouldDelete)
		require.Equal(t, "MD_DEPTH", failed.Stream)
		require.Equal(t, 2, b.Messages(t, "MD_DEPTH"))
	}
}

func TestEnsureStreamsSaysWhatTheServerRefuses(t *testing.T) {
	tests := []struct {
		name, stream, text string
		want               error
		server             natsserver.Config
		before             *jetstream.StreamConfig
		cfg                natsbus.StreamsConfig
	}{
		{name: "too little storage", stream: "MD_DEPTH", text: "max_file_store", want: natsbus.ErrStorage,
			server: natsserver.Config{MaxStore: 1 << 20}},
		{name: "no cluster", stream: "MD_DEPTH", text: "cluster", want: natsbus.ErrReplicas, cfg: natsbus.StreamsConfig{Replicas: 3}},
		{name: "subjects taken", stream: "MD_TRADE", text: "another stream", want: natsbus.ErrIncompatible,
			before: &jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"md.*.*.trade.>"}}},
		{name: "other storage", stream: "MD_DEPTH", text: "storage", want: natsbus.ErrIncompatible,
			before: &jetstream.StreamConfig{Name: "MD_DEPTH", Subjects: []string{"x"}, Storage: jetstream.MemoryStorage}},
		{name: "other retention", stream: "MD_REDRIVE", text: "retention", want: natsbus.ErrIncompatible,
			before: &jetstream.StreamConfig{Name: "MD_REDRIVE", Subjects: []string{"x"}}},
		{name: "confirms nothing", stream: "MD_DLQ", text: "NoAck", want: natsbus.ErrIncompatible,
			before: &jetstream.StreamConfig{Name: "MD_DLQ", Subjects: []string{"x"}, NoAck: true}},
		{name: "sealed", stream: "MD_ADVISORY", text: "sealed", want: natsbus.ErrIncompatible,
			before: &jetstream.StreamConfig{Name: "MD_ADVISORY", Subjects: []string{"x"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.server.StoreDir = t.TempDir()
			js := natstest.JetStream(t, natstest.StartConfig(t, test.server))
			if test.before != nil {
				made, err := js.CreateStream(t.Context(), *test.before)
				require.NoError(t, err)
				if test.name == "sealed" {
					sealed := made.CachedInfo().Config
					sealed.Sealed = true
					_, err = js.UpdateStream(t.Context(), sealed)
					require.NoError(t, err)
				}
			}
			for range 2 {
				err := natsbus.EnsureStreams(t.Context(), js, test.cfg)
				var failed *natsbus.StreamError
				require.ErrorAs(t, err, &failed)
				require.Equal(t, test.stream, failed.Stream)
				require.ErrorIs(t, err, test.want)
				require.ErrorContains(t, err, test.text)
			}
		})
	}
}

// Every stream says what it is for. One that was made without that, or with the words of an earlier version, gets the
// present ones; the words and keys of others stay.
func TestStreamsDescribeThemselves(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	names := []string{"MD_DEPTH", "MD_TRADE", "MD_DLQ", "MD_REDRIVE", "MD_ADVISORY", "MD_HEARTBEAT"}
	roles := make(map[string]bool)
	described := make(map[string]jetstream.StreamConfig)
	for _, name := range names {
		cfg := bustest.Config(t, b.JS, name)
		require.Regexp(t, "^MarketPrism: ", cfg.Description)
		require.Equal(t, "MarketPrism", cfg.Metadata["owner"])
		roles[cfg.Metadata["role"]] = true
		described[name] = cfg
	}
	require.Len(t, roles, len(names))
	require.NotContains(t, roles, "")

	for name, change := range map[string]func(*jetstream.StreamConfig){
		"MD_DEPTH": func(c *jetstream.StreamConfig) { c.Description, c.Metadata = "", nil },
		"MD_TRADE": func(c *jetstream.StreamConfig) { c.Description = "MarketPrism: words of an earlier version" },
		"MD_DLQ": func(c *jetstream.StreamConfig) {
			c.Description, c.Metadata = "ask the team", map[string]string{"team": "data"}
		},
	} {
		cfg := described[name]
		change(&cfg)
		_, err := b.JS.UpdateStream(t.Context(), cfg)
		require.NoError(t, err)
	}
	for range 2 {
		require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
	}
	for _, name := range names {
		cfg, want := bustest.Config(t, b.JS, name), described[name]
		require.Equal(t, want.Metadata["role"], cfg.Metadata["role"])
		if name == "MD_DLQ" {
			require.Equal(t, "data", cfg.Metadata["team"])
			want.Description = "ask the team"
		}
		require.Equal(t, want.Description, cfg.Description)
	}
}

// Every consumer on the streams says what it does.
func TestConsumersDescribeThemselves(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 1)
	b.Publish(t, []marketprism.Record{v.Snapshot()})
	var got sinktest.Recorder
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true}), &got)
	w, err := deadletter.NewAdvisoryWatch(b.JS, deadletter.AdvisoryConfig{})
	require.NoError(t, err)
	f, err := bookfeed.New(b.JS, bookfeed.Config{Instruments: []marketprism.Instrument{v.Instrument}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	running.Go(func() { _ = f.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	require.NoError(t, f.Ready(t.Context()))
	roles := make(map[string]bool)
	for stream, n := range map[string]int{"MD_DEPTH": 2, "MD_REDRIVE": 1, "MD_ADVISORY": 1} {
		var infos []*jetstream.ConsumerInfo
		require.Eventually(t, func() bool {
			s, err := b.JS.Stream(t.Context(), stream)
			require.NoError(t, err)
			infos = nil
			for info := range s.ListConsumers(t.Context()).Info() {
				infos = append(infos, info)
			}
			return len(infos) == n
		}, bustest.Patience, bustest.Interval, stream)
		for _, info := range infos {
			require.Regexp(t, "^MarketPrism: ", info.Config.Description, "%s of %s", info.Name, stream)
			require.Equal(t, "MarketPrism", info.Config.Metadata["owner"])
			roles[info.Config.Metadata["role"]] = true
		}
	}
	require.Len(t, roles, 4)
}

func TestStreamsConfigIsChecked(t *testing.T) {
	for _, cfg := range []natsbus.StreamsConfig{
		{Prefix: "*"}, {Replicas: -1}, {Replicas: 6}, {Books: natsbus.StreamConfig{Name: "a.b"}},
		{Books: natsbus.StreamConfig{Name: "A"}, Trades: natsbus.StreamConfig{Name: "A"}},
		{Trades: natsbus.StreamConfig{DedupeWindow: time.Millisecond}},
		{DeadLetters: natsbus.StreamConfig{MaxAge: time.Minute}},
		{Redrive: natsbus.StreamConfig{Name: "MD_DLQ"}}, {Advisories: natsbus.StreamConfig{Name: ">"}},
		{Heartbeats: natsbus.StreamConfig{DedupeWindow: -1}},
		{DeadLetters: natsbus.StreamConfig{DropOldest: true}}, {Redrive: natsbus.StreamConfig{DropOldest: true}},
	} {
		require.Error(t, natsbus.EnsureStreams(t.Context(), nil, cfg), "%+v", cfg)
	}
}

// A stream with DropOldest accepts every message and keeps the newest; without it, it is full again.
func TestDropOldest(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 10_000, DropOldest: true}})
	b.Publish(t, bustest.Updates(200))
	stats, err := natsbus.ReadStreamStats(t.Context(), b.JS, "MD_DEPTH")
	require.NoError(t, err)
	require.EqualValues(t, 200, stats.Last)
	require.Less(t, stats.Messages, uint64(100))
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 10_000}}))
	err = b.Publisher(t, natsbus.PublisherConfig{MaxAttempts: 1}).Write(t.Context(), many(300, 100))
	require.ErrorIs(t, err, natsbus.ErrStreamFull)
}

// many returns n updates from an id on.
func many(from int64, n int) []marketprism.Record {
	recs := make([]marketprism.Record, n)
	for i := range recs {
		recs[i] = bustest.Update(from + int64(i))
	}
	return recs
}

func TestTwoPrefixesShareAServer(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{Prefix: "eu.prod"}))
	p := b.Publisher(t, natsbus.PublisherConfig{Prefix: "eu.prod"})
	require.NoError(t, p.Write(t.Context(), []marketprism.Record{bustest.Update(1)}))
	require.Equal(t, 1, b.Messages(t, "EU_PROD_DEPTH"))
	require.Zero(t, b.Messages(t, "MD_DEPTH"))
	require.Equal(t, []string{"eu.prodhb.>"}, bustest.Config(t, b.JS, "EU_PROD_HEARTBEAT").Subjects)
}
