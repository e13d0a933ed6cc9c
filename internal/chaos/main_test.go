package chaos

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/natsserver"
)

var (
	kills = flag.Int("kills", 20, "kills of each component")
	seed  = flag.Uint64("seed", 1, "seed of the traffic and of the times of the kills")
)

// roleEnv is the environment variable with the role of a process and its arguments, separated by blanks.
const roleEnv = "MARKETPRISM_CHAOS_ROLE"

func TestMain(m *testing.M) {
	role, args, _ := strings.Cut(os.Getenv(roleEnv), " ")
	roles := map[string]func(ctx context.Context, args string) error{"nats": runNATS, "archiver": runArchiver}
	run, ok := roles[role]
	if !ok {
		chtest.Main(m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // only its end matters
		cancel()
	}()
	if err := run(ctx, args); err != nil && ctx.Err() == nil { // not stopped by the parent
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runNATS runs a NATS server with a folder and a port, 0 for a free one, and prints its URL and port.
func runNATS(ctx context.Context, args string) error {
	var cfg natsserver.Config
	if _, err := fmt.Sscan(args, &cfg.StoreDir, &cfg.Port); err != nil {
		return err
	}
	server, err := natsserver.Start(cfg)
	if err != nil {
		return err
	}
	fmt.Println(server.URL(), server.Config().Port)
	<-ctx.Done()
	return server.Close()
}
