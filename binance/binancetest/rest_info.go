package binancetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

type exchangeInfo struct {
	Timezone        string            `json:"timezone"`
	ServerTime      int64             `json:"serverTime"`
	RateLimits      []rateLimit       `json:"rateLimits"`
	ExchangeFilters []json.RawMessage `json:"exchangeFilters"`
	Symbols         []object          `json:"symbols"`
}

type rateLimit struct {
	Type        string `json:"rateLimitType"`
	Interval    string `json:"interval"`
	IntervalNum int    `json:"intervalNum"`
	Limit       int    `json:"limit"`
}

// An object is a JSON object whose members have the exchange's order, which differs between the markets.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, jsonString(m.key)...), ':'), value...)
	}
	return append(b, '}'), nil
}

// exchangeInfo serves the listed or the requested symbols.
func (api restAPI) exchangeInfo(query url.Values) *answer {
	symbols, rejected := api.wanted(query)
	if rejected != nil {
		return rejected
	}
	status, rejected := statusParam(query)
	switch {
	case rejected != nil:
		return rejected
	case status != "" && (query.Has("symbol") || query.Has("symbols")):
		return badRequest(-1128, "Combination of optional parameters invalid.")
	}
	info := exchangeInfo{
		Timezone: "UTC", ServerTime: api.now().UnixMilli(),
		RateLimits: api.rateLimits(), ExchangeFilters: []json.RawMessage{}, Symbols: []object{},
	}
	for _, sym := range symbols {
		if status == "" || sym.Status == status {
			info.Symbols = append(info.Symbols, api.listing(sym))
		}
	}
	if !query.Has("symbol") && !query.Has("symbols") {
		for _, name := range api.faults.names {
			info.Symbols = append(info.Symbols, object{{"symbol", name}, {"status", defaultStatus}, {"contractStatus", defaultStatus}})
		}
	}
	return api.faults.listing.answer(&info)
}

// rateLimits returns the limits of the market. The fake enforces only the weight.
func (api restAPI) rateLimits() []rateLimit {
	weight := rateLimit{Type: "REQUEST_WEIGHT", Interval: "MINUTE", IntervalNum: 1, Limit: api.weight.stated}
	if api.cfg.Market == marketprism.Spot {
		return []rateLimit{weight, {"ORDERS", "SECOND", 10, 100}, {"ORDERS", "DAY", 1, 200_000}, {"RAW_REQUESTS", "MINUTE", 5, 300_000}}
	}
	return []rateLimit{weight, {"ORDERS", "MINUTE", 1, 1200}, {"ORDERS", "SECOND", 10, 300}}
}

// wanted returns the symbols that a request names, or all if it names none.
func (api restAPI) wanted(query url.Values) ([]*symbolState, *answer) {
	var names []string
	switch {
	case query.Has("symbol") && query.Has("symbols"):
		return nil, badRequest(-1128, "Combination of optional parameters invalid.")
	case query.Has("symbol"):
		names = []string{query.Get("symbol")}
	case query.Has("symbols"):
		if json.Unmarshal([]byte(query.Get("symbols")), &names) != nil {
			return nil, badRequest(-1100, "Illegal characters found in parameter 'symbols'.")
		}
	default:
		return api.symbols, nil
	}
	var found []*symbolState
	seen := make(map[string]bool)
	for _, name := range names {
		sym := api.byName[name]
		switch {
		case sym == nil:
			return nil, badRequest(-1121, "Invalid symbol.")
		case seen[name]:
			return nil, badRequest(-1151, "Symbol is present multiple times in the list.")
		}
		seen[name] = true
		found = append(found, sym)
	}
	return found, nil
}

// listing returns the row of a symbol, with the members in the order of real answers: of spot in 2023 (their
// quantities have the decimals of the base asset, as in "92233720368.0" of BTTC), of USDⓈ-M in 2021, whose numbers
// have no more decimals than they need, and of COIN-M in 2025.
func (api restAPI) listing(sym *symbolState) object {
	const maxPrice = 1_000_000 * orderbook.One
	if api.cfg.Market == marketprism.Spot {
		price := func(f orderbook.Fixed) string { return string(appendNumber(nil, f, sym.format.price)) }
		quantity := func(f orderbook.Fixed) string { return string(appendNumber(nil, f, sym.format.quantity)) }
		lot := func(filter string, least, most, step orderbook.Fixed) object {
			return object{{"filterType", filter}, {"minQty", quantity(least)}, {"maxQty", quantity(most)}, {"stepSize", quantity(step)}}
		}
		return object{
			{"symbol", sym.Name}, {"status", sym.Status},
			{"baseAsset", sym.Base}, {"baseAssetPrecision", sym.BasePrecision},
			{"quoteAsset", sym.Quote}, {"quotePrecision", orderbook.FractionDigits}, {"quoteAssetPrecision", orderbook.FractionDigits},
			{"orderTypes", []string{"LIMIT", "MARKET"}}, {"isSpotTradingAllowed", true},
			{"filters", []object{
				{{"filterType", "PRICE_FILTER"}, {"minPrice", price(sym.TickSize)}, {"maxPrice", price(maxPrice)}, {"tickSize", price(sym.TickSize)}},
				lot("LOT_SIZE", sym.StepSize, sym.maxOrder(), sym.StepSize),
				lot("MARKET_LOT_SIZE", 0, sym.maxOrder(), 0), // no step, which is not that of LOT_SIZE
			}},
			{"permissions", []string{}}, {"permissionSets", [][]string{{"SPOT"}}},
		}
	}
	lot := func(filter string) object {
		return object{{"stepSize", sym.StepSize.String()}, {"filterType", filter}, {"maxQty", sym.maxOrder().String()}, {"minQty", sym.StepSize.String()}}
	}
	row := object{{"symbol", sym.Name}, {"pair", sym.Base + sym.Quote}, {"contractType", "PERPETUAL"}}
	if api.cfg.Market == marketprism.COINM {
		row = append(row, object{
			{"contractStatus", sym.Status}, {"contractSize", contractSize}, {"marginAsset", sym.Base}, {"baseAsset", sym.Base}, {"quoteAsset", sym.Quote},
		}...)
	} else {
		row = append(row, object{{"status", sym.Status}, {"baseAsset", sym.Base}, {"quoteAsset", sym.Quote}, {"marginAsset", sym.Quote}}...)
	}
	return append(row, object{
		{"pricePrecision", sym.format.price}, {"quantityPrecision", sym.format.quantity},
		{"baseAssetPrecision", sym.BasePrecision}, {"quotePrecision", orderbook.FractionDigits},
		{"filters", []object{
			{{"minPrice", sym.TickSize.String()}, {"maxPrice", orderbook.Fixed(maxPrice).String()}, {"filterType", "PRICE_FILTER"}, {"tickSize", sym.TickSize.String()}},
			lot("LOT_SIZE"), lot("MARKET_LOT_SIZE"),
		}},
		{"orderTypes", []string{"LIMIT", "MARKET"}},
	}...)
}

// A listingFault is an answer with status 200 that is no listing, or a wrong one.
type listingFault struct {
	name   string
	answer func(*exchangeInfo) *answer
}

// listingFaults returns the faults of exchangeInfo. Reported are answers that are no JSON (sammchardy/python-binance
// issue 30, after a maintenance) and empty ones with status 200 (ccxt issue 4162). The others are unproved.
func listingFaults() []listingFault {
	text := func(name, body string) listingFault {
		return listingFault{name, func(*exchangeInfo) *answer { return ok([]byte(body)) }}
	}
	rows := func(name string, change func(rows []map[string]any) []any) listingFault {
		return listingFault{name, func(info *exchangeInfo) *answer {
			all := info.generic()
			var symbols []map[string]any
			for _, row := range all["symbols"].([]any) {
				symbols = append(symbols, row.(map[string]any))
			}
			all["symbols"] = change(symbols)
			return okJSON(all)
		}}
	}
	return []listingFault{
		text("object", `{}`),
		text("null", `null`),
		text("error", `{"code":-1000,"msg":"An unknown error occurred while processing the request."}`),
		{"page", func(*exchangeInfo) *answer {
			return &answer{status: http.StatusOK, html: true, foreign: true, body: []byte("<!DOCTYPE html>\r\n<html><head><title>Sign in</title></head></html>\r\n")}
		}},
		{"torn", func(info *exchangeInfo) *answer {
			a := okJSON(info)
			a.body = a.body[:len(a.body)*2/3]
			return a
		}},
		rows("empty", func([]map[string]any) []any { return []any{} }),
		rows("half", func(symbols []map[string]any) (half []any) {
			for i := 1; i < len(symbols); i += 2 {
				half = append(half, symbols[i])
			}
			return half
		}),
		rows("broken rows", func(symbols []map[string]any) []any {
			all := []any{nil, 5, "BTCUSDT", []any{}, map[string]any{}, map[string]any{"symbol": 7, "status": "TRADING"}}
			for _, row := range symbols {
				all = append(all, row)
			}
			return all
		}),
		rows("statuses", func(symbols []map[string]any) (all []any) {
			for _, row := range symbols {
				row["status"], row["contractStatus"] = 1, nil
				all = append(all, row)
			}
			return all
		}),
		rows("contradiction", func(symbols []map[string]any) (all []any) {
			for _, row := range symbols {
				other := maps.Clone(row)
				other["status"], other["contractStatus"] = "BREAK", "BREAK"
				all = append(all, row, other)
			}
			return all
		}),
		{"types", func(info *exchangeInfo) *answer {
			all := info.generic()
			all["timezone"], all["serverTime"], all["rateLimits"] = 0, "soon", map[string]any{"REQUEST_WEIGHT": 1}
			for _, row := range all["symbols"].([]any) {
				symbol := row.(map[string]any)
				symbol["baseAssetPrecision"], symbol["orderTypes"] = "8", nil
				symbol["filters"] = append(symbol["filters"].([]any), map[string]any{"filterType": 7, "tickSize": 0.1, "stepSize": []any{}}, 5)
			}
			return okJSON(all)
		}},
	}
}

// generic returns the answer as encoding/json reads it.
func (info *exchangeInfo) generic() (all map[string]any) {
	_ = json.Unmarshal(okJSON(info).body, &all) // it was just written
	return all
}

func okJSON(v any) *answer {
	body, _ := json.Marshal(v) // plain fields always marshal
	return ok(body)
}

// pendingListings are the answers to exchangeInfo that a fault changes.
type pendingListings struct {
	n     int
	fault listingFault
	short bool // the last answer lacked symbols
}

func (p *pendingListings) answer(info *exchangeInfo) *answer {
	p.short = p.n > 0 && p.fault.name == "half"
	if p.n <= 0 {
		return okJSON(info)
	}
	p.n--
	return p.fault.answer(info)
}

// HostileNames returns fifty names for Server.ListNames that would harm what takes them for symbols: the first
// forty can be the name of none, by the rule that Binance's API states, and the others are symbols that do not exist.
func HostileNames() []string {
	names := []string{
		"", " ", ".\t", "\n", "A\r\nB", "\r\nNats-Msg-Id: x", "A\x00B", "\x1b[31mRED\x1b[0m", "\x7f", "\u0085", "\u2028", "\u202eTDSUCTB", "A\u200bB", "\ufeff",
		" T0000USDT", "T0000USDT ", "T0000 USDT", "T0000/USDT", "T0000:USDT", "T0000@depth", "t0000usdt", "T0000usdt", "T0000USDT?limit=5000",
		"T0000USDT&symbol=T0001USDT", "*", ">", "md.>", "$JS.API.>", "=", "%s%n", "'; DROP TABLE depth; --", "`id`", "$(id)", "<script>alert(1)</script>",
		"../../etc/passwd", `C:\con`, `"}],"x":[{"`, "😀USDT",
		strings.Repeat("A", 51), strings.Repeat("LONG", 1250),
	}
	for i := range 8 {
		names = append(names, fmt.Sprintf("NOSUCH%dUSDT", i))
	}
	return append(names, "..", strings.Repeat("Z", 50))
}
