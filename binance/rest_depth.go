package binance

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// maxDepthBody bounds a depth answer: 5,000 levels a side take about 0.4 MB.
const maxDepthBody = 8 << 20

// Depth fetches a snapshot of a symbol's book with up to limit levels a side; limit 0 means 1000.
// Spot serves any number up to 5000, the futures markets 5, 10, 20, 50, 100, 500 and 1000. How far
// each side is known is noted in the snapshot. The request weighs between 2 and 250. A refusal is an *APIError, an answer that makes no sense a *DecodeError or
// ErrWrongSymbol.
func (c *Client) Depth(ctx context.Context, symbol string, limit int) (orderbook.Snapshot, error) {
	if limit == 0 {
		limit = defaultSnapshotLimit
	}
	if err := c.market.checkDepth(limit); err != nil {
		return orderbook.Snapshot{}, err
	}
	t, err := c.budget.wait(ctx, c.spender, PriorityCall, c.market.depthWeight(limit))
	if err != nil {
		return orderbook.Snapshot{}, err
	}
	defer t.close()
	snap, _, err := c.depth(ctx, symbol, limit)
	return snap, err
}

// depth is Depth with the Budget's leave. receivedAt is the local clock when the whole answer was there.
func (c *Client) depth(ctx context.Context, symbol string, limit int) (snap orderbook.Snapshot, receivedAt time.Time, err error) {
	params := url.Values{"symbol": {symbol}, "limit": {strconv.Itoa(limit)}}
	body, _, err := c.send(ctx, query{path: "/depth", params: params, maxBody: maxDepthBody})
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
