package monitoring

import (
	"testing"

	"github.com/marketprism/marketprism/internal/chserver"
)

// TestMain lets this program be the ClickHouse server that the tests start.
func TestMain(m *testing.M) {
	chserver.Main()
	m.Run()
}
