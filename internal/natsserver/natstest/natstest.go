// Package natstest runs NATS servers, also clusters, for the tests of this repository; package natsbus/natstest is that of other
// modules.
package natstest

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/natsserver"
)

// Start runs a server with an empty folder until the test ends.
func Start(t testing.TB) *natsserver.Server {
	t.Helper()
	return StartConfig(t, natsserver.Config{StoreDir: t.TempDir()})
}

// StartConfig runs a server with cfg until the test ends. StartConfig(t, s.Config()) starts a closed server again, at the
// same address and with the same streams.
func StartConfig(t testing.TB, cfg natsserver.Config) *natsserver.Server {
	t.Helper()
	s, err := natsserver.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// StartCluster runs three servers with empty folders until the test ends.
func StartCluster(t testing.TB) *natsserver.Cluster {
	t.Helper()
	c, err := natsserver.StartCluster(t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// JetStream connects to s until the test ends.
func JetStream(t testing.TB, s *natsserver.Server, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	return Connect(t, s.URL(), opts...)
}

// Connect connects to one of several servers, with commas between, until the test ends.
func Connect(t testing.TB, urls string, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(urls, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
