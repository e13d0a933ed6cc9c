package binance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/marketprism/marketprism/orderbook"
)

// maxInfoBody bounds exchangeInfo, which is a few MB for all symbols of a market.
const maxInfoBody = 64 << 20

// An ExchangeInfo describes the exchange: its limits and symbols.
type ExchangeInfo struct {
	ServerTime time.Time // exchange clock; zero where the exchange sends none
	RateLimits []RateLimit
	Symbols    []SymbolInfo // at least one before those that were not asked for are left out; none twice
	Unread     int          // rows whose symbol or status cannot be read, or which contradict another row of their symbol

	// Invalid are the first eight names that no symbol can have, cut to 50 characters. Their rows are left out, and counted
	// in Unread.
	Invalid []string
}

// A RateLimit is one of the exchange's limits.
type RateLimit struct {
	Type     string        // "REQUEST_WEIGHT", "RAW_REQUESTS", "ORDERS", or another in the future
	Interval time.Duration // 0 if the exchange sends an unknown unit
	Limit    int
}

// A SymbolInfo describes one instrument.
type SymbolInfo struct {
	Symbol       string
	Pair         string // futures: the pair a contract belongs to
	ContractType string // futures: "PERPETUAL", "CURRENT_QUARTER", …
	Status       string // "TRADING", "BREAK", "HALT", …, or another in the future; "" if it cannot be read

	BaseAsset, QuoteAsset string

	// TickSize and StepSize are the steps of price and quantity for new orders; 0 means none, or one
	// that does not fit a Fixed. Levels of a book may lie off these steps, which change over time.
	TickSize, StepSize orderbook.Fixed
}

const statusTrading = "TRADING"

// Trading reports whether orders are matched.
func (s *SymbolInfo) Trading() bool { return s.Status == statusTrading }

// Lookup returns the symbol's description, and whether the exchange lists it.
func (i *ExchangeInfo) Lookup(symbol string) (*SymbolInfo, bool) {
	at := slices.IndexFunc(i.Symbols, func(s SymbolInfo) bool { return s.Symbol == symbol })
	if at < 0 {
		return nil, false
	}
	return &i.Symbols[at], true
}

// ExchangeInfo fetches the description of the symbols, or of all if none is named. The request weighs
// 20 on spot and 1 on the futures markets. Spot refuses an unknown symbol with an *APIError of code
// -1121; the futures markets leave it out. Other errors are those of Depth: an answer without symbols is a *DecodeError.
//
// A field of an unexpected type stays zero, and a row without a symbol is left out, so that what the exchange adds or
// breaks costs nothing else.
func (c *Client) ExchangeInfo(ctx context.Context, symbols ...string) (*ExchangeInfo, error) {
	return c.exchangeInfo(ctx, callPriority(ctx), symbols)
}

func (c *Client) exchangeInfo(ctx context.Context, p Priority, symbols []string) (*ExchangeInfo, error) {
	params := url.Values{}
	if len(symbols) > 0 {
		list, err := json.Marshal(symbols)
		if err != nil {
			return nil, err
		}
		params.Set("symbols", string(list)) // the futures markets ignore it
	}
	body, took, err := c.get(ctx, query{path: "/exchangeInfo", params: params, priority: p, weight: c.market.infoWeight, maxBody: maxInfoBody})
	if err != nil {
		return nil, err
	}
	info, err := parseExchangeInfo(body)
	if err != nil {
		return nil, newBodyError(body, err)
	}
	if len(symbols) > 0 {
		info.Symbols = slices.DeleteFunc(info.Symbols, func(s SymbolInfo) bool { return !slices.Contains(symbols, s.Symbol) })
	}
	c.learn(info, took)
	return info, nil
}

// learn passes the exchange's weight limit and clock to the Budget.
func (c *Client) learn(info *ExchangeInfo, took span) {
	for _, l := range info.RateLimits {
		if l.Type == "REQUEST_WEIGHT" && l.Interval == time.Minute {
			c.budget.learnLimit(l.Limit)
		}
	}
	if !info.ServerTime.IsZero() {
		c.budget.learnClock(took.sent, took.answered, info.ServerTime)
	}
}

type exchangeInfoJSON struct {
	ServerTime int64 `json:"serverTime"`
	RateLimits []struct {
		Type        string `json:"rateLimitType"`
		Interval    string `json:"interval"`
		IntervalNum int    `json:"intervalNum"`
		Limit       int    `json:"limit"`
	} `json:"rateLimits"`
	Symbols symbolRows `json:"symbols"`
}

// maxListed bounds the rows of a listing; spot has 3,600 (2026), with all that trade no more. Each takes memory, be it
// empty, and an answer of maxInfoBody has room for millions.
const maxListed = 50_000

var errListing = errors.New("more symbols than a market has")

// symbolRows are the rows of a listing.
type symbolRows []symbolJSON

// UnmarshalJSON reads the rows one after the other, so that the memory for them is bounded. A row, or a field of one, of an
// unexpected type stays zero.
func (rows *symbolRows) UnmarshalJSON(data []byte) error {
	if data[0] != '[' {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	_, _ = d.Token() // the bracket
	for d.More() {
		if len(*rows) == maxListed {
			return errListing
		}
		var row symbolJSON
		var mistyped *json.UnmarshalTypeError // encoding/json leaves such a field zero and reads on
		if err := d.Decode(&row); err != nil && !errors.As(err, &mistyped) {
			return err
		}
		*rows = append(*rows, row)
	}
	return nil
}

type symbolJSON struct {
	Symbol         string `json:"symbol"`
	Pair           string `json:"pair"`
	ContractType   string `json:"contractType"`
	Status         string `json:"status"`
	ContractStatus string `json:"contractStatus"` // COIN-M's name of status
	BaseAsset      string `json:"baseAsset"`
	QuoteAsset     string `json:"quoteAsset"`
	Filters        []struct {
		Type     string `json:"filterType"`
		TickSize string `json:"tickSize"`
		StepSize string `json:"stepSize"`
	} `json:"filters"`
}

// parseExchangeInfo reads an answer with status 200. The exchange always lists symbols: an answer without any is an
// error of it, or of a proxy.
func parseExchangeInfo(body []byte) (*ExchangeInfo, error) {
	var answer exchangeInfoJSON
	var mistyped *json.UnmarshalTypeError
	if err := json.Unmarshal(body, &answer); err != nil && !errors.As(err, &mistyped) {
		return nil, err
	}
	info := answer.info()
	if len(info.Symbols) == 0 {
		return nil, namedField(errMissingField, "symbols")
	}
	return info, nil
}

func (a *exchangeInfoJSON) info() *ExchangeInfo {
	info := &ExchangeInfo{Symbols: make([]SymbolInfo, 0, len(a.Symbols))}
	if a.ServerTime != 0 {
		info.ServerTime = time.UnixMilli(a.ServerTime).UTC()
	}
	for _, l := range a.RateLimits {
		unit := map[string]time.Duration{
			"SECOND": time.Second, "MINUTE": time.Minute, "HOUR": time.Hour, "DAY": 24 * time.Hour,
		}[l.Interval]
		info.RateLimits = append(info.RateLimits, RateLimit{Type: l.Type, Interval: unit * time.Duration(l.IntervalNum), Limit: l.Limit})
	}
	at := make(map[string]int, len(a.Symbols))
	for i := range a.Symbols {
		s := a.Symbols[i].info()
		first, twice := at[s.Symbol]
		switch {
		case !isName(s.Symbol):
			info.Unread++
			info.noteInvalid(s.Symbol)
		case !twice:
			at[s.Symbol] = len(info.Symbols)
			info.Symbols = append(info.Symbols, s)
			if s.Status == "" {
				info.Unread++
			}
		case s.Status != info.Symbols[first].Status:
			info.Symbols[first].Status = "" // nothing says which row is right
			info.Unread++
		}
	}
	return info
}

// maxName bounds the characters of a symbol that is listed.
const maxName = 50

// isName reports whether a symbol can have that name. Spot refuses others: "Illegal characters found in parameter
// 'symbol'; legal range is '^[\\w\\-._&&[^a-z]]{1,50}$'" (code -1100), and lists 币安人生USDT all the same. A listing may hold
// anything; what other programs cannot take as text, or take for the stream of another symbol, ends here.
func isName(symbol string) bool {
	for _, r := range symbol {
		switch {
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_':
		case r < utf8.RuneSelf, !unicode.IsLetter(r) && !unicode.IsNumber(r):
			return false
		}
	}
	return symbol != "" && utf8.RuneCountInString(symbol) <= maxName
}

// noteInvalid keeps a name that no symbol can have, unless there are enough of them.
func (i *ExchangeInfo) noteInvalid(name string) {
	const most = 8
	if name == "" || len(i.Invalid) == most {
		return
	}
	if runes := []rune(name[:min(len(name), maxName*utf8.UTFMax)]); len(runes) > maxName {
		name = string(runes[:maxName])
	}
	i.Invalid = append(i.Invalid, name)
}

func (s *symbolJSON) info() SymbolInfo {
	info := SymbolInfo{
		Symbol: s.Symbol, Pair: s.Pair, ContractType: s.ContractType, Status: s.Status,
		BaseAsset: s.BaseAsset, QuoteAsset: s.QuoteAsset,
	}
	if info.Status == "" {
		info.Status = s.ContractStatus
	}
	for _, f := range s.Filters {
		switch f.Type {
		case "PRICE_FILTER":
			info.TickSize = fixedOrZero(f.TickSize)
		case "LOT_SIZE":
			info.StepSize = fixedOrZero(f.StepSize)
		}
	}
	return info
}

// fixedOrZero returns 0 for a step that does not fit a Fixed, so that one odd symbol does not hide all others.
func fixedOrZero(text string) orderbook.Fixed {
	v, err := orderbook.ParseFixed(text)
	if err != nil {
		return 0
	}
	return v
}
