package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/intruder"
	"github.com/marketprism/marketprism/internal/short"
)

var analystDSN = regexp.MustCompile(`for analysts: (clickhouse://analyst:(\w+)@\S+)`)

// Nothing that the program opens lets in another user of the host or a web page: no SQL, no message, no file. No secret is
// among its arguments, in what it prints, also when it crashes, or in a child's environment. Analysts get in when the
// operator says so, and read.
func TestIntruders(t *testing.T) {
	short.Skip(t)
	chtest.Require(t)
	data := filepath.Join(t.TempDir(), "data")
	const planted = "planted-secret"
	w := &world{T: t, secrets: []string{"MARKETPRISM_PROXY=", "HTTPS_PROXY=http://u:" + planted + "@127.0.0.1:1", "NO_PROXY=127.0.0.1"}}
	run := w.start("soak", "--count", "2", "--sim-rate", "1", "--for", "1h", "--data", data, "--clickhouse-listen", "127.0.0.1:0")
	w.eventually(func() bool { return strings.Contains(run.output.String(), "all 2 books synced") }, "%s", run.output)
	analyst := analystDSN.FindStringSubmatch(run.output.String())
	require.NotNil(t, analyst, run.output)
	token, err := os.ReadFile(filepath.Join(data, "nats", "url"))
	require.NoError(t, err)
	secret := regexp.MustCompile(`//(\w+)@`).FindStringSubmatch(string(token))
	require.NotNil(t, secret)

	children := childrenOf(t, run.Process.Pid)
	require.Len(t, children, 2, "an exchange and a ClickHouse")
	before := run.output.String()
	intruder.Try(t, intruder.Targets{
		Pids: append(children, run.Process.Pid), Dirs: []string{data}, Secrets: []string{secret[1]}, Output: before,
	})
	for _, pid := range children {
		environment, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
		require.NoError(t, err)
		require.NotContains(t, string(environment), planted)
	}

	archive, err := engines.OpenArchive(t.Context(), analyst[1], engines.Embedded{}, chstore.Config{Database: "marketprism"})
	require.NoError(t, err)
	require.NoError(t, archive.Store.Ping(t.Context()))
	require.Error(t, archive.Store.Migrate(t.Context()), "an analyst only reads")
	require.NoError(t, archive.Close())
	code, text := w.command("status", "--data", data, "--listen", "1s")
	require.Equal(t, 0, code, text)
	require.Contains(t, text, "MD_DEPTH")

	require.NoError(t, run.Process.Signal(syscall.SIGQUIT)) // it prints all its goroutines
	_ = run.Wait()
	require.Contains(t, run.output.String(), "goroutine 1")
	for _, hidden := range []string{secret[1], planted} {
		require.NotContains(t, run.output.String(), hidden)
	}
	require.Equal(t, 1, strings.Count(run.output.String(), analyst[2]), "the analyst's password is shown once")
}
