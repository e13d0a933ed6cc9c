// Replay runs recordings of exchange traffic through the library's decoder and Syncer and prints, for each symbol, the
// final book and how often it agreed with the exchange's best prices.
//
//	go run ./examples/replay recording.ndjson.gz
//	go run ./examples/replay -market usdm recording.ndjson.gz
//
// The output is one JSON object, symbol → summary. The exit status is 1 if any symbol had a gap or a
// bookTicker that its book contradicts, and 2 if a recording cannot be read.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/recording"
	"github.com/marketprism/marketprism/orderbook"
)

func main() {
	market := flag.String("market", string(marketprism.Spot), "market of the recordings: spot, usdm or coinm")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: replay [-market spot|usdm|coinm] FILE…")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}

	r, err := newReplay(marketprism.Market(*market))
	for _, file := range flag.Args() {
		if err == nil {
			err = r.file(file)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(2)
	}

	summaries := r.summaries()
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", " ")
	if err := enc.Encode(summaries); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(2)
	}
	for _, s := range summaries {
		if s.Gaps > 0 || s.BookTickersEqual != s.BookTickersAtBook {
			os.Exit(1)
		}
	}
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
