package binance_test

import (
	"testing"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/hook/hooktest"
)

func TestHooksAreComplete(t *testing.T) { hooktest.Complete(t, binance.TeeHooks, binance.LogHooks) }
