package pipeline

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/orderbook"
)

// The live exchange is reached through the proxy, and trusted by the authority in the file.
func TestLiveExchangeBehindAProxy(t *testing.T) {
	exchange := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"serverTime":1}`) //nolint:errcheck // the client gets an error
	}))
	defer exchange.Close()
	var tunnels []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnels = append(tunnels, r.Header.Get("Proxy-Authorization"))
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			t.Error(err)
			return
		}
		defer up.Close()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n") //nolint:errcheck // the client gets an error
		go io.Copy(up, conn)                            //nolint:errcheck // the end of the connection
		io.Copy(conn, up)                               //nolint:errcheck // the end of the connection
	}))
	defer proxy.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: exchange.Certificate().Raw}), 0o600))

	settings := config.Exchange{RESTURL: exchange.URL, CAFile: ca, Proxy: strings.Replace(proxy.URL, "//", "//user:hush@", 1)}
	cfg, err := liveExchange(settings)
	require.NoError(t, err)
	client, err := binance.NewClient(cfg)
	require.NoError(t, err)
	_, err = client.Time(t.Context())
	client.CloseIdleConnections()
	require.NoError(t, err)
	require.Equal(t, []string{"Basic dXNlcjpodXNo"}, tunnels)

	for _, broken := range []config.Exchange{{CAFile: filepath.Join(t.TempDir(), "none")}, {CAFile: os.DevNull}, {Proxy: "http://user:hush@[::1"}} {
		_, err := liveExchange(broken)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hush")
	}
}

// A second run in the same folder repeats no id of the first, which would look like a duplicate, or like a market that was wiped.
func TestSimulatedExchangesRepeatNoID(t *testing.T) {
	var last, trade int64
	for range 2 {
		exchange, err := Simulate(config.Config{Exchange: config.Exchange{Market: "spot", Symbols: []string{"BTCUSDT"}}})
		require.NoError(t, err)
		snapshot, err := exchange.Book("BTCUSDT")
		require.NoError(t, err)
		require.Greater(t, snapshot.LastID, last)
		id, err := exchange.Trade("BTCUSDT", orderbook.One, orderbook.One, true)
		require.NoError(t, err)
		require.Greater(t, id, trade)
		last, trade = snapshot.LastID, id
		require.NoError(t, exchange.Close())
	}
}
