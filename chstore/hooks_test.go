package chstore_test

import (
	"testing"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/hook/hooktest"
)

func TestHooksAreComplete(t *testing.T) { hooktest.Complete(t, chstore.TeeHooks, chstore.LogHooks) }
