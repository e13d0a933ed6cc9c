package command

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// Every command that can be run says what it does, and the root teaches by example.
func TestHelpTeaches(t *testing.T) {
	root := newRoot(os.Stdout, os.Stderr)
	require.NotEmpty(t, root.Example)
	commands := 0
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		commands++
		require.NotEmpty(t, c.Short, c.CommandPath())
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
	require.Greater(t, commands, 18)
}

// Help has the flags of its command, and the settings on demand, each with the default that the command has.
func TestHelp(t *testing.T) {
	help := func(args ...string) string {
		out := tempFile(t)
		require.Equal(t, ExitOK, Main(t.Context(), args, out, os.Stderr), args)
		text, err := os.ReadFile(out.Name())
		require.NoError(t, err)
		return string(text)
	}
	const settings = "flags too: marketprism check --help-all"
	for _, args := range [][]string{{"check", "--help"}, {"help", "check"}, {"check", "-h"}} {
		text := help(args...)
		require.Contains(t, text, "--skip-books")
		require.Contains(t, text, "--config")
		require.Contains(t, text, settings)
		require.NotContains(t, text, "--sim-rate")
		require.Less(t, strings.Count(text, "\n"), 25)
	}
	for _, args := range [][]string{{"check", "--help-all"}, {"book-at", "--help-all"}, {"--help-all"}} {
		text := help(args...)
		require.Contains(t, text, "--sim-rate")
		require.NotContains(t, text, settings)
	}
	for command, want := range map[string]string{"run": "(default 20s)", "soak": "(default 10m0s)"} {
		require.Regexp(t, `--for duration +how long to collect; 0 means until Ctrl-C `+regexp.QuoteMeta(want), help(command, "--help-all"))
	}
	for _, command := range []string{"collect", "archive"} {
		require.Regexp(t, `--for duration +how long to collect; 0 means until Ctrl-C\n`, help(command, "--help-all"))
	}
	t.Setenv("MARKETPRISM_DRAIN", "soon")
	require.Contains(t, help("help", "check"), "--skip-books", "also with settings that are wrong")
}

func TestExitCodes(t *testing.T) {
	t.Setenv("CLICKHOUSE_DSN", "")
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	require.NoError(t, os.WriteFile(bad, []byte("drain: 1s\nwindow: 1\n"), 0o600))
	for want, lines := range map[int][][]string{
		ExitOK: {{"version"}, {"config", "print"}, {"help"}, {"dlq", "redrive", "--help"}, {}},
		ExitUsage: {
			{"nonsense"}, {"run", "--nonsense"}, {"run", "extra"}, {"run", "--source", "paper"}, {"run", "--config", bad}, {"collect"}, {"archive"},
			{"dlq", "list"}, {"dlq", "show"}, {"dlq", "show", "x", "--nats", "nats://127.0.0.1:1"}, {"check"}, {"book-at"}, {"book-at", "BTCUSDT"},
			{"book-at", "BTCUSDT", "--at", "tomorrow"}, {"replay", "--kinds", "x"}, {"status"},
		},
		ExitFailed: {{"dlq", "list", "--nats", "nats://127.0.0.1:1"}, {"check", "--clickhouse", "127.0.0.1:1"}},
	} {
		for _, args := range lines {
			out, errOut := tempFile(t), tempFile(t)
			code := Main(t.Context(), args, out, errOut)
			printed, err := os.ReadFile(errOut.Name())
			require.NoError(t, err)
			require.Equal(t, want, code, "%q: %s", args, printed)
			require.Equal(t, want == ExitOK, len(printed) == 0, "%q: %s", args, printed)
		}
	}
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}
