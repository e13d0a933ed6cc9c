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
	heard  chan struct{} // closed after the last line of output
	stderr strings.Builder

	once sync.Once
	err  error // of Wait
}

// start starts a process. It calls hear for each line of standard output, on another goroutine, and logs standard
// error if the test fails.
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
				return // a kill cut off the rest of the line
			}
			hear(strings.TrimSpace(line))
		}
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() && c.stderr.Len() > 0 {
			t.Logf("%s printed: %s", role, c.stderr.String())
		}
	})
	return c
}

// kill sends SIGKILL, and returns the output on standard error until then.
func (c *child) kill() (stderr string) {
	_ = c.cmd.Process.Kill() // an error means that it has ended
	c.wait()
	return c.stderr.String()
}

// stop closes standard input and waits for the process to end.
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
