package backoff_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/internal/backoff"
)

func TestNextStaysWithinADoublingBound(t *testing.T) {
	b := backoff.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	bounds := []time.Duration{100, 200, 400, 800, 1000, 1000, 1000}
	for range 200 {
		b.Reset()
		for i, ms := range bounds {
			if d := b.Next(); d < 0 || d > ms*time.Millisecond {
				t.Fatalf("delay %d is %v, beyond %v", i, d, ms*time.Millisecond)
			}
		}
	}
}

func TestNextUsesItsWholeRange(t *testing.T) {
	b := backoff.Backoff{Min: time.Second, Max: time.Second}
	low, high := 0, 0
	for range 1000 {
		if b.Next() < time.Second/2 {
			low++
		} else {
			high++
		}
	}
	if low < 100 || high < 100 {
		t.Fatalf("%d delays in the lower half, %d in the upper: not jittered", low, high)
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := backoff.Sleep(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Fatalf("slept %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := backoff.Sleep(ctx, time.Hour); err != context.DeadlineExceeded {
			t.Fatalf("err = %v", err)
		}
		if d := time.Since(start); d != time.Minute+time.Second {
			t.Fatalf("woke after %v", d)
		}
	})
}
