// Package command is the command line of the marketprism program.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/marketprism/marketprism/examples/marketprism/config"
)

// Version is what the program says of itself, as semver.org has it.
const Version = "0.1.0"

// The exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1 // it could not be done, or books differ; the message says what to do
	ExitUsage  = 2 // flags, arguments or settings are wrong
	ExitFound  = 3 // check has found something
)

// errUsage marks errors of flags, arguments and settings.
var errUsage = errors.New("usage")

type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error      { return e.error }

// errFound is the error of a check that found something, which it has printed.
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
		fmt.Fprintf(errOut, "marketprism: %v\nmarketprism help tells the commands and settings\n", err)
		return ExitUsage
	default:
		fmt.Fprintln(errOut, "marketprism:", err)
		return ExitFailed
	}
}

// A program is what all commands have.
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
		Use: "marketprism", Short: "Order books, kept exactly and archived", Long: rootLong, Example: rootExample,
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

// load completes the settings. Warnings alone disturb a status that is shown in place.
func (p *program) load() error {
	if err := p.settings.Load(p.file, os.LookupEnv); err != nil {
		return usageError{err}
	}
	if p.settings.Origin("log-level") == config.FromDefault && term.IsTerminal(int(p.errOut.Fd())) {
		p.settings.Config.LogLevel = slog.LevelWarn
	}
	return nil
}

// exactArgs is cobra.ExactArgs with a message that names what is wanted.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usageError{fmt.Errorf("%s wants %d arguments %q, got %d", cmd.CommandPath(), len(names), names, len(args))}
		}
		return nil
	}
}

func (p *program) config() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Look at the settings", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	parent.AddCommand(&cobra.Command{
		Use: "print", Short: "Print all settings as a file, and where each came from; secrets are masked", Args: exactArgs(),
		Example: "  marketprism config print > marketprism.yaml",
		RunE:    func(*cobra.Command, []string) error { return p.settings.Print(p.out) },
	})
	return parent
}
