package bench_test

import (
	"testing"
	"time"

	"github.com/marketprism/marketprism/internal/bench"
)

func TestQuantiles(t *testing.T) {
	var l bench.Histogram
	for i := range 10_000 {
		l.Add(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{0.001, 0.1, 0.5, 0.9, 0.99} {
		want := time.Duration(q*10_000) * time.Microsecond
		if got := l.Quantile(q); got < want || got > want+want/8+time.Microsecond {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}
