package sink_test

import (
	"testing"

	"github.com/marketprism/marketprism/internal/hook/hooktest"
	"github.com/marketprism/marketprism/sink"
)

func TestHooksAreComplete(t *testing.T) { hooktest.Complete(t, sink.TeeHooks, sink.LogHooks) }

func TestSpillHooksAreComplete(t *testing.T) {
	hooktest.Complete(t, sink.TeeSpillHooks, sink.LogSpillHooks)
}
