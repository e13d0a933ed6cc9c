package health_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/examples/marketprism/health"
)

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	require.NoError(t, health.Notify(health.Ready), "nobody to be told")

	name := filepath.Join(t.TempDir(), "notify")
	t.Setenv("NOTIFY_SOCKET", name)
	require.Error(t, health.Notify(health.Ready), "nobody listens")
	supervisor, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	defer supervisor.Close()
	for _, state := range []string{health.Ready, health.Watchdog, health.Stopping} {
		require.NoError(t, health.Notify(state))
		var buf [64]byte
		n, err := supervisor.Read(buf[:])
		require.NoError(t, err)
		require.Equal(t, state, string(buf[:n]))
	}
}
