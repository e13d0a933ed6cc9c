package page

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/gate"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A point is mid price and spread of a book at a moment of the local clock; both are null while the
// book is not synced or has an empty side.
type point struct {
	TimeMS int64    `json:"t"` // since the Unix epoch
	Mid    *float64 `json:"mid"`
	Spread *float64 `json:"spread"`
}

// history is a ring of points for each symbol. Removed symbols are deleted.
type history struct {
	keep int

	mu       sync.Mutex
	bySymbol map[string]*ring
}

type ring struct {
	points []point
	next   int // index of the next one once the ring is full
}

func newHistory(keep int) *history { return &history{keep: keep, bySymbol: make(map[string]*ring)} }

// sample adds one point for every book.
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
	_ = feed.View(symbol, func(b *orderbook.Book, _ binance.Status) { // on an error it is not synced, and the point stays empty
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
	_ = json.NewEncoder(w).Encode(v) // the viewer has left
}

// pastTimeout bounds one query of the archive.
const pastTimeout = 15 * time.Second

// The bounds of a request for a past book. The clock of a viewer may be ahead.
const (
	maxSymbol = 64 // bytes
	maxAhead  = 24 * time.Hour
)

// A pastState is a book of the past, or the reason why there is none.
type pastState struct {
	At    time.Time  `json:"at"`
	Book  *bookState `json:"book,omitempty"`
	Error string     `json:"error,omitempty"`
	From  time.Time  `json:"from,omitzero"` // the last time before At at which the book is synced
	To    time.Time  `json:"to,omitzero"`   // the next such time after At
}

// serveBook rebuilds the book of "symbol" at "at", in milliseconds since the Unix epoch, from the archive.
func (p *Page) serveBook(w http.ResponseWriter, r *http.Request) {
	if p.cfg.Archive == nil {
		writeJSON(w, http.StatusNotFound, pastState{Error: "this pipeline has no archive to read"})
		return
	}
	symbol := r.FormValue("symbol")
	ms, err := strconv.ParseInt(r.FormValue("at"), 10, 64)
	if err != nil || symbol == "" || len(symbol) > maxSymbol || ms < 0 || ms > time.Now().Add(maxAhead).UnixMilli() {
		writeJSON(w, http.StatusBadRequest, pastState{Error: "want symbol, and at in milliseconds since 1970, not in the future"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pastTimeout)
	defer cancel()
	status, state, err := p.past.answer(ctx, gate.Client(r.RemoteAddr), pastKey{symbol, ms}, func() (int, pastState) {
		return p.readPast(ctx, symbol, ms)
	})
	switch {
	case errors.Is(err, errTooMany):
		w.Header().Set("Retry-After", "1")
		status, state = http.StatusTooManyRequests, pastState{Error: "too many books of the past are being read for you"}
	case err != nil: // all that are read by others took too long
		status = state.explain(context.DeadlineExceeded)
	}
	writeJSON(w, status, state)
}

// readPast rebuilds a book from the archive, and returns the status of the answer with it.
func (p *Page) readPast(ctx context.Context, symbol string, ms int64) (int, pastState) {
	state := pastState{At: time.UnixMilli(ms).UTC()}
	book, err := p.cfg.Archive.BookAt(ctx, p.instrument(symbol), state.At)
	if err != nil {
		status := state.explain(err)
		if status == http.StatusBadGateway {
			hook.Call(p.cfg.ArchiveFailed, err)
		}
		return status, state
	}
	state.Book = bookOf(symbol, book, p.cfg.Levels)
	return http.StatusOK, state
}

// explain sets the reason why there is no book, and returns the HTTP status.
func (s *pastState) explain(err error) int {
	var missing *chstore.MissingError
	switch {
	case errors.As(err, &missing):
		s.Error, s.From, s.To = "updates are missing there, so the book is not synced", missing.From, missing.To
		return http.StatusNotFound
	case errors.Is(err, chstore.ErrNoSnapshot):
		s.Error = "the archive holds no snapshot at or before that moment"
		return http.StatusNotFound
	case errors.Is(err, context.DeadlineExceeded):
		s.Error = "the archive did not answer in time"
		return http.StatusGatewayTimeout
	}
	s.Error = "the archive could not be read; the program's log says why"
	return http.StatusBadGateway
}
