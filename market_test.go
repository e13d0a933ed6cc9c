package marketprism_test

import (
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

func TestMarketContinuity(t *testing.T) {
	for market, want := range map[marketprism.Market]orderbook.Continuity{
		marketprism.Spot: orderbook.Contiguous, marketprism.USDM: orderbook.Linked, marketprism.COINM: orderbook.Linked,
	} {
		if got := market.Continuity(); got != want {
			t.Errorf("%s: %v", market, got)
		}
	}
}

func TestNames(t *testing.T) {
	i := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.COINM, Symbol: "BTCUSD_PERP"}
	if i.String() != "binance:coinm:BTCUSD_PERP" {
		t.Errorf("instrument %q", i)
	}
	if s := (&marketprism.Trade{}).Side(); s != "buy" {
		t.Errorf("the taker bought, Side is %q", s)
	}
	if s := (&marketprism.Trade{BuyerMaker: true}).Side(); s != "sell" {
		t.Errorf("the taker sold, Side is %q", s)
	}
}
