package chstore

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

// The server has no limit whose mode the SELECTs of a Store do not set, and knows all of their settings.
func TestSelectSettingsAreComplete(t *testing.T) {
	db := chtest.Open(t)
	settings := selectSettings()
	found, err := db.Conn.Query(t.Context(), "SELECT name FROM system.settings WHERE name LIKE '%overflow\\_mode%' AND type != 'DateTimeOverflowBehavior'")
	require.NoError(t, err)
	defer found.Close()
	modes := 0
	for found.Next() {
		var name string
		require.NoError(t, found.Scan(&name))
		require.Equal(t, "throw", settings[name], name)
		modes++
	}
	require.NoError(t, found.Err())
	require.Greater(t, modes, 10)
	for name := range settings {
		var known uint64
		require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM system.settings WHERE name = ?", name).Scan(&known))
		require.EqualValues(t, 1, known, name)
	}
}

// Every SELECT has these settings: none is run but by the methods that set them.
func TestEverySelectHasSettings(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		if matched, _ := filepath.Match("*_test.go", file); matched || file == "conn_select.go" {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, call := range []string{".Query(", ".QueryRow(", "natives.read("} {
			require.NotContains(t, string(text), call, file)
		}
	}
}
