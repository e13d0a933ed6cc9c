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

// childVariable is the environment variable that makes the test binary a child. Its value is a childConfig.
const childVariable = "MARKETPRISM_INTEGRATION_CHILD"

// A childConfig configures a child. The role determines which fields it uses.
type childConfig struct {
	Role         string // one of roles
	Dir          string // where it keeps its data
	URL          string // of the NATS server
	Port         int    // where the NATS server listens; 0 means a free one
	Seed         uint64
	REST, Stream string // addresses of the exchange
	First        int    // number of the first record
	Last         int    // number of the last record, exclusive
	Rate         int    // records a second
}

var roles = map[string]func(context.Context, childConfig) error{
	"server":    runServer,
	"publisher": runPublisher,
	"consumer":  runConsumer,
	"spiller":   runSpiller,
	"feeder":    runFeeder,
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

// runChild runs a role until it ends, or until standard input ends, as it does when the parent closes it or dies.
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

// runServer runs a NATS server, and prints its port once it listens.
func runServer(ctx context.Context, cfg childConfig) error {
	s, err := natsserver.Start(natsserver.Config{StoreDir: cfg.Dir, Port: cfg.Port})
	if err != nil {
		return err
	}
	fmt.Println("listening", s.Config().Port)
	<-ctx.Done()
	return s.Close()
}

// connect connects to a server, and waits for one that is restarting. The error handler is silent: the library's
// default one prints to standard error what the death of a server cuts off.
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

// awaitBus blocks until a connection reaches its server, which may have restarted: until then calls fail at once.
func awaitBus(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for deadline := time.Now().Add(patience); js.Conn().FlushTimeout(time.Second) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("no connection to the restarted server")
		}
		<-time.After(time.Millisecond)
	}
}

// A child is a running process.
type child struct {
	t      *testing.T
	cfg    childConfig
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr strings.Builder
	lines  chan string // of standard output; closed at its end
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
		if t.Failed() { // otherwise it has ended
			_ = c.cmd.Process.Kill()
		}
	})
	go func() {
		defer close(c.lines)
		for from := bufio.NewReader(out); ; {
			line, err := from.ReadString('\n')
			if err != nil {
				return // a kill cut off the rest of the line
			}
			c.lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	return c
}

// kill sends SIGKILL. It calls hear for every remaining line of output.
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
		c.t.Fatalf("%s printed before it was killed:\n%s", c.cfg.Role, c.stderr.String())
	}
}

// end closes standard input, and fails the test unless the child ends without an error.
func (c *child) end() {
	c.t.Helper()
	_ = c.stdin.Close()
	for range c.lines {
	}
	if err := c.cmd.Wait(); err != nil || c.stderr.Len() > 0 {
		c.t.Fatalf("%s: %v\n%s", c.cfg.Role, err, c.stderr.String())
	}
}

// number blocks until the next line, which must be word and a number, and returns the number.
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
		c.t.Fatalf("%s prints nothing", c.cfg.Role)
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

// patience bounds every wait.
const patience = 2 * time.Minute

// A serverProcess is a NATS server that keeps its address when it is restarted.
type serverProcess struct {
	*child
	url string
}

func startServer(t *testing.T) *serverProcess {
	s := &serverProcess{child: start(t, childConfig{Role: "server", Dir: t.TempDir()})}
	s.cfg.Port = s.number("listening")
	var err error
	if s.url, err = natsserver.ReadURL(s.cfg.Dir); err != nil {
		t.Fatal(err)
	}
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
