// Replay runs recordings of exchange traffic through the library's decoder and Syncer and prints, for each symbol, the
// final book and how often it agreed with the exchange's best prices, and a line that sums them up.
//
//	go run ./examples/replay recording.ndjson.gz
//	go run ./examples/replay --market usdm --json recording.ndjson.gz
//
// With --json the output is one JSON object, symbol → summary. The exit status is 1 if there is no book, or any symbol had a
// gap or a bookTicker that its book contradicts, and 2 if a recording cannot be read.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/compare"
	"github.com/marketprism/marketprism/examples/plain"
	"github.com/marketprism/marketprism/internal/recording"
	"github.com/marketprism/marketprism/orderbook"
)

func main() {
	market := flag.String("market", string(marketprism.Spot), "market of the recordings: spot, usdm or coinm")
	asJSON := flag.Bool("json", false, "print one JSON object, symbol → summary")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: replay [--market spot|usdm|coinm] [--json] FILE…")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	equal, err := run(marketprism.Market(*market), flag.Args(), *asJSON, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", plain.Text(err.Error()))
		os.Exit(2)
	}
	if !equal {
		os.Exit(1)
	}
}

// run replays files, prints the summaries, and reports whether there are books and all agree with the exchange.
func run(market marketprism.Market, files []string, asJSON bool, out io.Writer) (equal bool, err error) {
	r, err := newReplay(market)
	for _, file := range files {
		if err == nil {
			err = r.file(file)
		}
	}
	if err != nil {
		return false, err
	}
	summaries := r.summaries()
	var total compare.Total
	for _, s := range summaries {
		total.Add(s.result())
	}
	if asJSON {
		enc := json.NewEncoder(plain.JSON(out))
		enc.SetIndent("", " ")
		return total.OK(), enc.Encode(summaries)
	}
	return total.OK(), printSummaries(summaries, &total, out)
}

// printSummaries prints a table of symbols and the total.
func printSummaries(summaries map[string]summary, total *compare.Total, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SYMBOL\tUPDATES\tGAPS\tTICKERS EQUAL\tLEVELS\tBEST BID\tBEST ASK\tUPDATE ID")
	for _, name := range slices.Sorted(maps.Keys(summaries)) {
		s := summaries[name]
		fmt.Fprintf(table, "%s\t%d\t%d\t%d of %d\t%d+%d\t%s\t%s\t%d\n", plain.Cell(name), s.Applied, s.Gaps, s.BookTickersEqual, s.BookTickersAtBook,
			s.BidLevels, s.AskLevels, first(s.BestBid), first(s.BestAsk), s.FinalUpdateID)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, total)
	return err
}

// first returns the price of a level, if there is one.
func first(level []string) string {
	if len(level) == 0 {
		return "-"
	}
	return level[0]
}

// A replay feeds recordings of one market to the sync core, a symbol at a time.
type replay struct {
	continuity orderbook.Continuity
	symbols    map[string]*symbolReplay

	decoder binance.Decoder
	message binance.Message
}

func newReplay(market marketprism.Market) (*replay, error) {
	switch market {
	case marketprism.Spot, marketprism.USDM, marketprism.COINM:
		return &replay{continuity: market.Continuity(), symbols: make(map[string]*symbolReplay)}, nil
	}
	return nil, fmt.Errorf("market %q is none of spot, usdm, coinm", market)
}

// file replays one recording after those before it.
func (r *replay) file(path string) error {
	in, err := recording.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	n := 0
	for line, err := range in.Lines() {
		n++
		if err == nil {
			err = r.line(&line)
		}
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", path, n, err)
		}
	}
	return nil
}

func (r *replay) line(line *recording.Line) error {
	if line.Kind == recording.WS {
		return r.frame(line)
	}
	name, ok := line.DepthSymbol()
	if !ok {
		return nil
	}
	var snap orderbook.Snapshot
	symbol, err := r.decoder.DecodeSnapshot(line.Body, &snap)
	if err != nil {
		return err
	}
	if symbol != "" && symbol != name {
		return fmt.Errorf("the snapshot requested for %s is of %s", name, symbol)
	}
	s, err := r.symbol(name, line)
	if err != nil {
		return err
	}
	s.snapshot(line.ReceivedAt, &snap)
	return nil
}

func (r *replay) frame(line *recording.Line) error {
	m := &r.message
	if err := r.decoder.Decode(line.Frame, m); err != nil {
		return err
	}
	if m.Type != binance.MessageDepth && m.Type != binance.MessageTicker {
		return nil
	}
	s, err := r.symbol(m.Symbol, line)
	if err != nil {
		return err
	}
	if m.Type == binance.MessageDepth {
		s.update(line.ReceivedAt, &m.Update)
	} else {
		s.ticker(&m.Ticker)
	}
	return nil
}

// symbol returns the replay of a symbol, and starts it at the symbol's first line.
func (r *replay) symbol(name string, line *recording.Line) (*symbolReplay, error) {
	if s := r.symbols[name]; s != nil {
		return s, nil
	}
	s, err := newSymbolReplay(r.continuity, line.ReceivedAt)
	if err != nil {
		return nil, err
	}
	r.symbols[name] = s
	return s, nil
}

func (r *replay) summaries() map[string]summary {
	all := make(map[string]summary, len(r.symbols))
	for name, s := range r.symbols {
		all[name] = s.summary()
	}
	return all
}
