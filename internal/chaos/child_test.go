package chaos

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// A child is a process with a role.
type child struct {
	role   string
	cmd    *exec.Cmd
	stdin  io.Closer
	heard  chan struct{} // closed when all that it said has been heard
	stderr strings.Builder

	once sync.Once
	err  error // how it ended
}

// start makes a process. Each line that it says on standard output is for hear, on another goroutine;
// what it says on standard error is in the log of a test that fails.
func start(t *testing.T, hear func(line string), role string, args ...any) *child {
	t.Helper()
	c := &child{role: role, cmd: exec.Command(os.Args[0]), heard: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), roleEnv+"="+role+" "+strings.TrimSpace(fmt.Sprintln(args...)))
	c.cmd.Stderr = &c.stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.heard)
		for lines := bufio.NewReader(stdout); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return // what is left of a line was cut off by a kill
			}
			hear(strings.TrimSpace(line))
		}
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() && c.stderr.Len() > 0 {
			t.Logf("%s said: %s", role, c.stderr.String())
		}
	})
	return c
}

// kill ends the process as a crash does, and returns what it had to complain about until then.
func (c *child) kill() (complaints string) {
	_ = c.cmd.Process.Kill() // an error means that it is gone already
	c.wait()
	return c.stderr.String()
}

// stop lets the process end by itself.
func (c *child) stop() error {
	c.stdin.Close()
	c.wait()
	return c.err
}

func (c *child) wait() {
	c.once.Do(func() {
		<-c.heard // Wait closes the pipe under its reader
		c.err = c.cmd.Wait()
	})
}
