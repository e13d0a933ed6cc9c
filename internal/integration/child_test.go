package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/natsbus"
)

// childVariable makes a test binary one of the roles, with a childConfig as its value.
const childVariable = "MARKETPRISM_INTEGRATION_CHILD"

// A childConfig is what a child is told by its parent. Which fields count depends on the role.
type childConfig struct {
	Role         string // one of roles
	Dir          string // where it keeps its data
	URL          string // of the NATS server
	Port         int    // where the NATS server listens; 0 means a free one
	Seed         uint64
	REST, Stream string // addresses of the exchange
	First        int    // number of the first record
	Last         int    // number of the last record, exclusive
}

var roles = map[string]func(context.Context, childConfig) error{
	"server":    runServer,
	"publisher": runPublisher,
	"consumer":  runConsumer,
	"spiller":   runSpiller,
	"collector": runCollector,
}

func TestMain(m *testing.M) {
	text := os.Getenv(childVariable)
	if text == "" {
		chtest.Main(m)
	}
	if err := runChild(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runChild plays a role until it is over, or standard input is closed: by the parent, or by its death.
func runChild(text string) error {
	var cfg childConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := roles[cfg.Role](ctx, cfg); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w", cfg.Role, err)
	}
	return nil
}

// runServer is a NATS server. It says where it listens as soon as it does.
func runServer(ctx context.Context, cfg childConfig) error {
	s, err := natsserver.Start(natsserver.Config{StoreDir: cfg.Dir, Port: cfg.Port})
	if err != nil {
		return err
	}
	fmt.Println("listening", s.Config().Port)
	<-ctx.Done()
	s.Shutdown()
	return nil
}

// connect connects to a server that may just be away. That a connection was cut is not told on standard
// error, as the library would do.
func connect(ctx context.Context, url string) (jetstream.JetStream, error) {
	retry := backoff.Backoff{Min: 10 * time.Millisecond, Max: 200 * time.Millisecond}
	for {
		nc, err := natsbus.Connect(ctx, url, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err == nil {
			return jetstream.New(nc)
		}
		if backoff.Sleep(ctx, retry.Next()) != nil {
			return nil, err
		}
	}
}

// A child is a running process.
type child struct {
	t      *testing.T
	cfg    childConfig
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr strings.Builder
	lines  chan string // what it says; closed when it has ended
}

func start(t *testing.T, cfg childConfig) *child {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cfg: cfg, cmd: exec.Command(os.Args[0]), lines: make(chan string, 1000)}
	c.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	c.cmd.Stderr = &c.stderr
	c.stdin, err = c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() { // otherwise it has ended already
			_ = c.cmd.Process.Kill()
		}
	})
	go func() {
		defer close(c.lines)
		for from := bufio.NewReader(out); ; {
			line, err := from.ReadString('\n')
			if err != nil {
				return // what is left of a line was cut off by a kill
			}
			c.lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	return c
}

// kill ends the child at once, as kill -9 does. Every line that it has said is handed to hear.
func (c *child) kill(hear func(line string)) {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatalf("%s: %v\n%s", c.cfg.Role, err, c.stderr.String())
	}
	for line := range c.lines {
		hear(line)
	}
	_ = c.cmd.Wait() // it was killed
	if c.stderr.Len() > 0 {
		c.t.Fatalf("%s said before it was killed:\n%s", c.cfg.Role, c.stderr.String())
	}
}

// end has the child finish, and fails the test unless it does so without an error.
func (c *child) end() {
	c.t.Helper()
	_ = c.stdin.Close()
	for range c.lines {
	}
	if err := c.cmd.Wait(); err != nil || c.stderr.Len() > 0 {
		c.t.Fatalf("%s: %v\n%s", c.cfg.Role, err, c.stderr.String())
	}
}

// number waits for a line that consists of word and a number.
func (c *child) number(word string) int {
	c.t.Helper()
	select {
	case line, ok := <-c.lines:
		if ok {
			return parseLine(c.t, line, word)
		}
		_ = c.cmd.Wait()
		c.t.Fatalf("%s has ended:\n%s", c.cfg.Role, c.stderr.String())
	case <-time.After(patience):
		c.t.Fatalf("%s says nothing", c.cfg.Role)
	}
	return 0
}

func parseLine(t *testing.T, line, word string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(line, word+" %d", &n); err != nil {
		t.Fatalf("%q, want %s and a number", line, word)
	}
	return n
}

// patience bounds waiting for what must happen.
const patience = 2 * time.Minute

// A serverProcess is a NATS server that comes back at the same address after it was killed.
type serverProcess struct {
	*child
	url string
}

func startServer(t *testing.T) *serverProcess {
	s := &serverProcess{child: start(t, childConfig{Role: "server", Dir: t.TempDir()})}
	s.cfg.Port = s.number("listening")
	s.url = fmt.Sprintf("nats://127.0.0.1:%d", s.cfg.Port)
	t.Cleanup(func() { s.end() })
	return s
}

// restart kills the server and starts it again.
func (s *serverProcess) restart() {
	s.stop()
	s.resume()
}

func (s *serverProcess) stop() { s.kill(func(string) {}) }

func (s *serverProcess) resume() {
	s.child = start(s.t, s.cfg)
	s.number("listening")
}
