package command

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/marketprism/marketprism/examples/marketprism/config"
)

// wantValue returns the error of a flag or an argument whose value is not allowed.
func wantValue(setting string, value any, want string) error {
	return usageError{&config.ValueError{Setting: setting, Value: fmt.Sprint(value), Want: want}}
}

// oneOf returns an error unless value is one of names.
func oneOf(setting, value string, names []string) error {
	for _, name := range names {
		if name == value {
			return nil
		}
	}
	want := strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
	return usageError{&config.ValueError{Setting: setting, Value: value, Want: want, Closest: config.Closest(value, names)}}
}

// flagError returns the error of a command line that cannot be parsed.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return err
	case errors.As(err, &unknown):
		name, dashes := unknown.GetSpecifiedName(), "--"
		if letters := unknown.GetSpecifiedShortnames(); letters != "" {
			name, dashes = letters, "-"
		}
		closest := config.Closest(name, flagNames(cmd))
		if closest != "" {
			closest = "--" + closest
		}
		return usageError{fmt.Errorf("unknown flag %s%s%s", dashes, name, config.Hint(closest))}
	case errors.As(err, &invalid):
		return usageError{config.ParseError("--"+invalid.GetFlag().Name, invalid.GetFlag(), invalid.GetValue())}
	case errors.As(err, &missing):
		return usageError{config.ParseError("--"+missing.GetFlag().Name, missing.GetFlag(), "")}
	}
	return usageError{err}
}

// flagNames returns the flags of a command, its own before the settings.
func flagNames(cmd *cobra.Command) (names []string) {
	add := func(f *pflag.Flag) { names = append(names, f.Name) }
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return names
}

// exactArgs is cobra.ExactArgs with messages that name the arguments, and the command that was probably meant.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		if cmd.HasAvailableSubCommands() {
			return unknownCommand(cmd, args[0])
		}
		want := cmp.Or(strings.Join(names, " "), "no arguments")
		return usageError{&config.ValueError{Setting: below(cmd), Value: strings.Join(args, " "), Want: want}}
	}
}

// below returns the names of a command and its parents without the program's.
func below(cmd *cobra.Command) string {
	return strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()), " ")
}

func unknownCommand(parent *cobra.Command, name string) error {
	var names []string
	for _, cmd := range parent.Commands() {
		if cmd.IsAvailableCommand() {
			names = append(names, cmd.Name())
		}
	}
	closest := config.Closest(name, names)
	if closest != "" {
		closest = parent.CommandPath() + " " + closest
	}
	return usageError{fmt.Errorf("unknown command %q%s", strings.TrimPrefix(below(parent)+" "+name, " "), config.Hint(closest))}
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
	m.Time = t
	return err
}

// A span holds the flags --from and --to.
type span struct{ from, to moment }

func (s *span) flags(cmd *cobra.Command) {
	cmd.Flags().Var(&s.from, "from", "first moment, such as 2026-01-31T12:00:00Z or -1h; empty means no bound")
	cmd.Flags().Var(&s.to, "to", "moment before which it ends, likewise")
}

// check returns an error for a span that is empty.
func (s *span) check() error {
	if !s.from.IsZero() && !s.to.IsZero() && !s.from.Before(s.to.Time) {
		return wantValue("--to", &s.to, "a moment after --from, "+s.from.String())
	}
	return nil
}
