package bookfeed

import (
	"testing"

	"github.com/marketprism/marketprism/internal/hook/hooktest"
)

func TestHooksAreComplete(t *testing.T) { hooktest.Complete(t, TeeHooks, LogHooks) }
