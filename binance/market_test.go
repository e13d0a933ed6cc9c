package binance_test

import (
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
)

// The hosts are listed again here, from the exchange's pages "General Information".
func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		name         string
		have         binance.Endpoints
		rest, stream string
		sbe          string
	}{
		{"spot", binance.Production(marketprism.Spot), "https://api.binance.com", "wss://stream.binance.com:9443", "wss://stream-sbe.binance.com:9443"},
		{"usdm", binance.Production(marketprism.USDM), "https://fapi.binance.com", "wss://fstream.binance.com", ""},
		{"coinm", binance.Production(marketprism.COINM), "https://dapi.binance.com", "wss://dstream.binance.com", ""},
		{"market data only", binance.MarketDataOnly(), "https://data-api.binance.vision", "wss://data-stream.binance.vision", ""},
		{"testnet spot", binance.Testnet(marketprism.Spot), "https://testnet.binance.vision", "wss://stream.testnet.binance.vision", "wss://stream-sbe.testnet.binance.vision"},
		{"testnet usdm", binance.Testnet(marketprism.USDM), "https://testnet.binancefuture.com", "wss://fstream.binancefuture.com", ""},
		{"testnet coinm", binance.Testnet(marketprism.COINM), "https://testnet.binancefuture.com", "wss://dstream.binancefuture.com", ""},
		{"demo spot", binance.Demo(marketprism.Spot), "https://demo-api.binance.com", "wss://demo-stream.binance.com", "wss://demo-stream-sbe.binance.com"},
		{"demo usdm", binance.Demo(marketprism.USDM), "https://demo-fapi.binance.com", "wss://demo-fstream.binance.com", ""},
		{"demo coinm", binance.Demo(marketprism.COINM), "https://demo-dapi.binance.com", "wss://demo-dstream.binance.com", ""},
	} {
		if want := (binance.Endpoints{REST: c.rest, Stream: c.stream, SBE: c.sbe}); c.have != want {
			t.Errorf("%s: %+v, want %+v", c.name, c.have, want)
		}
	}
}
