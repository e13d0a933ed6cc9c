//go:build linux && amd64

package chserver

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/intruder"
)

// roleEnv makes the test binary a program that starts a server, for the tests in which that program dies.
const roleEnv = "CHSERVER_TEST_ROLE"

func TestMain(m *testing.M) {
	Main()
	intruder.Main()
	if role := os.Getenv(roleEnv); role != "" {
		playParent(role)
	}
	os.Exit(m.Run())
}

// requireEngine skips the test when ClickHouse is not installed, and fails it in CI.
func requireEngine(t *testing.T) {
	t.Helper()
	if _, err := Find(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED, this test needs ClickHouse: %v", err)
	}
}

// startServer starts a server that ends with the test, and cleanly unless it was killed.
func startServer(t *testing.T, config Config) *Server {
	t.Helper()
	requireEngine(t)
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	if config.HTTPPort == 0 {
		config.HTTPPort = -1 // for query
	}
	config.CloseTimeout = 30 * time.Second
	s, err := Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// query runs one statement over HTTP and returns its result as tab separated text.
func query(t *testing.T, s *Server, statement string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.HTTPAddr(), strings.NewReader(statement))
	require.NoError(t, err)
	request.SetBasicAuth(User, s.Config().Password)
	request.Close = true // an idle connection would delay the server's shutdown
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", body)
	return strings.TrimSpace(string(body))
}
