package main

import (
	"encoding/json"
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
