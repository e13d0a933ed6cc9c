package binance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRateLimiterHoldsInEveryWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRateLimiter(4)
		var sent []time.Time
		for i := range 40 {
			if i%7 == 0 {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			}
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			sent = append(sent, time.Now())
		}
		for i := 4; i < len(sent); i++ {
			if d := sent[i].Sub(sent[i-4]); d <= time.Second {
				t.Errorf("message %d came %v after the fourth before it", i, d)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var err error
		for range 5 {
			err = p.wait(ctx)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestRequestsStayBelowTheirBound(t *testing.T) {
	var streams []string
	for i := range 1024 {
		streams = append(streams, fmt.Sprintf("币%dusdt@depth@100ms", i))
	}
	requests, err := planRequests("SUBSCRIBE", streams, 40)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for i, r := range requests {
		if len(r.frame) > maxRequest || r.id != int64(41+i) {
			t.Errorf("request %d: id %d, %d bytes", i, r.id, len(r.frame))
		}
		if i < len(requests)-1 && len(r.frame) < maxRequest-100 {
			t.Errorf("request %d has only %d bytes", i, len(r.frame))
		}
		all = append(all, r.streams...)
	}
	if !slices.Equal(all, streams) {
		t.Error("streams were lost")
	}
	if want := `{"method":"UNSUBSCRIBE","params":["a","b\"c"],"id":1}`; true {
		r, err := planRequests("UNSUBSCRIBE", []string{"a", `b"c`}, 0)
		if err != nil || len(r) != 1 || string(r[0].frame) != want {
			t.Errorf("%s, %v", r[0].frame, err)
		}
	}
}

// A frame without an event time has waited no longer than if it was sent with the event before it, whatever the clocks
// differ by.
func TestLagOfAFrameWithoutEventTime(t *testing.T) {
	ticker := []byte(`{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}`)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
		depth := func(sent time.Time) []byte {
			return fmt.Appendf(nil, `{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":%d,"s":"BTCUSDT"}}`, sent.Add(ahead).UnixMilli())
		}
		later := at.Add(50 * time.Second)
		s := new(Stream)
		for _, c := range []struct {
			frame []byte
			at    time.Time
			want  time.Duration
		}{
			{ticker, at, 0}, // of no event
			{depth(at), at, 0},
			{ticker, later, 50 * time.Second},
			{depth(later.Add(-time.Second)), later, time.Second},
			{ticker, later, time.Second},
		} {
			if got := s.lag(c.frame, c.at); got != c.want {
				t.Errorf("clocks differ by %v: %s has waited %v, want %v", ahead, c.frame, got, c.want)
			}
		}
	}
}
