package pipeline

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/sink"
)

// A bus that is away and a queue that is behind are two things.
func TestSpillStatus(t *testing.T) {
	for want, stats := range map[string]sink.SpillStats{
		"":                                 {Direct: 9},
		"bus away":                         {Away: true},
		"disk queue behind by 7":           {Spilling: true, Queued: 7},
		"bus away  disk queue behind by 7": {Away: true, Spilling: true, Queued: 7},
	} {
		require.Equal(t, want, strings.Join(spillStatus(stats), "  "))
	}
}
