package binance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/marketprism/marketprism"
)

// A Config says which exchange a Client talks to and how. The zero value is the spot market of the
// real exchange.
type Config struct {
	Market    marketprism.Market // "" means Spot
	Endpoints Endpoints          // zero fields mean the Market's production hosts

	// HTTPClient makes the REST requests. Nil means one with a timeout of 15 s whose transport dials
	// with DialContext.
	HTTPClient *http.Client

	// DialContext opens the connections: those of the websockets and, where HTTPClient is nil, those
	// of REST. Nil means net.Dialer, through the proxy that the environment names.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// Budget is what the Client may ask of the exchange, to be shared by all Clients of spot, or of the
	// futures markets, in the process. Nil means one of the Client's own, from a zero BudgetConfig.
	Budget *Budget

	// Recorder writes what the Client receives to files. Nil means none, and costs nothing.
	Recorder *Recorder

	// Microseconds asks for the times of websocket events in microseconds, which spot alone has. Times
	// that REST gives, among them those of trades fetched after a hole, stay in milliseconds.
	Microseconds bool

	// SBE takes spot's binary streams in place of those in JSON: diffs every 20 ms in place of 100, times in
	// microseconds, a fraction of the bytes and of the work. They have no aggregate trades, and ask for an APIKey.
	// A Recorder cannot write them.
	SBE bool
	// APIKey is a key of the exchange: for SBE, which wants one of the kind Ed25519, and for raw trades that were
	// missed on the futures markets, which no other request gives. It needs no permission, and nothing is signed.
	APIKey string

	Hooks *Hooks // nil means none
}

// checkSBE says why a Client cannot use the binary streams.
func (cfg *Config) checkSBE() error {
	switch {
	case cfg.Market != "" && cfg.Market != marketprism.Spot:
		return fmt.Errorf("binance: Config.SBE: %s has JSON only", cfg.Market)
	case cfg.APIKey == "":
		return errors.New("binance: Config.SBE without an APIKey")
	case cfg.Recorder != nil:
		return errors.New("binance: Config.SBE with a Recorder, which writes JSON")
	}
	return nil
}

const requestTimeout = 15 * time.Second

// httpClient returns the client for REST; owned says that nobody else has it.
func (cfg *Config) httpClient() (client *http.Client, owned bool) {
	if cfg.HTTPClient != nil {
		return cfg.HTTPClient, false
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: requestTimeout}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   requestTimeout,
		ExpectContinueTimeout: time.Second,
	}
	if cfg.DialContext != nil {
		transport.Proxy, transport.DialContext = nil, cfg.DialContext
	}
	return &http.Client{Transport: transport, Timeout: requestTimeout}, true
}
