package pipeline

import (
	"bytes"
	"context"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/bench"
)

func TestCPUMeter(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the CPU time of child processes comes from /proc, which is Linux's")
	}
	child := exec.Command("yes", "record")
	require.NoError(t, child.Start())
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()

	var m cpuMeter
	require.NoError(t, m.start())
	begin, text := bench.CPUUsed(), make([]byte, 1<<20)
	require.NoError(t, asPart("hasher", func(context.Context) error {
		for bench.CPUUsed().Minus(begin).Total() < 200*time.Millisecond {
			bytes.Count(text, []byte{1})
		}
		return nil
	})(t.Context()))
	used, err := m.stop()
	require.NoError(t, err)
	require.GreaterOrEqual(t, used.self, 200*time.Millisecond)
	require.Greater(t, used.parts["hasher"], used.self/4, "%v", used)
	require.Greater(t, used.children["yes record"], time.Duration(0), "%v", used)
	line := used.perRecord(1000)
	require.True(t, strings.HasPrefix(line, "CPU µs a record: this program "), line)
	require.Contains(t, line, "(hasher ")
	require.Contains(t, line, "; its children: yes record ")
}
