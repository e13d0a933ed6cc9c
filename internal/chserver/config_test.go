package chserver

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfigErrors(t *testing.T) {
	for want, config := range map[string]Config{
		"port -1":            {TCPPort: -1},
		`Host "a" is not`:    {Host: "a"},
		`"x" is not`:         {Grants: []string{"x"}},
		`reader "default"`:   {Readers: []Reader{{Name: "default", Database: "x"}}},
		`of "x*"`:            {Readers: []Reader{{Name: "r", Database: "x*"}}},
		"or 65536 is":        {HTTPPort: 65536},
		"MemoryBytes 1024":   {MemoryBytes: 1024},
		`"a b" is not`:       {MergeTree: map[string]string{"a b": "1"}},
		`"<x>" is not`:       {Settings: map[string]string{"<x>": "1"}},
		`LogLevel "loud" is`: {LogLevel: "loud"},
		"are both 9000":      {TCPPort: 9000, HTTPPort: 9000},
		"CloseTimeout -1ns":  {CloseTimeout: -1},
	} {
		_, err := config.withDefaults()
		require.ErrorContains(t, err, want)
	}
}

func TestConfigDefaults(t *testing.T) {
	config, err := Config{}.withDefaults()
	require.NoError(t, err)
	require.Len(t, config.Password, 26, "128 bits")
	config.Password = ""
	require.Equal(t, Config{Host: "127.0.0.1", MemoryBytes: 2 << 30, BackgroundThreads: 2, Timezone: "UTC", LogLevel: "warning"}, config)

	config, err = Config{MemoryBytes: -1, BackgroundThreads: -1}.withDefaults()
	require.NoError(t, err)
	text, err := config.xml()
	require.NoError(t, err)
	require.NotContains(t, string(text), "max_server_memory_usage")
	require.NotContains(t, string(text), "_pool")
}

func TestXMLEscapes(t *testing.T) {
	config := Config{Dir: "/tmp/a&b<c>", MergeTree: map[string]string{"x": "</x><evil/>"}}
	text, err := config.xml()
	require.NoError(t, err)
	require.Contains(t, string(text), "<path>/tmp/a&amp;b&lt;c&gt;/cold/</path>")
	require.NotContains(t, string(text), "<evil/>")
	decoder := xml.NewDecoder(strings.NewReader(string(text)))
	for err == nil {
		_, err = decoder.Token()
	}
	require.True(t, errors.Is(err, io.EOF), "%v", err)
}
