package binance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/marketprism/marketprism"
)

// A Client talks to one market of Binance. It is safe for concurrent use.
//
// All its requests pass one gate: while the exchange has said to stay away (HTTP 429 or 418 with
// Retry-After), or while the request weight of the minute is used up, they wait, or end with the
// error of their context. Connecting to a stream has no weight, but waits as well while the exchange
// has said to stay away.
type Client struct {
	market    *market
	endpoints Endpoints
	dial      dialFunc
	http      *http.Client
	httpOwned bool
	budget    *budget
	ownLimit  bool // Config.WeightLimit was given
	hooks     *Hooks
}

// NewClient returns a Client. It fails if cfg is contradictory. It does not connect.
func NewClient(cfg Config) (*Client, error) {
	m, err := marketOf(cfg.Market)
	if err != nil {
		return nil, err
	}
	endpoints, err := cfg.Endpoints.withDefaults(m.name)
	if err != nil {
		return nil, err
	}
	c := &Client{market: m, endpoints: endpoints, dial: cfg.DialContext, hooks: cfg.Hooks}
	if c.hooks == nil {
		c.hooks = &Hooks{}
	}
	c.http, c.httpOwned = cfg.httpClient()
	c.budget = &budget{limit: m.weightLimit, throttled: c.hooks.throttled}
	switch {
	case cfg.WeightLimit > 0:
		c.budget.limit, c.ownLimit = cfg.WeightLimit, true
	case cfg.WeightLimit < 0:
		c.budget.limit, c.ownLimit = 0, true
	}
	return c, nil
}

// Market returns the market the Client talks to.
func (c *Client) Market() marketprism.Market { return c.market.name }

// Instrument returns the instrument of a symbol in the Client's market.
func (c *Client) Instrument(symbol string) marketprism.Instrument {
	return marketprism.Instrument{Exchange: marketprism.Binance, Market: c.market.name, Symbol: symbol}
}

// Usage returns how much request weight is used.
func (c *Client) Usage() Usage { return c.budget.usage(time.Now()) }

// CloseIdleConnections closes the REST connections that wait for another request. The Client stays
// usable.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// get waits for the gate, makes a request and returns the body of a 200 answer. Other answers are an
// *APIError; a body longer than maxBody is ErrBodyTooLarge.
func (c *Client) get(ctx context.Context, path string, query url.Values, weight int, maxBody int64) ([]byte, error) {
	if err := c.budget.wait(ctx, weight); err != nil {
		return nil, err
	}
	return c.send(ctx, path, query, maxBody)
}

// send is get behind the gate.
func (c *Client) send(ctx context.Context, path string, query url.Values, maxBody int64) ([]byte, error) {
	target := c.endpoints.REST + c.market.restPrefix + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, fmt.Errorf("binance: GET %s: %w", path, err)
	}
	sent := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("binance: %w", err) // a *url.Error, which names the request
	}
	defer resp.Body.Close()
	c.observe(sent, resp)
	if resp.StatusCode != http.StatusOK {
		return nil, c.refusal(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("binance: GET %s: reading the answer: %w", path, err)
	}
	if int64(len(body)) > maxBody {
		return nil, fmt.Errorf("binance: GET %s: more than %d bytes: %w", path, maxBody, ErrBodyTooLarge)
	}
	return body, nil
}

// observe learns the used weight from the answer to a request sent at that time.
func (c *Client) observe(sent time.Time, resp *http.Response) {
	if used, err := strconv.Atoi(resp.Header.Get("X-Mbx-Used-Weight-1m")); err == nil {
		c.budget.setUsed(sent, time.Now(), used)
	}
}

// refusal makes an *APIError of an answer, and closes the gate if it says so.
func (c *Client) refusal(resp *http.Response) error {
	e := newAPIError(resp)
	if e.Status == http.StatusTooManyRequests || e.Status == http.StatusTeapot {
		c.budget.refused(time.Now(), e.Status, e.RetryAfter)
	}
	return e
}
