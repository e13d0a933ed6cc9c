package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
)

const recordings = "../../../shared/recordings"

// TestRecordings replays real traffic and compares every field with what an independent decimal
// oracle computed.
func TestRecordings(t *testing.T) {
	for name, market := range map[string]marketprism.Market{
		"binance-spot-20211012": marketprism.Spot,
		"binance-usdm-20210722": marketprism.USDM,
		"binance-usdm-20240808": marketprism.USDM,
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(recordings, name+".expected.json"))
			if os.IsNotExist(err) {
				t.Skipf("no recordings at %s", recordings)
			}
			require.NoError(t, err)
			var want map[string]summary
			require.NoError(t, json.Unmarshal(text, &want))

			r, err := newReplay(market)
			require.NoError(t, err)
			require.NoError(t, r.file(filepath.Join(recordings, name+".ndjson.gz")))
			require.Equal(t, want, r.summaries())
		})
	}
}

func TestBadInput(t *testing.T) {
	_, err := newReplay("options")
	require.ErrorContains(t, err, "options")

	replayText := func(t *testing.T, text string) error {
		path := filepath.Join(t.TempDir(), "recording.ndjson")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		r, err := newReplay(marketprism.COINM)
		require.NoError(t, err)
		return r.file(path)
	}
	require.ErrorContains(t, replayText(t, `{"ts":1,"kind":"ws","frame":{"stream":"x@depth","data":{"e":"depthUpdate","E":1,"s":"X","U":1,"u":"2","b":[],"a":[]}}}`+"\n"), "line 1")
	require.ErrorContains(t, replayText(t, `{"ts":1,"kind":"rest","path":"/dapi/v1/depth?symbol=X","body":{"lastUpdateId":1,"symbol":"Y","pair":"Y","bids":[],"asks":[]}}`+"\n"), "of Y")
	require.Error(t, replayText(t, `{"ts":1,"kind":"ws","frame":{"str`))
}

// A replay ends with a line that a person reads, or is one JSON object.
func TestSummary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recording.ndjson")
	const symbol = `{"ts":1,"kind":"rest","path":"/api/v3/depth?symbol=%[1]s","body":{"lastUpdateId":1,"bids":[["9","1"]],"asks":[]}}
{"ts":2,"kind":"ws","frame":{"stream":"x@depth","data":{"e":"depthUpdate","E":1000,"s":"%[1]s","U":2,"u":2,"b":[["10","1"]],"a":[["11","3"]]}}}
{"ts":3,"kind":"ws","frame":{"stream":"x@bookTicker","data":{"u":2,"s":"%[1]s","b":"%[2]s","B":"1","a":"11","A":"3"}}}
`
	const head = "SYMBOL  UPDATES  GAPS  TICKERS EQUAL  LEVELS  BEST BID  BEST ASK  UPDATE ID\n"
	for _, test := range []struct {
		text, want string
		equal      bool
	}{
		{fmt.Sprintf(symbol, "AB", "10"), head + "AB      1        0     1 of 1         2+1     10        11        2\n1 of 1 books equal; 0 gaps; 1 tickers, 1 compared, 1 equal\n", true},
		{fmt.Sprintf(symbol, "AB", "9"), head + "AB      1        0     0 of 1         2+1     10        11        2\n0 of 1 books equal; 0 gaps; 1 tickers, 1 compared, 0 equal\n", false},
		{"", head + "no books\n", false},
	} {
		require.NoError(t, os.WriteFile(path, []byte(test.text), 0o600))
		var out bytes.Buffer
		equal, err := run(marketprism.Spot, []string{path}, false, &out)
		require.NoError(t, err)
		require.Equal(t, test.want, out.String())
		require.Equal(t, test.equal, equal)

		out.Reset()
		_, err = run(marketprism.Spot, []string{path}, true, &out)
		require.NoError(t, err)
		require.True(t, json.Valid(out.Bytes()))
	}
}
