package binancetest

import (
	"encoding/json"
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
	body, _ := json.Marshal(info) // plain fields always marshal
	return ok(body)
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
		BasePrecision: orderbook.FractionDigits, QuotePrecision: orderbook.FractionDigits,
		OrderTypes: []string{"LIMIT", "MARKET"},
		Filters: []any{
			priceFilter{"PRICE_FILTER", price(sym.TickSize), price(1_000_000 * orderbook.One), price(sym.TickSize)},
			lotSize{"LOT_SIZE", quantity(sym.StepSize), quantity(9_000_000 * orderbook.One), quantity(sym.StepSize)},
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
