package page

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/hook"
)

// pastTimeout bounds one question to the archive.
const pastTimeout = 15 * time.Second

// A pastState answers for a book of the past: either it, or why there is none.
type pastState struct {
	At    time.Time  `json:"at"`
	Book  *bookState `json:"book,omitempty"`
	Error string     `json:"error,omitempty"`
	From  time.Time  `json:"from,omitzero"` // the last moment before At at which the book is known
	To    time.Time  `json:"to,omitzero"`   // the next one after it
}

// serveBook rebuilds the book of "symbol" at "at", in milliseconds since the Unix epoch, from the archive.
func (p *Page) serveBook(w http.ResponseWriter, r *http.Request) {
	if p.cfg.Archive == nil {
		writeJSON(w, http.StatusNotFound, pastState{Error: "this pipeline has no archive to read"})
		return
	}
	symbol := r.FormValue("symbol")
	ms, err := strconv.ParseInt(r.FormValue("at"), 10, 64)
	if err != nil || symbol == "" {
		writeJSON(w, http.StatusBadRequest, pastState{Error: "want symbol, and at in milliseconds since 1970"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pastTimeout)
	defer cancel()
	past := pastState{At: time.UnixMilli(ms).UTC()}
	book, err := p.cfg.Archive.BookAt(ctx, p.instrument(symbol), past.At)
	if err != nil {
		status := past.explain(err)
		if status == http.StatusBadGateway {
			hook.Call(p.cfg.ArchiveFailed, err)
		}
		writeJSON(w, status, past)
		return
	}
	past.Book = bookOf(symbol, book, p.cfg.Levels)
	writeJSON(w, http.StatusOK, past)
}

// explain fills in why there is no book, and returns the status that says the same.
func (s *pastState) explain(err error) int {
	var hole *chstore.MissingError
	switch {
	case errors.As(err, &hole):
		s.Error, s.From, s.To = "updates are missing there, so the book is not known", hole.From, hole.To
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
