package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/rivo/uniseg"
	"github.com/stretchr/testify/require"
	"golang.org/x/term"

	"github.com/marketprism/marketprism/internal/short"
)

// A screen is the near end of a pseudo-terminal on which bookwatch runs.
type screen struct {
	t      *testing.T
	near   *os.File
	unread string
}

// onScreen runs a watch on a new terminal of that size, and returns the screen and what waits for the watch's end. The terminal
// must be left as it was.
func onScreen(t *testing.T, opt options, width, height uint16) (s *screen, wait func() error) {
	t.Helper()
	near, far, err := pty.Open()
	require.NoError(t, err)
	t.Cleanup(func() { near.Close(); far.Close() })
	require.NoError(t, pty.Setsize(near, &pty.Winsize{Cols: width, Rows: height}))
	require.NoError(t, near.SetReadDeadline(time.Now().Add(time.Minute)))
	before, err := term.GetState(int(far.Fd()))
	require.NoError(t, err)
	opt.terminal, err = openTerminal(far, far, true)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		err := watch(t.Context(), opt, far)
		opt.terminal.close()
		ended <- err
	}()
	s = &screen{t: t, near: near}
	return s, func() error {
		for !strings.Contains(s.unread, leaveScreen) {
			s.read()
		}
		err := <-ended
		after, stateErr := term.GetState(int(far.Fd()))
		require.NoError(t, stateErr)
		require.Equal(t, before, after, "the terminal is as it was")
		return err
	}
}

func (s *screen) read() {
	buffer := make([]byte, 1<<16)
	n, err := s.near.Read(buffer)
	require.NoError(s.t, err, "%q", s.unread)
	s.unread += string(buffer[:n])
}

var escapes = regexp.MustCompile("\x1b\\[[?0-9;]*[A-Za-z]")

// until reads whole pictures until one is as wanted, and returns it without escape sequences.
func (s *screen) until(wanted func(raw string, lines []string) bool) string {
	s.t.Helper()
	for {
		for {
			picture, rest, whole := strings.Cut(s.unread, eraseBelow)
			if !whole {
				break
			}
			s.unread = rest
			text := escapes.ReplaceAllString(picture, "")
			if wanted(picture, strings.Split(text, "\r\n")) {
				return text
			}
		}
		s.read()
	}
}

func (s *screen) untilText(text string) string {
	s.t.Helper()
	return s.until(func(raw string, _ []string) bool { return strings.Contains(raw, text) })
}

func (s *screen) press(keys string) {
	_, err := s.near.WriteString(keys)
	require.NoError(s.t, err)
}

// On a terminal keys change the symbol and the levels, a new size is used, and q leaves the terminal as it was.
func TestKeysAndSizes(t *testing.T) {
	short.Skip(t)
	opt := options{symbols: []string{"BTCUSDT", "ETHUSDT"}, levels: 5, refresh: time.Millisecond, sim: true}
	s, wait := onScreen(t, opt, 100, 30)
	picture := s.until(func(_ string, lines []string) bool { return len(lines) > 15 })
	require.Regexp(t, `^ 1 BTCUSDT  2 ETHUSDT   SIMULATED\r\nsynced  age \S+  latency \S+  update id \d+\r\nmid \S+  spread \S+ \(\S+ bps\)  microprice \S+  imbalance [+-]\d+%\r\n`, picture)
	s.untilText("\x1b[7m 1 BTCUSDT \x1b[0m")
	s.press("2")
	s.untilText("\x1b[7m 2 ETHUSDT \x1b[0m")
	s.press("\t")
	s.untilText("\x1b[7m 1 BTCUSDT \x1b[0m")
	s.press("\x1b[D")
	s.untilText("\x1b[7m 2 ETHUSDT \x1b[0m")
	s.press("--")
	s.until(func(_ string, lines []string) bool { return len(lines) == 4+2*3+1+2 })
	s.until(func(_ string, lines []string) bool {
		return hasTrade(lines)
	})

	require.NoError(t, pty.Setsize(s.near, &pty.Winsize{Cols: 40, Rows: 9}))
	s.until(func(_ string, lines []string) bool {
		widest := 0
		for _, l := range lines {
			widest = max(widest, uniseg.StringWidth(l))
		}
		return widest <= 40 && len(lines) == 9
	})
	s.press("q")
	require.NoError(t, wait())
}

var aTrade = regexp.MustCompile(`\d\d:\d\d:\d\d +[0-9.]+ +[0-9.]+`)

func hasTrade(lines []string) bool { return aTrade.MatchString(strings.Join(lines, "\n")) }

// Without an exchange the first pictures say what is waited for, and Ctrl-C ends it.
func TestOfflineOnATerminal(t *testing.T) {
	s, wait := onScreen(t, options{symbols: []string{"BTCUSDT"}, levels: 5, refresh: time.Millisecond, endpoints: nowhere(t)}, 200, 30)
	picture := s.untilText("connection refused")
	require.Contains(t, picture, "waits for the list of symbols: ")
	require.NotContains(t, picture, "synced")
	s.press("\x03")
	require.NoError(t, wait())
}

// An end from outside, such as SIGTERM, leaves the terminal as it was, too.
func TestEndOnATerminal(t *testing.T) {
	near, far, err := pty.Open()
	require.NoError(t, err)
	defer near.Close()
	defer far.Close()
	terminal, err := openTerminal(far, far, false)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = watch(ctx, options{symbols: []string{"BTCUSDT"}, levels: 1, refresh: time.Second, sim: true, terminal: terminal}, far)
	require.ErrorIs(t, err, context.Canceled)
	terminal.close()
}
