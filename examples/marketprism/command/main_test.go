package command

import (
	"testing"

	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

func TestMain(m *testing.M) { chtest.Main(m) }
