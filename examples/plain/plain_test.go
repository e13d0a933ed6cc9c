package plain_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/examples/plain"
)

// hostile has an escape sequence, its single character, a change of direction, a title that rings, and broken UTF-8.
const hostile = "a\x1b[31mb\u009b2Jc\u202ed\x1b]0;x\ae\rf\xff\x7f\U000e0041"

func TestNothingControlsATerminal(t *testing.T) {
	for _, shown := range []string{plain.Cell(hostile), plain.Text(hostile)} {
		require.Equal(t, `a\x1b[31mb\u009b2Jc\u202ed\x1b]0;x\ae\rf\xff\x7f\U000e0041`, shown)
	}
	require.Equal(t, `two\nlines\tof "text"`, strings.ReplaceAll(plain.Cell("two\nlines\tof \"text\""), `\"`, `"`))
	require.Equal(t, "two\nlines\tof \"text\" \u2713", plain.Text("two\nlines\tof \"text\" \u2713"))
}

func TestJSONKeepsItsValues(t *testing.T) {
	text := strings.ToValidUTF8(hostile, "") + "\u2713"
	in, err := json.Marshal(map[string]string{"k": text})
	require.NoError(t, err)
	var out bytes.Buffer
	n, err := plain.JSON(&out).Write(append(in, '\n'))
	require.NoError(t, err)
	require.Equal(t, len(in)+1, n)
	require.Equal(t, plain.Text(out.String()), out.String())
	var back map[string]string
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	require.Equal(t, text, back["k"])
}
