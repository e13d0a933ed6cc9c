package binance

import (
	"context"
	"encoding/json"
	"time"
)

// maxSmallBody bounds answers of a few fields.
const maxSmallBody = 64 << 10

// Time fetches the exchange's clock. The request weighs 1. Its errors are those of Depth.
func (c *Client) Time(ctx context.Context) (time.Time, error) {
	body, took, err := c.get(ctx, query{path: "/time", weight: 1, maxBody: maxSmallBody})
	if err != nil {
		return time.Time{}, err
	}
	var answer struct {
		ServerTime *int64 `json:"serverTime"`
	}
	err = json.Unmarshal(body, &answer)
	if err == nil && answer.ServerTime == nil {
		err = errNoServerTime
	}
	if err != nil {
		return time.Time{}, newBodyError(body, err)
	}
	now := time.UnixMilli(*answer.ServerTime).UTC()
	c.budget.learnClock(took.sent, took.answered, now)
	return now, nil
}
