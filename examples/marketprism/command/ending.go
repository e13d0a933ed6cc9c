package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/marketprism/marketprism/examples/marketprism/pipeline"
	"github.com/marketprism/marketprism/examples/plain"
)

// The exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1 // failure, or different books; the message says what to do
	ExitUsage  = 2 // flags, arguments or settings are wrong
	ExitFound  = 3 // check found something

	// ExitInterrupted says that Ctrl-C, SIGTERM or a closed output ended a command before its work was done. A role that had
	// started, and ended in order, exits with ExitOK. It is what shells say of SIGINT.
	ExitInterrupted = 130
)

// errUsage marks errors of flags, arguments and settings.
var errUsage = errors.New("usage")

type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error      { return e.error }

// errFound is the error of a check with findings, which it has printed.
var errFound = errors.New("check: see the findings above")

// exitCode prints the error of a command and returns the exit code.
func exitCode(ctx context.Context, err error, errOut io.Writer) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, syscall.EPIPE): // whoever read the output has seen enough
		return ExitInterrupted
	case errors.Is(err, pipeline.ErrInterrupted):
		fmt.Fprintln(errOut, "marketprism:", message(err))
		return ExitInterrupted
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(errOut, "marketprism:", pipeline.ErrInterrupted)
		return ExitInterrupted
	case errors.Is(err, errFound):
		fmt.Fprintln(errOut, "marketprism:", err)
		return ExitFound
	case errors.Is(err, errUsage):
		fmt.Fprintf(errOut, "marketprism: %s\nmarketprism help lists the commands, marketprism COMMAND --help-all the settings\n", message(err))
		return ExitUsage
	default:
		fmt.Fprintln(errOut, "marketprism:", message(err))
		return ExitFailed
	}
}

// packages are the names of packages before the texts of their errors.
var packages = regexp.MustCompile(`(^|: |\n)(?:binance|binancetest|bookfeed|chserver|chstore|deadletter|nats|natsbus|natsserver|orderbook|presence|sink|yaml): `)

// message returns the text of an error as an operator reads it.
func message(err error) string { return plain.Text(packages.ReplaceAllString(err.Error(), "$1")) }

// stillEnding is the time after an interrupt from which on a role says that it needs longer, and how to end it at once.
const stillEnding = 3 * time.Second

// untilSecond makes a second Ctrl-C or SIGTERM end the program at once, without a temporary folder left behind. It returns a
// func that ends this.
func untilSecond(ctx context.Context, role *pipeline.Pipeline, drain time.Duration, errOut io.Writer) (end func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		second := make(chan os.Signal, 1)
		signal.Notify(second, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(second)
		slow := time.NewTimer(stillEnding)
		defer slow.Stop()
		for {
			select {
			case <-slow.C:
				fmt.Fprintf(errOut, "marketprism: interrupted: publishing and storing what was received, for up to %v; a second Ctrl-C ends it at once\n", drain)
			case <-second:
				role.Abort()
				fmt.Fprintln(errOut, "marketprism: ended at once by a second interrupt")
				os.Exit(ExitInterrupted)
			case <-done:
				return
			}
		}
	})
	return func() {
		stop()
		close(done)
	}
}

// entered returns a channel that is closed when a line is read. A program in the background reads none.
func entered(in io.Reader) <-chan struct{} {
	ignoreBackground()
	done := make(chan struct{})
	go func() { // it ends with the program, if no line comes
		if _, err := bufio.NewReader(in).ReadString('\n'); err == nil {
			close(done)
		}
	}()
	return done
}
