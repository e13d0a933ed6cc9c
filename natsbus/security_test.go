package natsbus_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/natsbus/presence"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// secured runs a server with a configuration.
func secured(t *testing.T, config string) *natsserver.Server {
	t.Helper()
	return natstest.StartConfig(t, natsserver.Config{StoreDir: t.TempDir(), ConfigFile: write(t, "nats.conf", []byte(config))})
}

// The permissions of each role in SECURITY.md are sufficient: the server denies nothing.
func TestDocumentedPermissionsAreEnough(t *testing.T) {
	short.Skip(t)
	document, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	_, config, _ := strings.Cut(string(document), "```conf\n")
	config, _, found := strings.Cut(config, "\n```")
	require.True(t, found)
	s := secured(t, config)

	denied := make(chan natsbus.AsyncErrorInfo, 100)
	hooks := &natsbus.ConnHooks{Failed: func(i natsbus.AsyncErrorInfo) { denied <- i }}
	as := func(role string) *bustest.Bus {
		nc, err := natsbus.Connect(t.Context(), s.URL(),
			append(hooks.Options(), nats.UserInfo(role, role+"-secret"), nats.CustomInboxPrefix("_INBOX."+role))...)
		require.NoError(t, err, role)
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		require.NoError(t, err)
		return &bustest.Bus{Server: s, JS: js}
	}
	admin, collector, archiver, reader, operator, monitor := as("admin"), as("collector"), as("archiver"), as("reader"), as("operator"), as("monitor")

	for range 2 {
		require.NoError(t, natsbus.EnsureStreams(t.Context(), admin.JS, natsbus.StreamsConfig{}))
	}
	require.NoError(t, natsbus.EnsureStreams(t.Context(), admin.JS, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxAge: time.Hour}}))

	v := bustest.NewVenue("BTCUSDT", 21)
	first := append([]marketprism.Record{v.Snapshot()}, v.Updates(10)...)
	collector.Publish(t, first)
	beat(t, collector, "collector")
	peers := make(chan presence.Peer, 100)
	watch, err := presence.NewWatch(monitor.JS.Conn(), presence.WatchConfig{Service: "collector", Changed: func(p presence.Peer) { peers <- p }})
	require.NoError(t, err)
	watching, endWatch := context.WithCancel(context.Background())
	watched := make(chan error, 1)
	go func() { watched <- watch.Run(watching) }()
	t.Cleanup(func() { endWatch(); require.NoError(t, <-watched) })
	require.Equal(t, presence.Alive, bustest.Receive(t, peers).Liveness)

	var got sinktest.Recorder
	sk := bustest.NewPicky(&got, first[3])
	c := archiver.Consumer(t, natsbus.ConsumerConfig{Durable: "archive", DeadLetters: true})
	stop := bustest.Run(t, c, sk)
	bustest.Settled(t, c, len(first))
	_, err = c.Lag(t.Context())
	require.NoError(t, err)

	dead := operator.DeadLetters()
	sk.Relent()
	report, err := dead.Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
	require.NoError(t, err)
	require.Equal(t, 1, report.Redriven)
	bustest.Await(t, &got, len(first))
	_, err = dead.Stats(t.Context())
	require.NoError(t, err)

	feed, err := bookfeed.New(reader.JS, bookfeed.Config{Instruments: []marketprism.Instrument{v.Instrument}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- feed.Run(ctx) }()
	require.NoError(t, feed.Ready(t.Context()))
	require.NoError(t, feed.View(v.Instrument, func(b *orderbook.Book, _ bookfeed.Status) {
		require.Equal(t, v.Book.Checksum(), b.Checksum())
	}))
	cancel()
	require.NoError(t, <-ended)

	stats, err := natsbus.ReadStreamStats(t.Context(), monitor.JS, "MD_DEPTH")
	require.NoError(t, err)
	require.EqualValues(t, len(first), stats.Messages)

	require.NoError(t, stop())
	collector.Publish(t, v.Updates(1))
	giveUp(t, archiver)

	select {
	case info := <-denied:
		t.Errorf("%s: %v", info.Subject, info.Err)
	default:
	}

	// They are no more than that: a reader cannot publish, and gets an error.
	require.NoError(t, reader.JS.Conn().Publish("md.binance.spot.depth.BTCUSDT", nil))
	require.Equal(t, "permission", bustest.Receive(t, denied).Kind)
}

// A Consumer that is not allowed to look for its re-drives, so that the request is not answered, reads its stream
// meanwhile.
func TestSilentRedrivesDoNotDelayTheStream(t *testing.T) {
	short.Skip(t)
	s := secured(t, `authorization { users = [
		{ user: admin, password: a }
		{ user: archiver, password: b, permissions: { publish: { deny: ["$JS.API.STREAM.NAMES"] } } }
	] }`)
	admin := &bustest.Bus{Server: s, JS: natstest.JetStream(t, s, nats.UserInfo("admin", "a"))}
	require.NoError(t, natsbus.EnsureStreams(t.Context(), admin.JS, natsbus.StreamsConfig{}))
	recs := bustest.Updates(10)
	admin.Publish(t, recs)
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	archiver := &bustest.Bus{Server: s, JS: natstest.JetStream(t, s, nats.UserInfo("archiver", "b"), quiet)}
	var got sinktest.Recorder
	failed := make(chan int, 100) // records written when the request for re-drives fails, after seconds
	bustest.Run(t, archiver.Consumer(t, natsbus.ConsumerConfig{Batch: 1, DeadLetters: true, Hooks: &natsbus.Hooks{
		ServerFailed: func(natsbus.ServerFailedInfo) { failed <- len(got.Records()) },
	}}), &got)
	require.Equal(t, len(recs), bustest.Receive(t, failed))
	bustest.RequireEqual(t, recs, got.Records())
}

// beat runs a heartbeat with its micro service until the test ends.
func beat(t *testing.T, b *bustest.Bus, service string) {
	t.Helper()
	h, err := presence.NewHeartbeat(b.JS.Conn(), presence.HeartbeatConfig{Service: service, Instance: "one", Version: "1.0.0", Every: time.Second})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// certificate makes a self-signed certificate for 127.0.0.1, and returns its files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return write(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})),
		write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, data, 0o600))
	return file
}

// giveUp terminates a message, and waits until an AdvisoryWatch has made a letter of it.
func giveUp(t *testing.T, archiver *bustest.Bus) {
	t.Helper()
	durable, err := archiver.JS.CreateOrUpdateConsumer(t.Context(), "MD_DEPTH", jetstream.ConsumerConfig{Durable: "archive", AckPolicy: jetstream.AckExplicitPolicy})
	require.NoError(t, err)
	fetched, err := durable.Fetch(1, jetstream.FetchMaxWait(bustest.Patience))
	require.NoError(t, err)
	require.NoError(t, (<-fetched.Messages()).TermWithReason("no letter of its own"))
	w, err := deadletter.NewAdvisoryWatch(archiver.JS, deadletter.AdvisoryConfig{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	require.Eventually(t, func() bool { return w.Stats().DeadLettered == 1 }, bustest.Patience, bustest.Interval)
	cancel()
	require.NoError(t, <-ended)
}

// jwtServer returns the configuration of a server with users by credentials files, and such a file.
func jwtServer(t *testing.T) (config, creds string) {
	t.Helper()
	make := func(keys nkeys.KeyPair, err error) (nkeys.KeyPair, string) {
		require.NoError(t, err)
		public, err := keys.PublicKey()
		require.NoError(t, err)
		return keys, public
	}
	operator, operatorID := make(nkeys.CreateOperator())
	_, systemID := make(nkeys.CreateAccount())
	account, accountID := make(nkeys.CreateAccount())
	user, userID := make(nkeys.CreateUser())
	signed := func(claims interface {
		Encode(nkeys.KeyPair) (string, error)
	}, by nkeys.KeyPair) string {
		text, err := claims.Encode(by)
		require.NoError(t, err)
		return text
	}
	operatorClaims := jwt.NewOperatorClaims(operatorID)
	operatorClaims.SystemAccount = systemID
	accountClaims := jwt.NewAccountClaims(accountID)
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	seed, err := user.Seed()
	require.NoError(t, err)
	file, err := jwt.FormatUserConfig(signed(jwt.NewUserClaims(userID), account), seed)
	require.NoError(t, err)
	return "operator: " + signed(operatorClaims, operator) + "\nresolver: MEMORY\nresolver_preload: {\n" +
			systemID + ": " + signed(jwt.NewAccountClaims(systemID), operator) + "\n" +
			accountID + ": " + signed(accountClaims, operator) + "\n}\n",
		write(t, "user.creds", file)
}

// Each kind of credentials reaches the server, which rejects every other client; and no error contains a secret.
func TestConnectWithCredentials(t *testing.T) {
	const secret = "s3cret"
	cert, key := certificate(t)
	tlsConfig := "tls { cert_file: \"" + cert + "\", key_file: \"" + key + "\" }\n"
	pair, err := nkeys.CreateUser()
	require.NoError(t, err)
	public, err := pair.PublicKey()
	require.NoError(t, err)
	seed, err := pair.Seed()
	require.NoError(t, err)
	nkey, err := nats.NkeyOptionFromSeed(write(t, "user.nk", seed))
	require.NoError(t, err)
	jwtConfig, creds := jwtServer(t)
	for _, test := range []struct {
		name, config string
		right        []nats.Option
		wrong        []nats.Option
	}{
		{"user and password", "authorization { user: me, password: " + secret + " }",
			[]nats.Option{nats.UserInfo("me", secret)}, []nats.Option{nats.UserInfo("me", secret+"x")}},
		{"token", "authorization { token: " + secret + " }",
			[]nats.Option{nats.Token(secret)}, []nats.Option{nats.Token(secret + "x")}},
		{"nkey", "authorization { users = [{ nkey: " + public + " }] }", []nats.Option{nkey}, nil},
		{"credentials file", jwtConfig, []nats.Option{nats.UserCredentials(creds)}, nil},
		{"TLS", tlsConfig, []nats.Option{nats.RootCAs(cert)}, nil},
		{"TLS and password", tlsConfig + "authorization { user: me, password: " + secret + " }",
			[]nats.Option{nats.RootCAs(cert), nats.UserInfo("me", secret)}, []nats.Option{nats.RootCAs(cert), nats.UserInfo("me", secret+"x")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := secured(t, test.config)
			nc, err := natsbus.Connect(t.Context(), s.URL(), test.right...)
			require.NoError(t, err)
			defer nc.Close()
			js, err := jetstream.New(nc)
			require.NoError(t, err)
			b := &bustest.Bus{Server: s, JS: js}
			require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{}))
			b.Publish(t, bustest.Updates(3))
			require.Equal(t, 3, b.Messages(t, "MD_DEPTH"))

			_, err = natsbus.Connect(t.Context(), s.URL(), test.wrong...)
			var failed *natsbus.ConnectError
			require.ErrorAs(t, err, &failed)
			require.NotContains(t, err.Error(), secret)
		})
	}
	s := secured(t, "authorization { user: me, password: "+secret+" }")
	_, err = natsbus.Connect(t.Context(), strings.Replace(s.URL(), "nats://", "nats://me:"+secret+"x@", 1))
	require.ErrorIs(t, err, nats.ErrAuthorization)
	require.NotContains(t, err.Error(), secret)
}
