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
	seed  = flag.Uint64("seed", 1, "of the traffic and of the moments")
)

// roleEnv names what a process is to become; its arguments follow, by blanks.
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
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is what counts
		cancel()
	}()
	if err := run(ctx, args); err != nil && ctx.Err() == nil { // told to stop, it is right to
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runNATS is a NATS server on a folder and a port, 0 for a free one. It says its URL and port.
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
	server.Shutdown()
	return nil
}
