package pipeline

import (
	"bytes"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

// A run that verified nothing is a failure with the cause, not a success of zero books.
func TestNothingVerified(t *testing.T) {
	db := chtest.Open(t)
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT")})
	require.NoError(t, err)
	defer exchange.Close()
	exchange.RejectStreams(1_000_000, http.StatusServiceUnavailable)
	const nowhere = "127.0.0.1:1"
	for want, args := range map[string][]string{
		"none of 1 books was ever synced: binance:spot:BTCUSDT: ": {"--rest-url", "http://" + nowhere, "--stream-url", "ws://" + nowhere, "--symbols", "BTCUSDT"},
		"503":                       {"--rest-url", exchange.RESTURL(), "--stream-url", exchange.StreamURL(), "--symbols", "BTCUSDT"},
		"no book was followed: ":    {"--rest-url", "http://" + nowhere, "--stream-url", "ws://" + nowhere, "--all-trading"},
		"connect: connection refus": {"--rest-url", "http://" + nowhere, "--stream-url", "ws://" + nowhere, "--all-trading"},
	} {
		p := newRun(t, testConfig(t, append(args, "--source", "live", "--for", "300ms", "--clickhouse", db.DSN(), "--database", db.Name)...))
		err := p.Run(t.Context())
		printed, readErr := os.ReadFile(p.out.Name())
		require.NoError(t, readErr)
		require.ErrorContains(t, err, "nothing is verified: ", "%s", printed)
		require.ErrorContains(t, err, want)
		require.NotContains(t, string(printed), "verified:")
	}
}

// Each book that is not verified is named with the reason, and an interrupt is one line.
func TestFindings(t *testing.T) {
	book := func(name string, r result) finding { return finding{"binance:spot:" + name, r, "text of " + name} }
	for _, test := range []struct {
		findings                    findings
		printed, err, one, oneError string
	}{
		{findings{book("A", equal), book("B", equal)}, "verified: each of 2 books", "", "verified: each of 2 books", ""},
		{findings{book("A", equal), book("B", different)}, "text of B", "not the live book: B;", "", "not the live book: B;"},
		{findings{book("A", equal), book("B", unsynced)}, "never synced: text of B", "since never synced: B: text of B", "", "interrupted: 1 of 2 books were synced, and 1 of them"},
		{findings{book("A", unsynced)}, "never synced: text of A", "none of 1 books was ever synced: binance:spot:A: text of A", "", "interrupted before a book was synced"},
		{findings{book("A", equal), book("B", uncompared)}, "text of B", "the time was up: B", "", "interrupted: 2 of 2 books were synced, and 1 of them"},
		{nil, "", "no book was followed", "", "interrupted before a book was synced"},
	} {
		for _, interrupted := range []bool{false, true} {
			var out bytes.Buffer
			var err error
			printed, want := test.printed, test.err
			if interrupted {
				printed, want = test.one, test.oneError
				err = test.findings.conclude(&tally{}, &out)
				require.LessOrEqual(t, bytes.Count(out.Bytes(), []byte("\n")), 1)
				require.Equal(t, err != nil, out.Len() == 0, "one line, printed or as the error")
			} else {
				err = test.findings.report(&out)
			}
			require.Contains(t, out.String(), printed)
			if want == "" {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, want)
			require.NotContains(t, out.String(), "verified:")
		}
	}
}
