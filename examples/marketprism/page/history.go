package page

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// A point is mid price and spread of a book at a moment of the local clock; both are null while the
// book is not known or has an empty side.
type point struct {
	TimeMS int64    `json:"t"` // since the Unix epoch
	Mid    *float64 `json:"mid"`
	Spread *float64 `json:"spread"`
}

// history is a ring of points for each symbol. Symbols that are no longer followed are forgotten.
type history struct {
	keep int

	mu       sync.Mutex
	bySymbol map[string]*ring
}

type ring struct {
	points []point
	next   int // where the next one goes once the ring is full
}

func newHistory(keep int) *history { return &history{keep: keep, bySymbol: make(map[string]*ring)} }

// sample takes one point of every book.
func (h *history) sample(feed Feed, now time.Time) {
	symbols := feed.Symbols()
	taken := make([]point, len(symbols))
	for i, symbol := range symbols {
		taken[i] = pointOf(feed, symbol, now)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := make(map[string]*ring, len(symbols))
	for i, symbol := range symbols {
		r := h.bySymbol[symbol]
		if r == nil {
			r = new(ring)
		}
		r.add(taken[i], h.keep)
		kept[symbol] = r
	}
	h.bySymbol = kept
}

func pointOf(feed Feed, symbol string, now time.Time) point {
	pt := point{TimeMS: now.UnixMilli()}
	_ = feed.View(symbol, func(b *orderbook.Book, _ binance.Status) { // an error says that it is not known: the point stays empty
		if mid, ok := b.Mid(); ok {
			spread, _ := b.Spread()
			width := spread.Float64()
			pt.Mid, pt.Spread = &mid, &width
		}
	})
	return pt
}

func (r *ring) add(pt point, keep int) {
	if len(r.points) < keep {
		r.points = append(r.points, pt)
		return
	}
	r.points[r.next] = pt
	r.next = (r.next + 1) % keep
}

// of returns the symbol's points, oldest first.
func (h *history) of(symbol string) []point {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.bySymbol[symbol]
	if r == nil {
		return []point{}
	}
	out := make([]point, 0, len(r.points))
	return append(append(out, r.points[r.next:]...), r.points[:r.next]...)
}

func (p *Page) serveHistory(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		SampleMS int64   `json:"sampleMs"`
		Points   []point `json:"points"`
	}{p.cfg.Sample.Milliseconds(), p.history.of(r.FormValue("symbol"))})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a viewer that has left does not want to know
}
