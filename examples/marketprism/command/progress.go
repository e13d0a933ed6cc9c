package command

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A bar shows how far long work is, on a terminal only: what is piped gets the results alone.
type bar struct{ bar *progressbar.ProgressBar }

func (p *program) options(what string) []progressbar.Option {
	return []progressbar.Option{
		progressbar.OptionSetWriter(p.errOut), progressbar.OptionSetDescription(what),
		progressbar.OptionSetVisibility(term.IsTerminal(int(p.errOut.Fd()))),
		progressbar.OptionThrottle(100 * time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth(),
		progressbar.OptionSetPredictTime(true), progressbar.OptionShowCount(), progressbar.OptionSetElapsedTime(true),
	}
}

// newBar is of work with a known number of steps.
func (p *program) newBar(what string, steps int64) bar {
	return bar{progressbar.NewOptions64(max(steps, 1), p.options(what)...)}
}

// spinner is of work that cannot tell how far it is.
func (p *program) spinner(what string) bar {
	return bar{progressbar.NewOptions64(-1, p.options(what)...)}
}

// A bar that cannot be drawn is no reason to stop the work.
func (b bar) set(done int64) { _ = b.bar.Set64(done) }
func (b bar) end()           { _ = b.bar.Finish() }

// plural is "1 letter", "2 letters".
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
