package binance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// maxDepthBody bounds a depth answer: 5,000 levels a side take about 0.4 MB.
const maxDepthBody = 8 << 20

// Depth fetches a snapshot of a symbol's book with up to limit levels a side; limit 0 means 1000.
// Spot serves any number up to 5000, the futures markets 5, 10, 20, 50, 100, 500 and 1000. The snapshot's
// bounds say how far each side is known. The request weighs between 2 and 250. A refusal is an *APIError;
// an invalid answer is a *DecodeError or ErrWrongSymbol.
func (c *Client) Depth(ctx context.Context, symbol string, limit int) (orderbook.Snapshot, error) {
	if limit == 0 {
		limit = defaultSnapshotLimit
	}
	if err := c.market.checkDepth(limit); err != nil {
		return orderbook.Snapshot{}, err
	}
	t, err := c.budget.wait(ctx, c.spender, callPriority(ctx), c.market.depthWeight(limit))
	if err != nil {
		return orderbook.Snapshot{}, err
	}
	snap, _, err := c.depth(ctx, t, symbol, limit)
	return snap, err
}

// depth is Depth for a reservation that the Budget has granted, which it closes. receivedAt is the local clock at the end of
// the answer.
func (c *Client) depth(ctx context.Context, granted *reservation, symbol string, limit int) (snap orderbook.Snapshot, receivedAt time.Time, err error) {
	params := url.Values{"symbol": {symbol}, "limit": {strconv.Itoa(limit)}}
	body, _, err := c.send(ctx, granted, query{path: "/depth", params: params, maxBody: maxDepthBody})
	var refused *APIError
	if upper := strings.ToUpper(symbol); errors.As(err, &refused) && refused.Code == codeBadSymbol && upper != symbol {
		refused.Message += fmt.Sprintf(" (%q?)", upper)
	}
	if err != nil {
		return snap, receivedAt, err
	}
	receivedAt = time.Now()
	var d Decoder
	named, err := d.DecodeSnapshot(body, &snap)
	if err != nil {
		return orderbook.Snapshot{}, receivedAt, err
	}
	if named != "" && named != symbol {
		return orderbook.Snapshot{}, receivedAt, fmt.Errorf("binance: depth of %s: answer is for %s: %w", symbol, named, ErrWrongSymbol)
	}
	snap.SetLimit(limit)
	return snap, receivedAt, nil
}

// maxSmallBody bounds answers of a few fields.
const maxSmallBody = 64 << 10

// Time fetches the exchange's clock. The request weighs 1. Its errors are those of Depth.
func (c *Client) Time(ctx context.Context) (time.Time, error) {
	body, took, err := c.get(ctx, query{path: "/time", priority: callPriority(ctx), weight: 1, maxBody: maxSmallBody})
	if err != nil {
		return time.Time{}, err
	}
	var answer struct {
		ServerTime *int64 `json:"serverTime"`
	}
	err = json.Unmarshal(body, &answer)
	if err == nil && answer.ServerTime == nil {
		err = namedField(errMissingField, "serverTime")
	}
	if err != nil {
		return time.Time{}, newBodyError(body, err)
	}
	now := time.UnixMilli(*answer.ServerTime).UTC()
	c.budget.learnClock(took.sent, took.answered, now)
	return now, nil
}

// The most trades that a request may ask for.
const (
	maxTradesPage = 1000
	maxKeyedPage  = 500 // of raw futures trades
	maxTradesBody = 4 << 20
)

var errKeyed = errors.New("binance: past trades of this market need an API key")

// tradesQuery returns the request for trades from an id on. rest-api.md: historicalTrades weighs 25 and
// aggTrades 4; on the futures markets both weigh 20, and historicalTrades needs an API key.
func (c *Client) tradesQuery(symbol string, aggregate bool, fromID int64) (query, error) {
	q := query{path: "/historicalTrades", weight: 25, priority: PriorityTrades, maxBody: maxTradesBody}
	limit, spot := maxTradesPage, c.market.name == marketprism.Spot
	switch {
	case aggregate && spot:
		q.path, q.weight = "/aggTrades", 4
	case aggregate:
		q.path, q.weight = "/aggTrades", 20
	case !spot && c.apiKey == "":
		return q, errKeyed
	case !spot:
		q.weight, q.keyed, limit = 20, true, maxKeyedPage
	}
	q.params = url.Values{"symbol": {symbol}, "fromId": {strconv.FormatInt(fromID, 10)}, "limit": {strconv.Itoa(limit)}}
	return q, nil
}

// trades fetches a page of past trades from an id on, oldest first.
func (c *Client) trades(ctx context.Context, symbol string, aggregate bool, fromID int64) ([]marketprism.Trade, error) {
	q, err := c.tradesQuery(symbol, aggregate, fromID)
	if err != nil {
		return nil, err
	}
	body, _, err := c.get(ctx, q)
	if err != nil {
		return nil, err
	}
	var rows []tradeRow
	if err := json.Unmarshal(body, &rows); err != nil {
		return nil, fmt.Errorf("binance: trades of %s: %w", symbol, err)
	}
	trades := make([]marketprism.Trade, len(rows))
	for i := range rows {
		if trades[i], err = rows[i].trade(aggregate); err != nil {
			return nil, fmt.Errorf("binance: trades of %s: %w", symbol, err)
		}
	}
	return trades, nil
}

// A tradeRow is a row of historicalTrades or of aggTrades, whose tags are one letter long.
type tradeRow struct {
	ID           int64  `json:"id"`
	Price        string `json:"price"`
	Quantity     string `json:"qty"`
	Time         int64  `json:"time"`
	IsBuyerMaker bool   `json:"isBuyerMaker"`
	IsBestMatch  bool   `json:"isBestMatch"`

	AggID        int64  `json:"a"`
	AggPrice     string `json:"p"`
	AggQuantity  string `json:"q"`
	FirstID      int64  `json:"f"`
	LastID       int64  `json:"l"`
	AggTime      int64  `json:"T"`
	AggMaker     bool   `json:"m"`
	AggBestMatch bool   `json:"M"`
}

func (r *tradeRow) trade(aggregate bool) (t marketprism.Trade, err error) {
	if aggregate {
		r.ID, r.Price, r.Quantity, r.Time, r.IsBuyerMaker, r.IsBestMatch = r.AggID, r.AggPrice, r.AggQuantity, r.AggTime, r.AggMaker, r.AggBestMatch
		t.FirstID, t.LastID = r.FirstID, r.LastID
	}
	t.ID, t.Aggregate, t.BuyerMaker, t.BestMatch = r.ID, aggregate, r.IsBuyerMaker, r.IsBestMatch
	t.TradeTime = time.UnixMilli(r.Time).UTC()
	if t.Price, err = orderbook.ParseFixed(r.Price); err != nil {
		return t, err
	}
	t.Quantity, err = orderbook.ParseFixed(r.Quantity)
	if err == nil && min(t.Price, t.Quantity) < 0 {
		err = orderbook.ErrRange
	}
	return t, err
}

// Bounds of an error body: how much is read, and how much is kept if it is not the exchange's JSON.
const (
	maxErrorBody    = 64 << 10
	maxErrorExcerpt = 256
)

// newAPIError describes an answer other than 200. The exchange's own errors are JSON,
// {"code":-1121,"msg":"Invalid symbol."}; a firewall or proxy answers in HTML. now is the exchange's clock.
func newAPIError(resp *http.Response, now time.Time) (e *APIError) {
	e = &APIError{Status: resp.StatusCode}
	defer func() { e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), e.Message, now) }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil && len(body) == 0 {
		e.Message = "unreadable body: " + err.Error()
		return e
	}
	var own struct {
		Code int    `json:"code"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(body, &own) == nil && (own.Code != 0 || own.Msg != "") {
		e.Code, e.Message = own.Code, own.Msg
		return e
	}
	e.Message = excerpt(body)
	return e
}

var (
	htmlTitle  = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title`)
	htmlHidden = regexp.MustCompile(`(?is)<(head|style|script)[\s>].*?(</(head|style|script)\s*>|$)|<!--.*?(-->|$)`)
	htmlTag    = regexp.MustCompile(`(?s)<[^>]*(>|$)`)
)

// errPage is the cause in a DecodeError for an answer from something else than the exchange, such as a captive portal.
var errPage = errors.New("the answer is a page, not the exchange's")

// isPage reports whether a body is HTML.
func isPage(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n\uFEFF"), []byte("<"))
}

// pageText returns the title of a page, or the words that a browser would show; text that is no page as it is.
func pageText(body string) string {
	if !isPage([]byte(body)) {
		return body
	}
	words := htmlTag.ReplaceAllString(htmlHidden.ReplaceAllString(body, " "), " ")
	if title := htmlTitle.FindStringSubmatch(body); title != nil && strings.TrimSpace(title[1]) != "" {
		words = htmlTag.ReplaceAllString(title[1], " ")
	}
	return html.UnescapeString(words)
}

// excerpt returns the beginning of a body as one line of valid text: of a page, which a firewall or proxy sends, its title
// or first words.
func excerpt(body []byte) string {
	text := strings.Join(strings.Fields(pageText(string(bytes.ToValidUTF8(body, []byte("?"))))), " ")
	if len(text) <= maxErrorExcerpt {
		return text
	}
	cut := maxErrorExcerpt
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// longestBan bounds what an answer can ask for. rest-api.md, IP Limits: "IP bans are tracked and scale in duration for
// repeat offenders, from 2 minutes to 3 days."
const longestBan = 72 * time.Hour

// codeTooMany is the exchange's code of a 429 and 418. errors.md: "-1003 TOO_MANY_REQUESTS".
const codeTooMany = -1003

// retryAfter returns how long an answer asks to wait, at most longestBan; 0 if it does not say. now is the exchange's
// clock. The header has two forms, seconds and a date. The message of a ban has its end, in milliseconds since 1970, also
// where the header is absent: "Way too many requests; IP(1.2.3.4) banned until 1573206854617." If both say it, the
// message counts only if it is later by more than a second, to which now may be known: a request before the end makes
// a ban longer.
func retryAfter(header, message string, now time.Time) (wait time.Duration) {
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		wait = time.Duration(max(0, min(seconds, int64(longestBan/time.Second)))) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Add(time.Second).Sub(now) // a date has no fraction of a second
	}
	if _, end, found := strings.Cut(message, "banned until "); found {
		digits := len(end) - len(strings.TrimLeft(end, "0123456789"))
		if ms, err := strconv.ParseInt(end[:digits], 10, 64); err == nil {
			if left := time.UnixMilli(ms).Sub(now); wait <= 0 || left > wait+time.Second {
				wait = left
			}
		}
	}
	return min(max(wait, 0), longestBan)
}

// newBodyError returns the *DecodeError for an error of encoding/json.
func newBodyError(body []byte, err error) error {
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	offset := 0
	switch {
	case errors.As(err, &syntax):
		offset = int(syntax.Offset)
	case errors.As(err, &mistyped):
		offset = int(mistyped.Offset)
	}
	return newDecodeError("", body, offset, err)
}
