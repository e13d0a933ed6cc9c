package binance_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
)

// Two clients that share a Budget spend exactly one limit.
func TestBudgetIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := binancetest.New(binancetest.Config{
			Market: marketprism.COINM, Symbols: binancetest.Symbols("A"), Network: binancetest.InMemory(),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		budget := newBudget(t, binance.BudgetConfig{})
		var wg sync.WaitGroup
		start := time.Now()
		for range 2 {
			c := dial(t, srv, binance.Config{Market: marketprism.COINM, Budget: budget})
			for range 5 {
				wg.Go(func() {
					for range 36 {
						if _, err := c.Depth(t.Context(), "A", 1000); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		// 360 requests of weight 20 are three minutes' worth of 2400.
		if d := time.Since(start); d != 2*time.Minute {
			t.Errorf("took %v", d)
		}
		if s := srv.Stats(); s.Violations() != 0 || s.WeightUsed != 2400 || budget.Usage().Used != 2400 {
			t.Errorf("stats: %+v, usage: %+v", s, budget.Usage())
		}
	})
}
