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
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/internal/chserver"
)

// Version is the version of the program, as in semver.org.
const Version = "0.1.0"

// Main runs the program and returns its exit code.
func Main(ctx context.Context, args []string, out, errOut *os.File) int {
	root := newRoot(out, errOut)
	root.SetArgs(args)
	return exitCode(ctx, root.ExecuteContext(ctx), errOut)
}

// A program holds the settings and outputs of all commands.
type program struct {
	settings    *config.Settings
	file        string // of settings
	helpAll     bool   // help shows the settings
	out, errOut *os.File
}

const rootLong = `Marketprism keeps order books in step with an exchange, moves every record over NATS JetStream,
stores it in ClickHouse, and gives it back: any book at any moment.

Settings are flags, variables of the environment, and lines of a YAML file, in this precedence; each
has one name: --sim-rate, MARKETPRISM_SIM_RATE, sim-rate. --help-all describes them, and "marketprism
config print" shows their values; with --diff, those that are not the defaults.

Exit codes: 0 all went well; 1 it could not be done; 2 flags, arguments or settings are wrong; 3 check
has found something; 130 Ctrl-C, SIGTERM or a closed output ended it before its work was done. A role that
had started ends in order, with 0; a second Ctrl-C ends it at once.`

// configEnv is the variable that names the file of settings.
const configEnv = "MARKETPRISM_CONFIG"

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
		Args:              exactArgs(),
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return p.load(cmd) },
	}
	root.SetOut(out)
	root.SetErr(errOut)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(p.usage)
	root.SetHelpCommand(p.help(root))
	root.PersistentFlags().AddFlagSet(p.settings.Flags())
	root.PersistentFlags().StringVar(&p.file, "config", os.Getenv(configEnv), "YAML file of settings")
	root.PersistentFlags().BoolFunc("help-all", "help, with all settings", func(string) error {
		p.helpAll = true
		return pflag.ErrHelp
	})
	root.AddCommand(p.run(), p.collect(), p.archive(), p.exchange(), p.soak(), p.record(), p.replay(), p.bookAt(), exportCommand(p), p.check(),
		p.migrate(), p.streams(), p.deadLetters(), p.status(), p.config(), p.version())
	return root
}

// load completes the settings. On a terminal it logs only warnings, so as not to disturb the status.
func (p *program) load(cmd *cobra.Command) error {
	if err := p.ownDefaults(cmd); err != nil {
		return err
	}
	if err := p.settings.Load(p.file, os.Environ(), configEnv, chserver.LibraryEnv); err != nil {
		return usageError{err}
	}
	// A person reads tables, and only warnings of the log.
	if p.settings.Origin("log-level") == config.FromDefault && (cmd.Name() == runName || term.IsTerminal(int(p.errOut.Fd()))) {
		p.settings.Config.LogLevel, p.settings.Config.LogPlain = slog.LevelWarn, true
	}
	return nil
}

// help returns the command help.
func (p *program) help(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Describe a command",
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil }, // also with settings that are wrong
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return usageError{err}
			}
			if len(rest) > 0 {
				return unknownCommand(cmd, rest[0])
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// ownDefaults sets the defaults that a command has of its own: its annotations are settings.
func (p *program) ownDefaults(cmd *cobra.Command) error {
	for name, text := range cmd.Annotations {
		if err := p.settings.SetDefault(name, text); err != nil {
			return err
		}
	}
	return nil
}

// helpColumns is the width of the descriptions of flags.
const helpColumns = 120

// usage prints how to call a command: with its own flags, and with --help-all with the settings too.
func (p *program) usage(cmd *cobra.Command) error {
	if err := p.ownDefaults(cmd); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-*s %s\n", sub.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	own, settings := pflag.NewFlagSet("", pflag.ContinueOnError), p.settings.Flags()
	sortFlag := func(f *pflag.Flag) {
		if settings.Lookup(f.Name) == nil {
			own.AddFlag(f)
		}
	}
	cmd.LocalFlags().VisitAll(sortFlag)
	cmd.InheritedFlags().VisitAll(sortFlag)
	fmt.Fprintf(&b, "\nFlags:\n%s", own.FlagUsagesWrapped(helpColumns))
	if p.helpAll {
		fmt.Fprintf(&b, "\nSettings:\n%s", settings.FlagUsagesWrapped(helpColumns))
	} else {
		fmt.Fprintf(&b, "\nThe settings, such as --source and --data, are flags too: %s --help-all\n", cmd.CommandPath())
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}

// checkUser returns an error if a service, or a run with real data, would run as root: whoever found a way into it would have
// the host. Trials by root are let through.
func (p *program) checkUser(role string) error {
	cfg := p.settings.Config
	if os.Geteuid() != 0 || cfg.AllowRoot || role == "marketprism" && cfg.Source != config.Live {
		return nil
	}
	return errors.New("this would run as root, and a fault of it would give away the host: run it as a user of its own, or with --allow-root")
}

func (p *program) config() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Show the settings", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	diff := false
	cmd := &cobra.Command{
		Use: "print", Short: "Print all settings as a file, and where each came from; secrets are masked", Args: exactArgs(),
		Example: "  marketprism config print > marketprism.yaml\n  marketprism config print --diff",
		RunE: func(*cobra.Command, []string) error {
			if diff {
				return p.settings.PrintDiff(p.out)
			}
			return p.settings.Print(p.out)
		},
	}
	cmd.Flags().BoolVar(&diff, "diff", false, "print only what differs from the defaults, with these and where it was set")
	parent.AddCommand(cmd)
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
	answer := make(chan string, 1)
	go func() { // it ends with the program, if Ctrl-C comes before an answer
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // without an answer nothing is changed
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		if line != "y" {
			return errors.New("nothing was changed")
		}
		return nil
	case <-cmd.Context().Done():
		fmt.Fprintln(p.errOut)
		return cmd.Context().Err()
	}
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
