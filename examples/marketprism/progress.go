package main

import (
	"fmt"
	"time"

	"golang.org/x/term"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// A progress is the line that tells how a run goes: in place on a terminal, else a line now and then.
type progress struct {
	p        *pipeline
	books    *binance.DepthSyncer
	symbols  []string
	started  time.Time
	inPlace  bool
	interval time.Duration
}

func newProgress(p *pipeline, books *binance.DepthSyncer, symbols []string) *progress {
	pr := &progress{p: p, books: books, symbols: symbols, started: time.Now(), interval: 5 * time.Second}
	if term.IsTerminal(int(p.out.Fd())) {
		pr.inPlace, pr.interval = true, 250*time.Millisecond
	}
	return pr
}

func (pr *progress) show() {
	synced := 0
	for _, symbol := range pr.symbols {
		if s, _ := pr.books.Status(symbol); s.State == orderbook.Synced {
			synced++
		}
	}
	line := fmt.Sprintf("%5.0fs  %d of %d books synced", time.Since(pr.started).Seconds(), synced, len(pr.symbols))
	for s := range stages {
		line += fmt.Sprintf("  %s %d", s, pr.p.tally.total(s))
	}
	if pr.inPlace {
		fmt.Fprintf(pr.p.out, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(pr.p.out, line)
}

// end leaves the line as it is.
func (pr *progress) end() {
	if pr.inPlace {
		fmt.Fprintln(pr.p.out)
	}
}
