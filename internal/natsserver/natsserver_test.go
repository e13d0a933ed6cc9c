package natsserver_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
)

func TestRestartKeepsAddressAndStreams(t *testing.T) {
	s := natstest.Start(t)
	js := natstest.JetStream(t, s)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	require.NoError(t, err)
	_, err = js.Publish(t.Context(), "s", []byte("kept"))
	require.NoError(t, err)
	url := s.URL()

	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	again := natstest.StartConfig(t, s.Config())
	require.Equal(t, url, again.URL())

	reopened, err := natstest.JetStream(t, again).Stream(t.Context(), "S")
	require.NoError(t, err)
	msg, err := reopened.GetMsg(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, "kept", string(msg.Data))
	require.Equal(t, stream.CachedInfo().Created, reopened.CachedInfo().Created)
}

func TestStartSaysWhy(t *testing.T) {
	_, err := natsserver.Start(natsserver.Config{})
	require.ErrorContains(t, err, "StoreDir")

	running := natstest.Start(t)
	taken := running.Config()
	taken.StoreDir = t.TempDir()
	_, err = natsserver.Start(taken)
	require.ErrorContains(t, err, "address already in use")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = natsserver.Start(natsserver.Config{StoreDir: file})
	require.ErrorContains(t, err, "not ready")
}
