package binancetest

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

type exchangeInfo struct {
	Timezone        string            `json:"timezone"`
	ServerTime      int64             `json:"serverTime"`
	RateLimits      []rateLimit       `json:"rateLimits"`
	ExchangeFilters []json.RawMessage `json:"exchangeFilters"`
	Symbols         []symbolInfo      `json:"symbols"`
}

type rateLimit struct {
	Type        string `json:"rateLimitType"`
	Interval    string `json:"interval"`
	IntervalNum int    `json:"intervalNum"`
	Limit       int    `json:"limit"`
}

// A symbolInfo has the fields of all markets; those of other markets are empty and omitted.
type symbolInfo struct {
	Symbol            string     `json:"symbol"`
	Pair              string     `json:"pair,omitempty"`
	ContractType      string     `json:"contractType,omitempty"`
	Status            string     `json:"status,omitempty"`
	ContractStatus    string     `json:"contractStatus,omitempty"` // the status on COIN-M
	ContractSize      int        `json:"contractSize,omitempty"`
	BaseAsset         string     `json:"baseAsset"`
	QuoteAsset        string     `json:"quoteAsset"`
	MarginAsset       string     `json:"marginAsset,omitempty"`
	PricePrecision    *int       `json:"pricePrecision,omitempty"`
	QuantityPrecision *int       `json:"quantityPrecision,omitempty"`
	BasePrecision     int        `json:"baseAssetPrecision"`
	QuotePrecision    int        `json:"quotePrecision"`
	OrderTypes        []string   `json:"orderTypes"`
	SpotAllowed       *bool      `json:"isSpotTradingAllowed,omitempty"`
	PermissionSets    [][]string `json:"permissionSets,omitempty"`
	Filters           []any      `json:"filters"`
}

type priceFilter struct {
	Type     string `json:"filterType"`
	MinPrice string `json:"minPrice"`
	MaxPrice string `json:"maxPrice"`
	TickSize string `json:"tickSize"`
}

type lotSize struct {
	Type     string `json:"filterType"`
	MinQty   string `json:"minQty"`
	MaxQty   string `json:"maxQty"`
	StepSize string `json:"stepSize"`
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
		RateLimits: api.rateLimits(), ExchangeFilters: []json.RawMessage{}, Symbols: []symbolInfo{},
	}
	for _, sym := range symbols {
		if status == "" || sym.Status == status {
			info.Symbols = append(info.Symbols, api.symbolInfo(sym))
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

func (api restAPI) symbolInfo(sym *symbolState) symbolInfo {
	price := func(f orderbook.Fixed) string { return string(appendNumber(nil, f, sym.format.price)) }
	quantity := func(f orderbook.Fixed) string { return string(appendNumber(nil, f, sym.format.quantity)) }
	info := symbolInfo{
		Symbol: sym.Name, Status: sym.Status, BaseAsset: sym.Base, QuoteAsset: sym.Quote,
		BasePrecision: sym.BasePrecision, QuotePrecision: orderbook.FractionDigits,
		OrderTypes: []string{"LIMIT", "MARKET"},
		Filters: []any{
			priceFilter{"PRICE_FILTER", price(sym.TickSize), price(1_000_000 * orderbook.One), price(sym.TickSize)},
			lotSize{"LOT_SIZE", quantity(sym.StepSize), quantity(sym.maxOrder()), quantity(sym.StepSize)},
		},
	}
	if api.cfg.Market == marketprism.Spot {
		allowed := true
		info.SpotAllowed, info.PermissionSets = &allowed, [][]string{{"SPOT"}}
		return info
	}
	info.Pair, info.ContractType, info.MarginAsset = sym.Base+sym.Quote, "PERPETUAL", sym.Quote
	info.PricePrecision, info.QuantityPrecision = &sym.format.price, &sym.format.quantity
	if api.cfg.Market == marketprism.COINM {
		info.Status, info.ContractStatus, info.ContractSize, info.MarginAsset = "", sym.Status, contractSize, sym.Base
	}
	return info
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
