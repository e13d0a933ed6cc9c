package binancetest_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// The price and the steps of each symbol have the size of the exchange's own. The witnesses of the steps are answers to exchangeInfo,
// of spot in 2023 and USDⓈ-M in 2021 (which had 0.01 for BTCUSDT, and 0.10 since: melight402/trading-back, binancePrecision.js);
// prices are about those of 2025.
func TestPricesAreRealistic(t *testing.T) {
	for _, test := range []struct {
		market            marketprism.Market
		symbol            string
		price, tick, step string
	}{
		{marketprism.Spot, "BTCUSDT", "100000", "0.01", "0.00001"},
		{marketprism.Spot, "ETHUSDT", "4000", "0.01", "0.0001"},
		{marketprism.Spot, "SOLUSDC", "200", "0.01", "0.001"},
		{marketprism.Spot, "XRPUSDT", "2.5", "0.0001", "0.1"},
		{marketprism.Spot, "DOGEUSDT", "0.2", "0.00001", "1"},
		{marketprism.Spot, "SHIBUSDT", "0.000012", "0.00000001", "1"},
		{marketprism.Spot, "BTTCUSDT", "0.0000006", "0.00000001", "1"},
		{marketprism.Spot, "ETHBTC", "0.04", "0.000001", "0.0001"},
		{marketprism.USDM, "BTCUSDT", "100000", "0.1", "0.001"},
		{marketprism.USDM, "ETHUSDT", "4000", "0.01", "0.001"},
		{marketprism.USDM, "1000SHIBUSDT", "0.012", "0.000001", "1"},
		{marketprism.COINM, "BTCUSD_PERP", "100000", "0.1", "1"},
	} {
		srv, err := binancetest.New(binancetest.Config{Market: test.market, Symbols: binancetest.Symbols(test.symbol), Tick: -1})
		must(t, err)
		tick, step, price := orderbook.MustParse(test.tick), orderbook.MustParse(test.step), orderbook.MustParse(test.price)
		name := fmt.Sprint(test.market, " ", test.symbol)
		if gotTick, gotStep := listedSteps(t, srv, test.market); gotTick != tick || gotStep != step {
			t.Errorf("%s: steps %s and %s; want %s and %s", name, gotTick, gotStep, tick, step)
		}
		for range 50 {
			must(t, srv.Walk())
			srv.Tick()
		}
		book, err := srv.Book(test.symbol)
		must(t, err)
		if len(book.Bids) < 20 || len(book.Asks) < 20 {
			t.Fatalf("%s: %d bids, %d asks", name, len(book.Bids), len(book.Asks))
		}
		if b, a := book.Bids[0].Price, book.Asks[0].Price; b >= a || b < price*8/10 || a > price/10*12+tick {
			t.Errorf("%s: %s to %s; want about %s", name, b, a, price)
		}
		var dollars, n float64
		for _, l := range append(book.Bids, book.Asks...) {
			if l.Price%tick != 0 || l.Quantity%step != 0 {
				t.Errorf("%s: %v is not on the steps", name, l)
			}
			dollars, n = dollars+l.Price.Float64()*l.Quantity.Float64(), n+1
		}
		if test.symbol != "ETHBTC" && test.market != marketprism.COINM && (dollars/n < 50 || dollars/n > 20_000) {
			t.Errorf("%s: a level is worth %.2f dollars", name, dollars/n)
		}
		must(t, srv.Close())
	}
}

// An unknown asset has a price of its own in each run with the seed, and a price that is given wins, with steps that suit it.
func TestPricesOfUnknownAndGiven(t *testing.T) {
	top := func(seed uint64, sym binancetest.Symbol) orderbook.Fixed {
		srv, err := binancetest.New(binancetest.Config{Seed: seed, Symbols: []binancetest.Symbol{sym}, Tick: -1})
		must(t, err)
		defer srv.Close()
		book, err := srv.Book(sym.Name)
		must(t, err)
		return book.Asks[0].Price
	}
	unknown := binancetest.Symbol{Name: "NEWCOINUSDT"}
	first := top(1, unknown)
	if again := top(1, unknown); again != first {
		t.Errorf("one seed gives %s and %s", first, again)
	}
	if other := top(2, unknown); other == first {
		t.Errorf("two seeds give %s", other)
	}
	for seed := range uint64(50) {
		if p := top(seed, unknown).Float64(); p < 0.0099 || p > 1010 {
			t.Errorf("seed %d gives %v", seed, p)
		}
	}
	if got := top(1, binancetest.Symbol{Name: "BTCUSDT", Price: 100 * orderbook.One}); math.Abs(got.Float64()-100) > 0.05 {
		t.Errorf("a given price gives %s", got)
	}
	given := []orderbook.Level{{Price: 7 * orderbook.One, Quantity: orderbook.One}}
	if got := top(1, binancetest.Symbol{Name: "BTCUSDT", Asks: given}); got != given[0].Price {
		t.Errorf("a given book gives %s", got)
	}
}

// listedSteps returns the steps of the first symbol in the exchange's listing.
func listedSteps(t *testing.T, srv *binancetest.Server, market marketprism.Market) (tick, step orderbook.Fixed) {
	t.Helper()
	prefix := map[marketprism.Market]string{marketprism.Spot: "/api/v3", marketprism.USDM: "/fapi/v1", marketprism.COINM: "/dapi/v1"}[market]
	info := decodeLoosely[struct {
		Symbols []struct {
			Filters []struct{ FilterType, TickSize, StepSize string }
		}
	}](t, get(t, srv, prefix+"/exchangeInfo").body)
	for _, f := range info.Symbols[0].Filters {
		switch f.FilterType {
		case "PRICE_FILTER":
			tick = orderbook.MustParse(f.TickSize)
		case "LOT_SIZE":
			step = orderbook.MustParse(f.StepSize)
		}
	}
	return tick, step
}
