package chtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism/internal/chserver"
)

// stopTimeout bounds how long a server may take to shut down when its tests are done.
const stopTimeout = 30 * time.Second

// shared is the server that the tests of this binary share. It outlives every single test and TestMain has nothing
// to pass on to them, so it is a variable of the package.
var shared struct {
	sync.Mutex
	server *chserver.Server // nil until the first test needs it
}

// Main runs the tests of a package and then stops the server they share. It must be all that TestMain does, as it
// also is what lets the test binary become the server; it does not return.
func Main(m *testing.M) {
	chserver.Main()
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// sharedServer returns the shared server and starts it when it is the first to ask.
func sharedServer(t testing.TB) *chserver.Server {
	t.Helper()
	Require(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		server, err := chserver.Start(t.Context(), Config())
		if err != nil {
			t.Fatal(err)
		}
		shared.server = server
	}
	select {
	case <-shared.server.Exited():
		t.Fatalf("chtest: the shared ClickHouse has ended; the end of its log:\n%s", shared.server.Log())
	default:
	}
	return shared.server
}

func stopShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return shared.server.Stop(ctx)
}
