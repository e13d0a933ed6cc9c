package natsbus_test

import (
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/natsbus/signature"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// newKeys returns a Signer of a new key, and a Verifier that trusts it.
func newKeys(t *testing.T) (*signature.Signer, *signature.Verifier) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	s, err := signature.NewSigner("collector-1", private)
	require.NoError(t, err)
	v, err := signature.NewVerifier(map[string]ed25519.PublicKey{"collector-1": public})
	require.NoError(t, err)
	return s, v
}

// A Consumer with a Verifier takes what a trusted key has signed, also re-driven, and makes dead letters of the rest.
func TestConsumerVerifiesSignatures(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	signer, verifier := newKeys(t)
	stranger, _ := newKeys(t)
	good := bustest.Updates(6)
	signed := b.Publisher(t, natsbus.PublisherConfig{Signer: signer})
	require.NoError(t, signed.Write(t.Context(), good[:3]))
	b.Publish(t, []marketprism.Record{bustest.Update(100)})
	require.NoError(t, b.Publisher(t, natsbus.PublisherConfig{Signer: stranger}).Write(t.Context(), []marketprism.Record{bustest.Update(101)}))
	replay, err := b.JS.Stream(t.Context(), natsbus.BooksStream(""))
	require.NoError(t, err)
	old, err := replay.GetMsg(t.Context(), 1)
	require.NoError(t, err)
	old.Header.Set(jetstream.MsgIDHeader, "another id")
	_, err = b.JS.PublishMsg(t.Context(), &nats.Msg{Subject: old.Subject, Header: old.Header, Data: old.Data})
	require.NoError(t, err)
	require.NoError(t, signed.Write(t.Context(), good[3:]))

	var got sinktest.Recorder
	sk := bustest.NewPicky(&got, good[4])
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Verifier: verifier})
	stop := bustest.Run(t, c, sk)
	bustest.Settled(t, c, len(good)+3)
	require.Len(t, got.Records(), len(good)-1)
	require.EqualValues(t, 3, c.Stats().Undecodable)
	sk.Relent()
	_, err = b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
	require.NoError(t, err)
	bustest.Await(t, &got, len(good))
	require.NoError(t, stop())
	for _, r := range got.Records() {
		require.Less(t, r.Update.LastID, int64(100))
	}
}

// A record of a time that cannot be is a dead letter; an old one, as of a replay, is a record.
func TestConsumerRefusesTimesFarAhead(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	event, received, old, near := bustest.Update(1), bustest.Update(2), bustest.Update(3), bustest.Update(4)
	event.EventTime = time.Now().Add(25 * time.Hour)
	received.ReceivedAt = time.Now().Add(25 * time.Hour)
	old.EventTime, old.ReceivedAt = time.Unix(1.5e9, 0), time.Unix(1.5e9, 0)
	near.EventTime = time.Now().Add(23 * time.Hour)
	b.Publish(t, []marketprism.Record{event, received, old, near})
	reports := make(chan natsbus.UndecodableInfo, 10)
	var got sinktest.Recorder
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{Undecodable: func(i natsbus.UndecodableInfo) { reports <- i }}})
	stop := bustest.Run(t, c, &got)
	bustest.Settled(t, c, 4)
	require.NoError(t, stop())
	require.Len(t, got.Records(), 2)
	for range 2 {
		bustest.RequireKind(t, bustest.Receive(t, reports).Err, "ahead")
	}
}

// idOf returns the message id under which a Publisher stores a record.
func idOf(t *testing.T, r marketprism.Record) string {
	t.Helper()
	b := bustest.New(t, natsbus.StreamsConfig{})
	b.Publish(t, []marketprism.Record{r})
	stream, err := b.JS.Stream(t.Context(), natsbus.BooksStream(""))
	require.NoError(t, err)
	msg, err := stream.GetMsg(t.Context(), 1)
	require.NoError(t, err)
	return msg.Header.Get(jetstream.MsgIDHeader)
}

// A Publisher reports a record for which the stream has another message of its id, and no true copy.
func TestPublisherReportsSuppressedRecords(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	reports := make(chan natsbus.UndecodableInfo, 10)
	p := b.Publisher(t, natsbus.PublisherConfig{CompareEvery: time.Nanosecond, Hooks: &natsbus.Hooks{
		Suppressed: func(i natsbus.UndecodableInfo) { reports <- i },
	}})
	compared := func(n uint64) {
		t.Helper()
		require.Eventually(t, func() bool { return p.Stats().Compared == n }, bustest.Patience, bustest.Interval)
	}
	for i, rec := range []marketprism.Record{bustest.Update(1), bustest.Trade(2)} {
		require.NoError(t, p.Write(t.Context(), []marketprism.Record{rec}))
		rec.ReceivedAt = time.Now() // another collector's
		require.NoError(t, p.Write(t.Context(), []marketprism.Record{rec}))
		compared(uint64(i + 1))
	}
	require.Zero(t, p.Stats().Suppressed)

	victim := bustest.Update(10)
	other := bustest.Update(10)
	other.Update = other.Update.Clone()
	other.Update.Bids = []orderbook.Level{{Price: orderbook.One, Quantity: orderbook.One}}
	body, err := natsbus.AppendRecord(nil, &other)
	require.NoError(t, err)
	_, err = b.JS.PublishMsg(t.Context(), &nats.Msg{
		Subject: natsbus.Subject("", victim.Instrument, marketprism.KindUpdate), Header: nats.Header{jetstream.MsgIDHeader: {idOf(t, victim)}}, Data: body,
	})
	require.NoError(t, err)
	require.NoError(t, p.Write(t.Context(), []marketprism.Record{victim}))
	bustest.RequireKind(t, bustest.Receive(t, reports).Err, "suppressed")
	require.EqualValues(t, 1, p.Stats().Suppressed)
}

// A feed believes neither a snapshot nor an update of an id far beyond that of its book, and goes on with the next true
// update; with a Verifier it believes no message that is not signed.
func TestFeedRefusesForgeries(t *testing.T) {
	signer, verifier := newKeys(t)
	for name, cfg := range map[string]bookfeed.Config{"jump": {}, "signature": {Verifier: verifier, MaxJump: -1}} {
		t.Run(name, func(t *testing.T) {
			b := bustest.New(t, natsbus.StreamsConfig{})
			v := bustest.NewVenue("BTCUSDT", 11)
			p := b.Publisher(t, natsbus.PublisherConfig{Signer: signer})
			require.NoError(t, p.Write(t.Context(), append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...)))
			refused := make(chan natsbus.UndecodableInfo, 10)
			cfg.Instruments = []marketprism.Instrument{v.Instrument}
			cfg.Hooks = &bookfeed.Hooks{Undecodable: func(i natsbus.UndecodableInfo) { refused <- i }}
			feed, err := bookfeed.New(b.JS, cfg)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- feed.Run(ctx) }()
			t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
			require.NoError(t, feed.Ready(t.Context()))

			forged := v.Snapshot()
			forged.Snapshot.LastID = 1 << 60
			update := v.Updates(1)[0]
			far := update.Clone()
			far.Update.LastID = 1 << 60
			b.Publish(t, []marketprism.Record{forged, far})
			for range 2 {
				bustest.RequireKind(t, bustest.Receive(t, refused).Err, name)
			}
			require.NoError(t, p.Write(t.Context(), append([]marketprism.Record{update}, v.Updates(3)...)))
			require.Eventually(t, func() bool {
				s, _ := feed.Status(v.Instrument)
				return s.State == orderbook.Synced && s.LastID == v.ID()
			}, bustest.Patience, bustest.Interval)
		})
	}
}
