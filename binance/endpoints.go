package binance

import (
	"fmt"
	"net/url"

	"github.com/marketprism/marketprism"
)

// Endpoints are the hosts of one environment, without a path and without a slash at the end.
type Endpoints struct {
	REST   string // "https://api.binance.com"
	Stream string // "wss://stream.binance.com:9443"
	SBE    string // "wss://stream-sbe.binance.com:9443", for Config.SBE; "" where there is none
}

// Production returns the hosts of the real exchange. An unknown market gives the zero value.
func Production(m marketprism.Market) Endpoints {
	switch m {
	case marketprism.Spot:
		return Endpoints{REST: "https://api.binance.com", Stream: "wss://stream.binance.com:9443", SBE: "wss://stream-sbe.binance.com:9443"}
	case marketprism.USDM:
		return Endpoints{REST: "https://fapi.binance.com", Stream: "wss://fstream.binance.com"}
	case marketprism.COINM:
		return Endpoints{REST: "https://dapi.binance.com", Stream: "wss://dstream.binance.com"}
	}
	return Endpoints{}
}

// MarketDataOnly returns the spot hosts that serve public market data and nothing else.
func MarketDataOnly() Endpoints {
	return Endpoints{REST: "https://data-api.binance.vision", Stream: "wss://data-stream.binance.vision"}
}

// Testnet returns the hosts of the test network. Its data is wiped about once a month, after which
// update and trade ids begin anew. An unknown market gives the zero value.
func Testnet(m marketprism.Market) Endpoints {
	switch m {
	case marketprism.Spot:
		return Endpoints{REST: "https://testnet.binance.vision", Stream: "wss://stream.testnet.binance.vision", SBE: "wss://stream-sbe.testnet.binance.vision"}
	case marketprism.USDM:
		return Endpoints{REST: "https://testnet.binancefuture.com", Stream: "wss://fstream.binancefuture.com"}
	case marketprism.COINM:
		return Endpoints{REST: "https://testnet.binancefuture.com", Stream: "wss://dstream.binancefuture.com"}
	}
	return Endpoints{}
}

// Demo returns the hosts of the demo mode, which trades play money on live prices. An unknown market
// gives the zero value.
func Demo(m marketprism.Market) Endpoints {
	switch m {
	case marketprism.Spot:
		return Endpoints{REST: "https://demo-api.binance.com", Stream: "wss://demo-stream.binance.com", SBE: "wss://demo-stream-sbe.binance.com"}
	case marketprism.USDM:
		return Endpoints{REST: "https://demo-fapi.binance.com", Stream: "wss://demo-fstream.binance.com"}
	case marketprism.COINM:
		return Endpoints{REST: "https://demo-dapi.binance.com", Stream: "wss://demo-dstream.binance.com"}
	}
	return Endpoints{}
}

// withDefaults fills in the production hosts and checks what is set.
func (e Endpoints) withDefaults(m marketprism.Market) (Endpoints, error) {
	production := Production(m)
	if e.REST == "" {
		e.REST = production.REST
	}
	if e.Stream == "" {
		e.Stream = production.Stream
	}
	if e.SBE == "" {
		e.SBE = production.SBE
	}
	if e.SBE != "" {
		if err := checkHost("SBE", e.SBE, "ws", "wss"); err != nil {
			return e, err
		}
	}
	if err := checkHost("REST", e.REST, "http", "https"); err != nil {
		return e, err
	}
	return e, checkHost("Stream", e.Stream, "ws", "wss")
}

func checkHost(field, text, plain, secure string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("binance: Endpoints.%s: %w", field, err)
	}
	if (u.Scheme != plain && u.Scheme != secure) || u.Host == "" || u.Path != "" || u.RawQuery != "" {
		return fmt.Errorf("binance: Endpoints.%s %q: want %s://HOST without a path", field, text, secure)
	}
	return nil
}
