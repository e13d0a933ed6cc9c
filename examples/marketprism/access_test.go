package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/orderbook"
)

// writePEM writes blocks to a file, in the place of what it has.
func writePEM(t *testing.T, file string, blocks ...*pem.Block) {
	t.Helper()
	var text []byte
	for _, block := range blocks {
		text = append(text, pem.EncodeToMemory(block)...)
	}
	require.NoError(t, os.WriteFile(file, text, 0o600))
}

// certificate returns a new certificate for 127.0.0.1, which is its own authority, and its key.
func certificate(t *testing.T) (cert, key *pem.Block) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return &pem.Block{Type: "CERTIFICATE", Bytes: signed}, &pem.Block{Type: "PRIVATE KEY", Bytes: encoded}
}

// signingKey returns a new key, private and public.
func signingKey(t *testing.T) (private, public *pem.Block) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(priv)
	require.NoError(t, err)
	open, err := x509.MarshalPKIXPublicKey(pub)
	require.NoError(t, err)
	return &pem.Block{Type: "PRIVATE KEY", Bytes: secret}, &pem.Block{Type: "PUBLIC KEY", Bytes: open}
}

// terminateTLS forwards TLS connections to a server that has none, and returns their address.
func terminateTLS(t *testing.T, server, cert, key string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			out, err := net.Dial("tcp", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			pipe := func(to, from net.Conn) { _, _ = io.Copy(to, from); _ = to.Close() } // until one side ends
			go pipe(in, out)
			go pipe(out, in)
		}
	}()
	return listener.Addr().String()
}

// Each role runs as its user of natsbus/SECURITY.md, on a NATS that asks for certificates, with a ClickHouse behind TLS: the
// server denies nothing. Signed records are archived and give a book, others are dead letters. Certificates and keys are replaced
// without the loss of a record.
func TestRolesAsTheDocumentedUsers(t *testing.T) {
	short.Skip(t)
	document, err := os.ReadFile("../../natsbus/SECURITY.md")
	require.NoError(t, err)
	_, users, _ := strings.Cut(string(document), "```conf\n")
	users, _, found := strings.Cut(users, "\n```")
	require.True(t, found)

	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	first, firstKey := certificate(t)
	writePEM(t, in("ca.pem"), first)
	writePEM(t, in("cert.pem"), first)
	writePEM(t, in("key.pem"), firstKey)
	private, public := signingKey(t)
	writePEM(t, in("sign.pem"), private)
	writePEM(t, in("trusted.pem"), public)

	w := newWorld(t)
	conf := users + "\ntls { cert_file: \"" + in("cert.pem") + "\", key_file: \"" + in("key.pem") + "\", ca_file: \"" + in("ca.pem") + "\", verify: true }\n"
	require.NoError(t, os.WriteFile(in("nats.conf"), []byte(conf), 0o600))
	w.server, err = natsserver.Start(natsserver.Config{StoreDir: t.TempDir(), ConfigFile: in("nats.conf")})
	require.NoError(t, err)
	_, dsn, _ := strings.Cut(w.secrets[1], "=")
	store, err := url.Parse(dsn)
	require.NoError(t, err)
	store.Host = terminateTLS(t, store.Host, in("cert.pem"), in("key.pem"))
	writePEM(t, in("store-ca.pem"), first) // which stays
	as := func(user string) {
		w.secrets = []string{
			"MARKETPRISM_NATS=" + strings.Replace(w.server.URL(), "://", "://"+user+":"+user+"-secret@", 1), "MARKETPRISM_NATS_INBOX=_INBOX." + user,
			"MARKETPRISM_NATS_CA=" + in("ca.pem"), "MARKETPRISM_NATS_CERT=" + in("cert.pem"), "MARKETPRISM_NATS_KEY=" + in("key.pem"),
			"MARKETPRISM_CLICKHOUSE=" + store.String(), "MARKETPRISM_CLICKHOUSE_CA=" + in("store-ca.pem"),
			"MARKETPRISM_SIGN_KEY=" + in("sign.pem"), "MARKETPRISM_TRUSTED_KEYS=" + in("trusted.pem"),
		}
	}
	connect := func(user string) *engines.Bus {
		options, err := engines.BusOptions(config.Access{NATSCA: in("ca.pem"), NATSCert: in("cert.pem"), NATSKey: in("key.pem"), NATSInbox: "_INBOX." + user})
		require.NoError(t, err)
		bus, err := engines.OpenBus(t.Context(), w.server.URL(), nil, append(options, nats.UserInfo(user, user+"-secret"))...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = bus.Close() })
		return bus
	}

	as("admin")
	code, said := w.command("streams")
	require.Zero(t, code, said)
	require.Contains(t, said, "MD_TRADE")
	moving, still := context.WithCancel(t.Context())
	defer still()
	stopped := make(chan error, 1)
	go func() { stopped <- w.exchange.Run(moving) }()
	as("collector")
	folder := t.TempDir()
	collector := w.start("collect", "--data", folder)
	as("archiver")
	archiver := w.start("archive")
	w.eventually(func() bool { return w.ready(collector) && w.ready(archiver) && w.archivedID() > 0 }, "%s\n%s", collector.output, archiver.output)

	forger := connect("collector")
	p, err := natsbus.NewPublisher(forger.JS, natsbus.PublisherConfig{})
	require.NoError(t, err)
	require.NoError(t, p.Write(t.Context(), []marketprism.Record{{
		Instrument: instrument(symbol), EventTime: time.Now(), ReceivedAt: time.Now(), Update: &orderbook.Update{FirstID: 1 << 50, LastID: 1 << 50},
	}}))
	require.NoError(t, p.Close())
	as("operator")
	w.eventually(func() bool {
		code, said = w.command("dlq", "list")
		return code == 0 && strings.Contains(said, "not signed")
	}, "%s", archiver.output)
	as("monitor")
	code, said = w.command("status")
	require.Zero(t, code, said)
	require.Contains(t, said, "archiver")
	require.NotContains(t, said, "ermission")

	verifier, err := engines.Verifier(in("trusted.pem"))
	require.NoError(t, err)
	feed, err := bookfeed.New(connect("reader").JS, bookfeed.Config{Instruments: []marketprism.Instrument{instrument(symbol)}, Verifier: verifier})
	require.NoError(t, err)
	feeding, endFeed := context.WithCancel(t.Context())
	fed := make(chan error, 1)
	go func() { fed <- feed.Run(feeding) }()
	require.NoError(t, feed.Ready(t.Context()))
	endFeed()
	require.NoError(t, <-fed)

	// Another authority, certificate and key of NATS, which the running clients take at their next connection; then another
	// signing key, which the archiver trusts before the collector uses it.
	second, secondKey := certificate(t)
	writePEM(t, in("ca.pem"), first, second)
	writePEM(t, in("cert.pem"), second)
	writePEM(t, in("key.pem"), secondKey)
	settled := w.server.Config()
	_ = w.server.Close()
	w.server, err = natsserver.Start(settled)
	require.NoError(t, err)
	seen := w.exchangeID()
	w.eventually(func() bool { return w.archivedID() > seen }, "%s\n%s", collector.output, archiver.output)
	newPrivate, newPublic := signingKey(t)
	writePEM(t, in("trusted.pem"), public, newPublic)
	require.Equal(t, 0, archiver.end(syscall.SIGTERM), archiver.output)
	as("archiver")
	archiver = w.start("archive")
	writePEM(t, in("sign.pem"), newPrivate)
	require.Equal(t, 0, collector.end(syscall.SIGTERM), collector.output)
	as("collector")
	collector = w.start("collect", "--data", folder)
	seen = w.exchangeID()
	w.eventually(func() bool { return w.ready(collector) && w.archivedID() > seen }, "%s\n%s", collector.output, archiver.output)

	still()
	require.NoError(t, <-stopped)
	require.Equal(t, 0, collector.end(syscall.SIGTERM), collector.output)
	w.bus = connect("archiver")
	published := w.published()
	for key := range published {
		if strings.Contains(key, "1125899906842624") {
			delete(published, key) // the forgery
		}
	}
	w.eventually(func() bool { return w.archivedRecords() >= len(published) }, "%s", archiver.output)
	require.Equal(t, published, w.archived())
	require.Equal(t, 0, archiver.end(syscall.SIGTERM), archiver.output)
	for _, p := range []*process{collector, archiver} {
		require.NotContains(t, p.output.String(), `"permission"`)
	}
}
