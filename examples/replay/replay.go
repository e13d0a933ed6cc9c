package main

import (
	"fmt"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/recording"
	"github.com/marketprism/marketprism/orderbook"
)

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
	told, err := r.decoder.DecodeSnapshot(line.Body, &snap)
	if err != nil {
		return err
	}
	if told != "" && told != name {
		return fmt.Errorf("the snapshot asked for %s is of %s", name, told)
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

// symbol returns the replay of a symbol, which begins at its first line.
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
