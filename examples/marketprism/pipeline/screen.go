package pipeline

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// A screen is the output of a run, with a status in its last line if it is a terminal. It keeps lines whole and in order,
// those of the log too. It is safe for concurrent use.
type screen struct {
	*os.File
	terminal bool
	pipe     bool
	closed   func() // called when the other end of the pipe is closed, as by "| head -1"

	mu   sync.Mutex
	line string // shown in the last line; "" if there is none
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	return &screen{
		File: out, terminal: term.IsTerminal(int(out.Fd())), pipe: err == nil && info.Mode()&os.ModeNamedPipe != 0,
		closed: func() {},
	}
}

// clearLine moves to the begin of the line and clears it.
const clearLine = "\r\x1b[K"

// Write writes whole lines above the status.
func (s *screen) Write(b []byte) (int, error) { return s.above(s.File, b) }

// beside returns a writer whose lines do not mix with the status, if both are on a terminal.
func (s *screen) beside(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && s.terminal && term.IsTerminal(int(f.Fd())) {
		return lineWriter(func(b []byte) (int, error) { return s.above(f, b) })
	}
	return w
}

type lineWriter func([]byte) (int, error)

func (w lineWriter) Write(b []byte) (int, error) { return w(b) }

func (s *screen) above(w io.Writer, b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != "" {
		s.print(s.File, clearLine)
	}
	n, err := w.Write(b)
	s.check(err)
	if s.line != "" {
		s.print(s.File, s.line)
	}
	return n, err
}

// show replaces the status, on a terminal; elsewhere it prints a line.
func (s *screen) show(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal {
		s.print(s.File, line+"\n")
		return
	}
	s.line = line
	s.print(s.File, clearLine+line)
}

// leave keeps the status as a line of the output.
func (s *screen) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != "" {
		s.line = ""
		s.print(s.File, "\n")
	}
}

func (s *screen) print(w io.Writer, text string) {
	_, err := io.WriteString(w, text)
	s.check(err)
}

// check ends the run if its output is closed: without a reader it would go on unseen. The socket of a service manager is no
// such output, since a service goes on when its journal is restarted.
func (s *screen) check(err error) {
	if s.pipe && errors.Is(err, syscall.EPIPE) {
		s.closed()
	}
}
