package monitoring

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/marketprism/marketprism/binance/binancetest"
)

// need ends the test with the error, if there is one.
func need(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// output can be read while a process writes to it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startPipeline builds the program and runs all of it, NATS and ClickHouse embedded, on a fake exchange
// that can be cut off. It returns the address of its metrics.
func startPipeline(t *testing.T, ctx context.Context) (exchange *binancetest.Server, addr string) {
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT", "ETHUSDT"), Seed: 1})
	need(t, err)
	t.Cleanup(func() { exchange.Close() })
	go exchange.Run(ctx) //nolint:errcheck // ends with the exchange

	program := filepath.Join(t.TempDir(), "marketprism")
	mustRun(t, "go", "build", "-buildvcs=false", "-o", program, "..")
	out := daemon(t, ctx, program, "run", "--for", "0", "--source", "live", "--rest-url", exchange.RESTURL(), "--stream-url", exchange.StreamURL(),
		"--symbols", "BTCUSDT,ETHUSDT", "--health-listen", "127.0.0.1:0", "--page-listen", "", "--data", t.TempDir(), "--allow-root")
	address := regexp.MustCompile(`metrics: http://([^/\s]+)/metrics`)
	until(t, ctx, "the pipeline prints the address of its metrics", func() bool { return address.MatchString(out.String()) })
	addr = address.FindStringSubmatch(out.String())[1]
	until(t, ctx, "the pipeline is ready", func() bool { return answers("http://" + addr + "/readyz") })
	return exchange, addr
}

// daemon starts a program that ends with the test. What it has printed is shown if the test fails.
func daemon(t *testing.T, ctx context.Context, path string, args ...string) *output {
	out := new(output)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	need(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
		cmd.Wait()                          //nolint:errcheck // it was interrupted
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(path), out)
		}
	})
	return out
}

// freePort returns a free address on loopback.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	need(t, err)
	defer l.Close()
	return l.Addr().String()
}

// until asks again and again until reached says so, or ctx ends.
func until(t *testing.T, ctx context.Context, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not reached: %s", what)
		}
	}
}

func answers(url string) bool {
	response, err := http.Get(url) //nolint:noctx // on loopback
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
