// Package command is the command line of the marketprism program.
package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/plain"
)

// Version is the version of the program, as in semver.org.
const Version = "0.1.0"

// The exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1 // failure, or different books; the message says what to do
	ExitUsage  = 2 // flags, arguments or settings are wrong
	ExitFound  = 3 // check found something
)

// errUsage marks errors of flags, arguments and settings.
var errUsage = errors.New("usage")

type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error      { return e.error }

// errFound is the error of a check with findings, which it has printed.
var errFound = errors.New("check: see the findings above")

// Main runs the program and returns its exit code.
func Main(ctx context.Context, args []string, out, errOut *os.File) int {
	root := newRoot(out, errOut)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errFound):
		fmt.Fprintln(errOut, "marketprism:", err)
		return ExitFound
	case errors.Is(err, errUsage):
		fmt.Fprintf(errOut, "marketprism: %s\nmarketprism help lists the commands and settings\n", plain.Text(err.Error()))
		return ExitUsage
	default:
		fmt.Fprintln(errOut, "marketprism:", plain.Text(err.Error()))
		return ExitFailed
	}
}

// A program holds the settings and outputs of all commands.
type program struct {
	settings    *config.Settings
	file        string // of settings
	out, errOut *os.File
}

const rootLong = `Marketprism keeps order books in step with an exchange, moves every record over NATS JetStream,
stores it in ClickHouse, and gives it back: any book at any moment.

Settings are flags, variables of the environment, and lines of a YAML file, in this precedence; each
has one name: --sim-rate, MARKETPRISM_SIM_RATE, sim-rate. "marketprism config print" shows them.

Exit codes: 0 all went well; 1 it could not be done; 2 flags, arguments or settings are wrong; 3 check
has found something.`

const rootExample = `  marketprism run                                   # everything in one process, simulated
  marketprism run --source live --for 0             # Binance spot until Ctrl-C
  marketprism collect --nats nats://bus:4222 --source live --all-trading
  marketprism archive --nats nats://bus:4222 --clickhouse ch:9000
  marketprism check --clickhouse ch:9000 --from -24h
  marketprism dlq list --nats nats://bus:4222`

func newRoot(out, errOut *os.File) *cobra.Command {
	p := &program{settings: config.New(), out: out, errOut: errOut}
	root := &cobra.Command{
		Use: "marketprism", Short: "Maintain and archive exact order books", Long: rootLong, Example: rootExample,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return p.load() },
	}
	root.SetOut(out)
	root.SetErr(errOut)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().AddFlagSet(p.settings.Flags())
	root.PersistentFlags().StringVar(&p.file, "config", os.Getenv("MARKETPRISM_CONFIG"), "YAML file of settings")
	root.AddCommand(p.run(), p.collect(), p.archive(), p.exchange(), p.soak(), p.record(), p.replay(), p.bookAt(), p.check(),
		p.migrate(), p.deadLetters(), p.status(), p.config(), p.version())
	return root
}

// load completes the settings. On a terminal it logs only warnings, so as not to disturb the status.
func (p *program) load() error {
	if err := p.settings.Load(p.file, os.LookupEnv); err != nil {
		return usageError{err}
	}
	if p.settings.Origin("log-level") == config.FromDefault && term.IsTerminal(int(p.errOut.Fd())) {
		p.settings.Config.LogLevel = slog.LevelWarn
	}
	return nil
}

// exactArgs is cobra.ExactArgs with a message that names the arguments.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usageError{fmt.Errorf("%s wants %d arguments %q, got %d", cmd.CommandPath(), len(names), names, len(args))}
		}
		return nil
	}
}

func (p *program) config() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Show the settings", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	parent.AddCommand(&cobra.Command{
		Use: "print", Short: "Print all settings as a file, and where each came from; secrets are masked", Args: exactArgs(),
		Example: "  marketprism config print > marketprism.yaml",
		RunE:    func(*cobra.Command, []string) error { return p.settings.Print(p.out) },
	})
	return parent
}

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(p.out, "marketprism %s %s %s/%s%s\n", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, revision())
			return err
		},
	}
}

// revision returns the commit of the build, if known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return " " + s.Value
		}
	}
	return ""
}

// confirm asks on a terminal; elsewhere it requires yes.
func (p *program) confirm(cmd *cobra.Command, yes bool, what string) error {
	if yes {
		return nil
	}
	in, ok := cmd.InOrStdin().(interface{ Fd() uintptr })
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usageError{fmt.Errorf("no terminal to confirm %s: give --yes", what)}
	}
	fmt.Fprintf(p.errOut, "%s? [y/N] ", what)
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil || strings.ToLower(strings.TrimSpace(answer)) != "y" {
		return errors.New("nothing was changed")
	}
	return nil
}

// A bar shows the progress of long work, only on a terminal.
type bar struct{ bar *progressbar.ProgressBar }

func (p *program) options(what string) []progressbar.Option {
	return []progressbar.Option{
		progressbar.OptionSetWriter(p.errOut), progressbar.OptionSetDescription(what),
		progressbar.OptionSetVisibility(term.IsTerminal(int(p.errOut.Fd()))),
		progressbar.OptionThrottle(100 * time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth(),
		progressbar.OptionSetPredictTime(true), progressbar.OptionShowCount(), progressbar.OptionSetElapsedTime(true),
	}
}

// newBar returns the bar of work with a known number of steps.
func (p *program) newBar(what string, steps int64) bar {
	return bar{progressbar.NewOptions64(max(steps, 1), p.options(what)...)}
}

// spinner returns the bar of work with an unknown number of steps.
func (p *program) spinner(what string) bar {
	return bar{progressbar.NewOptions64(-1, p.options(what)...)}
}

// Errors of drawing the bar do not stop the work.
func (b bar) set(done int64) { _ = b.bar.Set64(done) }
func (b bar) end()           { _ = b.bar.Finish() }

// plural returns "1 letter" or "2 letters".
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// A moment is a flag: an RFC 3339 time, or a time before now such as -1h. Empty is the zero time.
type moment struct{ time.Time }

func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339Nano)
}

func (m *moment) Type() string { return "time" }

func (m *moment) Set(text string) error {
	if text == "now" {
		m.Time = time.Now()
		return nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		m.Time = time.Now().Add(ago)
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return fmt.Errorf("want a time such as 2026-01-31T12:00:00Z, or -1h for an hour ago")
	}
	m.Time = t
	return nil
}

// A span holds the flags --from and --to.
type span struct{ from, to moment }

func (s *span) flags(cmd *cobra.Command) {
	cmd.Flags().Var(&s.from, "from", "first moment, such as 2026-01-31T12:00:00Z or -1h; empty means no bound")
	cmd.Flags().Var(&s.to, "to", "moment before which it ends, likewise")
}
