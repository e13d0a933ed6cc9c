// Package page serves the live page of a pipeline: the live books, the health of every stage, and, with an archive,
// any book of the past. It keeps only a few minutes of prices and the last trades.
//
// The page is one HTML file with its script and style, embedded in the binary; it loads nothing from elsewhere. Serve
// it on a loopback address: it has no login.
package page

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
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

	// ArchiveFailed is called with errors of the archive that viewers do not see, on the goroutine of the request.
	// It may be nil.
	ArchiveFailed func(error)

	// Hosts are allowed host names, without a port, besides loopback addresses and localhost. Requests with another
	// Host are rejected, which prevents DNS rebinding by other web sites.
	Hosts []string

	Levels  int           // levels a side sent to the page; 0 means 100
	Refresh time.Duration // interval of the displayed book; 0 means 250 ms
	Sample  time.Duration // interval of mid and spread; 0 means 1 s
	History int           // points kept for each symbol; 0 means 300
	Trades  int           // trades kept for each symbol; 0 means 50
	Viewers int           // concurrent pages; 0 means 32. Further ones get status 503
}

// A Page is an http.Handler. Run records its history, Observe its trades.
type Page struct {
	cfg     Config
	mux     *http.ServeMux
	history *history
	trades  *trades
	viewers chan struct{} // holds one element per open page
	started time.Time     // local clock
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
	if cfg.Levels < 0 || cfg.History < 0 || cfg.Trades < 0 || cfg.Viewers < 0 {
		return nil, fmt.Errorf("page: Levels %d, History %d, Trades %d, Viewers %d: want positive bounds", cfg.Levels, cfg.History, cfg.Trades, cfg.Viewers)
	}
	if cfg.Refresh < 0 || cfg.Sample < 0 {
		return nil, fmt.Errorf("page: Refresh %v, Sample %v: want positive times", cfg.Refresh, cfg.Sample)
	}
	p := &Page{
		cfg:     cfg,
		mux:     http.NewServeMux(),
		history: newHistory(cfg.History),
		trades:  newTrades(cfg.Trades),
		viewers: make(chan struct{}, cfg.Viewers),
		started: time.Now(),
	}
	p.mux.Handle("GET /", static())
	p.mux.HandleFunc("GET /api/live", p.serveLive)
	p.mux.HandleFunc("GET /api/history", p.serveHistory)
	p.mux.HandleFunc("GET /api/book", p.serveBook)
	return p, nil
}

// ServeHTTP answers GET and HEAD requests for an allowed Host.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if !p.allowed(r.Host) {
		http.Error(w, "this page is not served under that name", http.StatusMisdirectedRequest)
		return
	}
	p.mux.ServeHTTP(w, r)
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

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// allowed reports whether a Host is a loopback address, localhost, or one of the Config's.
func (p *Page) allowed(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if addr, err := netip.ParseAddr(name); err == nil && addr.IsLoopback() {
		return true
	}
	return name == "localhost" || slices.ContainsFunc(p.cfg.Hosts, func(h string) bool { return strings.EqualFold(h, name) })
}
