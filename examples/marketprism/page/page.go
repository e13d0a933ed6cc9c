// Package page serves the live page of a pipeline: the live books, the health of every stage, and, with an archive,
// any book of the past. It keeps only a few minutes of prices and the last trades.
//
// The page is one HTML file with its script and style, embedded in the binary; it loads nothing from elsewhere. It
// answers requests that pass package gate.
package page

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/marketprism/gate"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/orderbook"
)

// A Feed provides live books, as a *binance.DepthSyncer does.
type Feed interface {
	Symbols() []string
	Status(symbol string) (binance.Status, bool)
	View(symbol string, f func(*orderbook.Book, binance.Status)) error
}

// An Archive provides books of the past, as a *chstore.Store does.
type Archive interface {
	BookAt(ctx context.Context, i marketprism.Instrument, t time.Time) (*orderbook.Book, error)
}

// A Config configures a Page. Feed is required.
type Config struct {
	Market  marketprism.Market // of the Feed's symbols; "" means spot
	Feed    Feed
	Archive Archive       // nil means no books of the past
	Health  func() Health // called a few times a second for each viewer; nil means no health

	// Source says in capitals, on every page, that the data is not the exchange's own, such as SIMULATED. "" means that it is.
	Source string

	// ArchiveFailed is called with errors of the archive that viewers do not see, on the goroutine of the request.
	// It may be nil.
	ArchiveFailed func(error)

	// Gate says which requests are answered.
	Gate gate.Config

	Levels  int           // levels a side sent to the page; 0 means 100
	Refresh time.Duration // interval of the displayed book; 0 means 250 ms
	Sample  time.Duration // interval of mid and spread; 0 means 1 s
	History int           // points kept for each symbol; 0 means 300
	Trades  int           // trades kept for each symbol; 0 means 50

	// Viewers is the number of concurrent pages; 0 means 32. When all are open, a client with fewer than another one has
	// takes the oldest of the client that has the most, and others get status 503.
	Viewers int

	// ArchiveReads is the number of concurrent queries of the Archive; 0 means 4. Further ones wait, up to as many of
	// each client; those beyond get status 429. An answer is kept for a few seconds.
	ArchiveReads int
}

// A Page is an http.Handler. Run records its history, Observe its trades.
type Page struct {
	cfg     Config
	handler http.Handler
	history *history
	trades  *trades
	viewers *viewers
	past    *past
	started time.Time // local clock
}

// New returns the Page of a Feed, or an error if cfg is invalid.
func New(cfg Config) (*Page, error) {
	if cfg.Feed == nil {
		return nil, errors.New("page: Feed is required")
	}
	defaults.Set(&cfg.Market, marketprism.Spot)
	defaults.Set(&cfg.Levels, 100)
	defaults.Set(&cfg.Refresh, 250*time.Millisecond)
	defaults.Set(&cfg.Sample, time.Second)
	defaults.Set(&cfg.History, 300)
	defaults.Set(&cfg.Trades, 50)
	defaults.Set(&cfg.Viewers, 32)
	defaults.Set(&cfg.ArchiveReads, 4)
	if cfg.Levels < 0 || cfg.History < 0 || cfg.Trades < 0 || cfg.Viewers < 0 || cfg.ArchiveReads < 0 {
		return nil, fmt.Errorf("page: Levels %d, History %d, Trades %d, Viewers %d, ArchiveReads %d: want positive bounds",
			cfg.Levels, cfg.History, cfg.Trades, cfg.Viewers, cfg.ArchiveReads)
	}
	if cfg.Refresh < 0 || cfg.Sample < 0 {
		return nil, fmt.Errorf("page: Refresh %v, Sample %v: want positive times", cfg.Refresh, cfg.Sample)
	}
	p := &Page{
		cfg:     cfg,
		history: newHistory(cfg.History),
		trades:  newTrades(cfg.Trades),
		viewers: newViewers(cfg.Viewers),
		past:    newPast(cfg.ArchiveReads),
		started: time.Now(),
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", static())
	mux.HandleFunc("GET /api/live", p.serveLive)
	mux.HandleFunc("GET /api/history", p.serveHistory)
	mux.HandleFunc("GET /api/book", p.serveBook)
	p.handler = gate.New(cfg.Gate, mux)
	return p, nil
}

// ServeHTTP answers GET and HEAD requests that pass the gate.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	p.handler.ServeHTTP(w, r)
}

// Run samples mid and spread of every book until ctx ends, then returns nil.
func (p *Page) Run(ctx context.Context) error {
	tick := time.NewTicker(p.cfg.Sample)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.history.sample(p.cfg.Feed, now)
		case <-ctx.Done():
			return nil
		}
	}
}

// Observe records a trade and ignores other records. It is safe for concurrent use.
func (p *Page) Observe(rec *marketprism.Record) {
	if rec.Trade != nil && rec.Instrument.Market == p.cfg.Market {
		p.trades.add(rec.Instrument.Symbol, rec.Trade)
	}
}

func (p *Page) instrument(symbol string) marketprism.Instrument {
	return marketprism.Instrument{Exchange: marketprism.Binance, Market: p.cfg.Market, Symbol: symbol}
}

//go:embed static
var files embed.FS

// static serves the files of the page.
func static() http.Handler {
	sub, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // the name is valid and the folder embedded
	}
	return http.FileServerFS(sub)
}

// policy lets the page load only its own script and style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
