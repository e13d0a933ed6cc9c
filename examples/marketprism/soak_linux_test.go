package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

// The exchange and the ClickHouse of a soak end with it, even if it is killed.
func TestSoakLeavesNobody(t *testing.T) {
	chtest.Require(t)
	w := &world{T: t}
	soak := w.start("soak", "--count", "2", "--sim-rate", "1", "--for", "1h", "--page-listen", "", "--health-listen", "", "--data", t.TempDir())
	w.eventually(func() bool { return strings.Contains(soak.output.String(), "all 2 books synced") }, "%s", soak.output)
	children := childrenOf(t, soak.Process.Pid)
	require.Len(t, children, 2, "an exchange and a ClickHouse")
	require.NoError(t, soak.Process.Kill())
	w.eventually(func() bool {
		for _, pid := range children {
			if syscall.Kill(pid, 0) == nil && !zombie(pid) {
				return false
			}
		}
		return true
	}, "%v are still there", children)
	_ = soak.Wait() // it was killed
}

func childrenOf(t *testing.T, parent int) (children []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields := stat(pid); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}

// zombie reports whether a process has ended and was not waited for.
func zombie(pid int) bool {
	fields := stat(pid)
	return len(fields) > 0 && fields[0] == "Z"
}

// stat returns what follows the name in /proc/PID/stat: state, parent and so on; nothing if the process is gone.
func stat(pid int) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}
