package binance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Trades that a request asks for: as many as it may.
const (
	maxTradesPage = 1000
	maxKeyedPage  = 500 // of raw futures trades
	maxTradesBody = 4 << 20
)

var errKeyed = errors.New("binance: past trades of this market are for holders of an API key")

// tradesQuery is the request for trades from an id on. rest-api.md: historicalTrades weighs 25 and
// aggTrades 4; on the futures markets both weigh 20, and historicalTrades needs an API key.
func (c *Client) tradesQuery(symbol string, aggregate bool, fromID int64) (query, error) {
	q := query{path: "/historicalTrades", weight: 25, priority: PriorityGap, maxBody: maxTradesBody}
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

// A tradeRow is a row of historicalTrades or of aggTrades; the tags of the second are one letter long.
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
	return t, err
}
