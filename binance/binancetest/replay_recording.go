package binancetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/marketprism/marketprism/internal/recording"
	"github.com/marketprism/marketprism/orderbook"
)

// openReplay reads a whole recording, so that a broken one is an error before anything starts, and lists
// its symbols.
func openReplay(s *Server, cfg Playback) (*replay, error) {
	r, err := recording.Open(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecording, err)
	}
	defer func() { _ = r.Close() }() // only read
	if cfg.WaitFor == nil {
		cfg.WaitFor = []string{"depth"}
	}
	p := &replay{server: s, cfg: cfg, waits: make(map[string]bool), books: make(map[string]*recordedBook)}
	for l, err := range r.Lines() {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRecording, err)
		}
		if err := p.survey(&l); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRecording, &recording.LineError{Name: cfg.Path, Line: r.Line(), Err: err})
		}
	}
	if len(p.waits) == 0 {
		return nil, fmt.Errorf("%w: %s has no stream of the types %q", ErrRecording, cfg.Path, cfg.WaitFor)
	}
	return p, nil
}

// survey validates a line and registers its stream or symbol.
func (p *replay) survey(l *recording.Line) error {
	if l.Kind == recording.REST {
		return p.surveyREST(l)
	}
	stream, data, err := l.Stream()
	if err != nil {
		return err
	}
	_, kind := splitStream(stream)
	if slices.Contains(p.cfg.WaitFor, kind) {
		p.waits[stream] = true
	}
	if kind == "depth" {
		_, err = decodeUpdate(data)
	}
	return err
}

func (p *replay) surveyREST(l *recording.Line) error {
	name, isDepth := l.DepthSymbol()
	if !isDepth {
		return nil
	}
	if !strings.HasPrefix(l.Path, p.server.rules.restPrefix+"/") {
		return fmt.Errorf("%s is not of the market %s", l.Path, p.server.cfg.Market)
	}
	snap, err := decodeSnapshot(l.Body)
	if err != nil {
		return err
	}
	if b := p.books[name]; b != nil {
		b.left++
		return nil
	}
	tick, step := stepsOf(snap)
	if err := p.server.list(Symbol{Name: name, TickSize: tick, StepSize: step, Levels: -1}); err != nil {
		return err
	}
	p.server.byName[name].synced = false
	p.books[name] = &recordedBook{left: 1, reached: make(chan struct{})}
	return nil
}

// stepsOf returns the smallest units of a snapshot's written prices and quantities.
func stepsOf(snap *recordedSnapshot) (tick, step orderbook.Fixed) {
	return unit(snap.priceDecimals), unit(snap.quantityDecimals)
}

// unit returns 10 to the power of -decimals.
func unit(decimals int) orderbook.Fixed {
	u := orderbook.One
	for range decimals {
		u /= 10
	}
	return u
}

// A recordedSnapshot is a decoded answer to a recorded depth request.
type recordedSnapshot struct {
	orderbook.Snapshot
	priceDecimals, quantityDecimals int // as written
}

func decodeSnapshot(body []byte) (*recordedSnapshot, error) {
	var raw struct {
		LastUpdateID *int64     `json:"lastUpdateId"`
		Bids         [][]string `json:"bids"`
		Asks         [][]string `json:"asks"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if raw.LastUpdateID == nil {
		return nil, errors.New("snapshot without lastUpdateId")
	}
	s := &recordedSnapshot{Snapshot: orderbook.Snapshot{LastID: *raw.LastUpdateID}}
	for _, l := range slices.Concat(raw.Bids, raw.Asks) {
		if len(l) >= 2 {
			s.priceDecimals = max(s.priceDecimals, writtenDecimals(l[0]))
			s.quantityDecimals = max(s.quantityDecimals, writtenDecimals(l[1]))
		}
	}
	var err error
	if s.Bids, err = decodeLevels(raw.Bids); err != nil {
		return nil, err
	}
	s.Asks, err = decodeLevels(raw.Asks)
	return s, err
}

func writtenDecimals(number string) int {
	_, fraction, _ := strings.Cut(number, ".")
	return min(len(fraction), orderbook.FractionDigits)
}

func decodeUpdate(data []byte) (*orderbook.Update, error) {
	var raw struct {
		First *int64     `json:"U"`
		Last  *int64     `json:"u"`
		Prev  int64      `json:"pu"`
		Bids  [][]string `json:"b"`
		Asks  [][]string `json:"a"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("depth event: %w", err)
	}
	if raw.First == nil || raw.Last == nil {
		return nil, errors.New("depth event without update ids")
	}
	u := &orderbook.Update{FirstID: *raw.First, LastID: *raw.Last, PrevLastID: raw.Prev}
	var err error
	if u.Bids, err = decodeLevels(raw.Bids); err != nil {
		return nil, err
	}
	u.Asks, err = decodeLevels(raw.Asks)
	return u, err
}

func decodeLevels(raw [][]string) ([]orderbook.Level, error) {
	levels := make([]orderbook.Level, len(raw))
	for i, l := range raw {
		if len(l) < 2 {
			return nil, fmt.Errorf("level %q has no price and quantity", l)
		}
		price, err := orderbook.ParseFixed(l[0])
		if err != nil {
			return nil, err
		}
		quantity, err := orderbook.ParseQuantity(l[1])
		if err != nil {
			return nil, err
		}
		levels[i] = orderbook.Level{Price: price, Quantity: quantity}
	}
	return levels, nil
}

// cutSnapshot truncates a recorded answer to limit levels. An answer without more is returned verbatim.
func cutSnapshot(body []byte, limit int) []byte {
	var raw map[string]json.RawMessage
	var sides [2][]json.RawMessage
	if json.Unmarshal(body, &raw) != nil || json.Unmarshal(raw["bids"], &sides[bid]) != nil || json.Unmarshal(raw["asks"], &sides[ask]) != nil {
		return body // cannot happen: survey has read it
	}
	if len(sides[bid]) <= limit && len(sides[ask]) <= limit {
		return body
	}
	for key, side := range map[string][]json.RawMessage{"bids": sides[bid], "asks": sides[ask]} {
		raw[key], _ = json.Marshal(side[:min(limit, len(side))]) // was JSON
	}
	cut, _ := json.Marshal(raw) // likewise
	return cut
}
