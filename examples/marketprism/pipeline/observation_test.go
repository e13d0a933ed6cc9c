package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/binance"
)

func TestNotify(t *testing.T) {
	var log bytes.Buffer
	w := &observation{log: slog.New(slog.NewTextHandler(&log, nil))}
	t.Setenv("NOTIFY_SOCKET", "")
	w.notify(daemon.SdNotifyReady)
	require.Empty(t, log.String(), "without a supervisor")

	name := filepath.Join(t.TempDir(), "notify")
	t.Setenv("NOTIFY_SOCKET", name)
	w.notify(daemon.SdNotifyReady)
	require.Contains(t, log.String(), "not notified", "a supervisor that does not listen")
	log.Reset()
	supervisor, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	defer supervisor.Close()
	for state, want := range map[string]string{
		daemon.SdNotifyReady: "READY=1", daemon.SdNotifyWatchdog: "WATCHDOG=1", daemon.SdNotifyStopping: "STOPPING=1",
	} {
		w.notify(state)
		var buf [64]byte
		n, err := supervisor.Read(buf[:])
		require.NoError(t, err)
		require.Equal(t, want, string(buf[:n]))
	}
	require.Empty(t, log.String())
}

// A connection that was cut, or never came, is missing; one that was replaced, or is not needed, is not.
func TestLinks(t *testing.T) {
	var l connections
	h := l.hooks()
	broken := errors.New("broken")
	expect := func(open, all int) {
		t.Helper()
		gotOpen, gotAll := l.count()
		require.Equal(t, [2]int{open, all}, [2]int{gotOpen, gotAll})
	}
	expect(0, 0)
	h.ConnectDone(binance.ConnectInfo{Conn: 0})
	h.ConnectDone(binance.ConnectInfo{Conn: 1, Err: broken})
	expect(1, 2)
	h.ConnectDone(binance.ConnectInfo{Conn: 1})
	h.ConnectDone(binance.ConnectInfo{Conn: 0}) // the one that takes over
	h.Disconnected(binance.DisconnectInfo{Conn: 0, Err: binance.ErrReplaced})
	expect(2, 2)
	h.Disconnected(binance.DisconnectInfo{Conn: 1, Err: broken})
	expect(1, 2)
	h.Disconnected(binance.DisconnectInfo{Conn: 0, Err: fmt.Errorf("%w: no symbol is left", binance.ErrClosed)})
	expect(0, 1)
}
