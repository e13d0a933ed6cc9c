package natsserver_test

import (
	"net"
	"os"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/intruder"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
)

func TestMain(m *testing.M) {
	intruder.Main()
	os.Exit(m.Run())
}

// Another user of the host, and a web page, get nothing from a server, nor from the ports by which those of a cluster know
// each other.
func TestIntruders(t *testing.T) {
	s := natstest.Start(t)
	_, err := natstest.JetStream(t, s).Conn().RTT()
	require.NoError(t, err)
	dir := s.Config().StoreDir
	url, err := natsserver.ReadURL(dir)
	require.NoError(t, err)
	require.Equal(t, s.URL(), url)
	require.Len(t, intruder.Listening(t, os.Getpid()), 1)
	intruder.Try(t, intruder.Targets{Pids: []int{os.Getpid()}, Dirs: []string{dir}, Secrets: []string{s.Config().Token}})
	_, err = nats.Connect("nats://" + s.Addr())
	require.ErrorIs(t, err, nats.ErrAuthorization)
}

func TestIntrudersInACluster(t *testing.T) {
	natstest.StartCluster(t)
	require.Len(t, intruder.Listening(t, os.Getpid()), 6)
	intruder.Try(t, intruder.Targets{Pids: []int{os.Getpid()}})
}

// A folder keeps its token, so that clients find their way back, and a new one gets another.
func TestToken(t *testing.T) {
	s := natstest.Start(t)
	dir, token := s.Config().StoreDir, s.Config().Token
	require.Len(t, token, 26, "128 bits")
	require.NotEqual(t, token, natstest.Start(t).Config().Token)
	require.NoError(t, s.Close())
	again := natstest.StartConfig(t, natsserver.Config{StoreDir: dir})
	require.Equal(t, token, again.Config().Token)
	require.NotContains(t, again.Addr(), token)
	_, _, err := net.SplitHostPort(again.Addr())
	require.NoError(t, err)
}
