package binancetest

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/orderbook"
)

// withPrices sets the price and the steps that are not given. They are of the size of the exchange's: a program that rounds to
// two decimals, or multiplies a price by a quantity in an int64, meets BTCUSDT and SHIBUSDT here as it does there.
func withPrices(sym Symbol, market marketprism.Market, seed uint64) Symbol {
	quote, ok := dollars(sym.Quote)
	if !ok {
		quote = 1
	}
	value := sym.Price.Float64() * quote // of the base asset, in dollars
	switch {
	case sym.Price != 0:
	case len(sym.Bids) > 0 || len(sym.Asks) > 0: // a given book is around its best price
		var given book
		given.load(sym.Bids, sym.Asks)
		sym.Price = max(given.at(bid, 0).Price, 0)
		defaults.Set(&sym.Price, given.at(ask, 0).Price)
		value = sym.Price.Float64() * quote
	default:
		if value, ok = dollars(sym.Base); !ok {
			value = seededValue(sym.Name, seed)
		}
	}
	price := value / quote
	defaults.Set(&sym.TickSize, tickOf(price, market))
	if sym.BasePrecision != 0 && sym.BasePrecision < orderbook.FractionDigits {
		defaults.Set(&sym.StepSize, orderbook.One)
	}
	defaults.Set(&sym.StepSize, stepOf(value, market))
	if sym.Price == 0 && sym.TickSize > 0 {
		ticks := math.Round(price * float64(orderbook.One) / float64(sym.TickSize))
		sym.Price = sym.TickSize * orderbook.Fixed(max(ticks, 1))
	}
	return sym
}

// dollars returns about what an asset was worth in 2025, to one or two digits.
func dollars(asset string) (float64, bool) {
	if thousand, ok := strings.CutPrefix(asset, "1000"); ok && thousand != "" { // 1000SHIBUSDT of the futures markets
		value, ok := dollars(thousand)
		return value * 1000, ok
	}
	value, ok := map[string]float64{
		"BTC": 100_000, "ETH": 4000, "BNB": 800, "SOL": 200, "XRP": 2.5, "DOGE": 0.2, "ADA": 0.8, "TRX": 0.3, "AVAX": 30, "LINK": 20,
		"DOT": 4, "LTC": 100, "BCH": 500, "TON": 3, "SUI": 3, "NEAR": 3, "APT": 4, "UNI": 8, "ETC": 20, "ATOM": 4, "XLM": 0.3,
		"SHIB": 0.000012, "PEPE": 0.00001, "FLOKI": 0.00008, "BONK": 0.00002, "BTTC": 0.0000006,
		"USDT": 1, "USDC": 1, "FDUSD": 1, "TUSD": 1, "BUSD": 1, "USD": 1, "EUR": 1.15, "TRY": 0.025,
	}[asset]
	return value, ok
}

// seededValue draws the value of an asset that dollars does not know, from 0.01 to 1000 with every size as likely.
func seededValue(name string, seed uint64) float64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return math.Pow(10, -2+5*rand.New(rand.NewPCG(seed^priceSeed, h.Sum64())).Float64())
}

// priceSeed keeps the draw of a price apart from those of the walk.
const priceSeed = 0x9e3779b97f4a7c15

// magnitude returns the power of ten below a number above 0: 2 for 250.
func magnitude(v float64) int { return int(math.Floor(math.Log10(v))) }

func powerOfTen(exponent int) orderbook.Fixed {
	return orderbook.Fixed(math.Round(float64(orderbook.One) * math.Pow(10, float64(exponent))))
}

// tickOf returns the price step for a price: four digits below its first one, and at most 0.01, as PRICE_FILTER of spot has it
// for BTCUSDT (0.01), SOLUSDT (0.01), XRPUSDT (0.0001), DOGEUSDT (0.00001), SHIBUSDT (0.00000001); 0.1 for BTCUSDT on futures.
func tickOf(price float64, market marketprism.Market) orderbook.Fixed {
	if price <= 0 {
		return powerOfTen(-2)
	}
	exponent := max(min(magnitude(price)-4, -2), -orderbook.FractionDigits)
	if market != marketprism.Spot {
		exponent = max(exponent, magnitude(price)-6)
	}
	return powerOfTen(exponent)
}

// stepOf returns the quantity step of an asset of a value: worth 0.1 to 1 dollars between 0.00001 and 1, as LOT_SIZE of
// spot has it for BTCUSDT (0.00001), ETHUSDT (0.0001), SOLUSDT (0.001), XRPUSDT (0.1), DOGEUSDT (1); at least 0.001 on futures. COIN-M counts
// contracts.
func stepOf(value float64, market marketprism.Market) orderbook.Fixed {
	least := -5
	if market != marketprism.Spot {
		least = -3
	}
	switch {
	case market == marketprism.COINM:
		return orderbook.One
	case value <= 0:
		return powerOfTen(-3)
	}
	return powerOfTen(max(min(-magnitude(value)-1, 0), least))
}

// meanLots is the mean of the quantities of the random walk, in steps: 2000, or what is worth 200 to 10,000 dollars. A step of
// COIN-M is a contract.
func meanLots(sym *Symbol, market marketprism.Market) float64 {
	const steps = 2000
	quote, ok := dollars(sym.Quote)
	if !ok {
		quote = 1
	}
	step := sym.Price.Float64() * quote * sym.StepSize.Float64()
	if market == marketprism.COINM {
		return steps
	}
	return max(min(steps, 10_000/step), 200/step)
}
