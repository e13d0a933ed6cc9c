package pipeline

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/examples/marketprism/config"
)

// A source is an exchange to collect from.
type source struct {
	config  binance.Config
	symbols []string        // nil means every symbol that trades
	done    <-chan struct{} // closed at the end of the data; nil for an endless source
	err     func() error    // the error of the source, once done is closed
	close   func() error
}

// openSource opens the configured source. A simulated exchange runs until ctx ends.
func openSource(ctx context.Context, cfg config.Config) (*source, error) {
	symbols := cfg.Symbols
	if cfg.AllTrading {
		symbols = nil
	}
	switch {
	case cfg.Source == config.Live || cfg.RESTURL != "":
		exchange, err := liveExchange(cfg.Exchange)
		if err != nil {
			return nil, err
		}
		return &source{config: exchange, symbols: symbols, close: func() error { return nil }}, nil
	case cfg.Source == config.Sim:
		exchange, err := Simulate(cfg)
		if err != nil {
			return nil, err
		}
		go exchange.Run(ctx) // ends with ctx or when the exchange is closed
		return fakeSource(exchange, symbols), nil
	case cfg.Source == config.Recording:
		exchange, err := binancetest.New(binancetest.Config{Market: marketprism.Market(cfg.Market), Playback: &binancetest.Playback{
			Path: cfg.Recording, Speed: cfg.Speed, WaitFor: []string{"depth", "trade", "aggTrade", "bookTicker"},
		}})
		if err != nil {
			return nil, err
		}
		s := fakeSource(exchange, exchange.Listed())
		s.done, s.err = exchange.Played(), exchange.PlaybackErr
		return s, nil
	}
	return nil, fmt.Errorf("unknown source %q", cfg.Source)
}

// liveExchange returns the configuration of a client of the real exchange.
func liveExchange(cfg config.Exchange) (binance.Config, error) {
	c := binance.Config{Endpoints: binance.Endpoints{REST: cfg.RESTURL, Stream: cfg.StreamURL}}
	if cfg.Proxy != "" {
		proxy, err := url.Parse(cfg.Proxy)
		if err != nil {
			return c, errors.New("proxy is not a URL") // it may contain a password
		}
		c.Proxy = http.ProxyURL(proxy)
	}
	if cfg.CAFile != "" {
		text, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return c, fmt.Errorf("ca-file: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			return c, fmt.Errorf("ca-file: the system's authorities: %w", err)
		}
		if !roots.AppendCertsFromPEM(text) {
			return c, fmt.Errorf("ca-file: %s has no certificate in PEM", cfg.CAFile)
		}
		c.TLS = &tls.Config{RootCAs: roots}
	}
	return c, nil
}

// Simulate returns a simulated exchange with the symbols of cfg. Its Run changes the books. Their ids begin at the time in
// microseconds, so that they do not go back from one run to the next, which may have the same archive.
func Simulate(cfg config.Config) (*binancetest.Server, error) {
	listed := binancetest.Symbols(cfg.Symbols...)
	for i := range listed {
		listed[i].LastID = time.Now().UnixMicro()
		listed[i].TradeID = listed[i].LastID
		if cfg.SimRate > 0 {
			listed[i].Rate = cfg.SimRate
		}
	}
	return binancetest.New(binancetest.Config{Market: marketprism.Market(cfg.Market), Symbols: listed, Seed: 1})
}

func fakeSource(exchange *binancetest.Server, symbols []string) *source {
	return &source{
		config: binance.Config{
			Endpoints:   binance.Endpoints{REST: exchange.RESTURL(), Stream: exchange.StreamURL()},
			DialContext: exchange.DialContext,
		},
		symbols: symbols,
		close:   exchange.Close,
	}
}

// Follow maintains books from the configured source until ctx ends, so that recorder writes its traffic.
func Follow(ctx context.Context, cfg config.Config, recorder *binance.Recorder) error {
	source, err := openSource(ctx, cfg)
	if err != nil {
		return err
	}
	source.config.Market = marketprism.Market(cfg.Market)
	source.config.Recorder = recorder
	client, err := binance.NewClient(source.config)
	if err != nil {
		return errors.Join(err, source.close())
	}
	defer client.CloseIdleConnections()
	depth := binance.DepthConfig{Symbols: source.symbols, Trades: true, AggTrades: true, Tickers: true}
	if source.symbols == nil {
		depth.AllTrading = &binance.SymbolFilter{}
	}
	books, err := binance.NewDepthSyncer(client, depth)
	if err == nil {
		err = books.Run(ctx)
	}
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, source.close())
}
