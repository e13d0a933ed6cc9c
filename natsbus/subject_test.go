package natsbus_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
)

func TestSubject(t *testing.T) {
	for symbol, token := range map[string]string{
		"BTCUSDT":      "BTCUSDT",
		"BTC-USD_PERP": "BTC-USD_PERP",
		"btcusdt":      "btcusdt",
		"币安人生USDT":     "币安人生USDT",
		"BTC/USDT":     "BTC=2FUSDT",
		"a.b":          "a=2Eb",
		"*":            "=2A",
		">":            "=3E",
		"a=2Eb":        "a=3D2Eb",
		"a b\t":        "a=20b=09",
		"\u00a0":       "=C2=A0", // a space beyond ASCII
		"\u2028":       "=E2=80=A8",
		"\xff":         "=FF",
		"\uFFFD":       "\uFFFD",
		"":             "=",
		"=":            "=3D",
	} {
		inst := marketprism.Instrument{Exchange: "binance", Market: marketprism.Spot, Symbol: symbol}
		subject := natsbus.Subject("", inst, marketprism.KindUpdate)
		require.Equal(t, "md.binance.spot.depth."+token, subject)
		got, kind, err := natsbus.ParseSubject("", subject)
		require.NoError(t, err)
		require.Equal(t, inst, got)
		require.Equal(t, marketprism.KindUpdate, kind)
	}
	require.Equal(t, "eu.prod.o=2Ex.=.aggtrade.S",
		natsbus.Subject("eu.prod", marketprism.Instrument{Exchange: "o.x", Symbol: "S"}, marketprism.KindAggTrade))
}

func TestParseSubjectRefuses(t *testing.T) {
	for _, subject := range []string{
		"", "md", "md.a.b.depth", "md.a.b.depth.S.T", "xx.a.b.depth.S", "md.a.b.candle.S", "md.a.b.depth.", "md.a.b.depth.a b",
		"md.a.b.depth.=2", "md.a.b.depth.=2f", "md.a.b.depth.=41", "md.a.b.depth.=ZZ", "md.a.b.depth.\xff", "mda.b.depth.S",
	} {
		_, _, err := natsbus.ParseSubject("", subject)
		require.ErrorIs(t, err, natsbus.ErrSubject, subject)
	}
}

// The server stores the records of any symbol under a subject of their own.
func TestServerKeepsSubjectsApart(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	symbols := []string{"A", "a", "A.", "A=2E", "*", ">", "$", "币", "\u00a0", " ", "", "A/B", "A=2FB", strings.Repeat("Z", 200)}
	p := b.Publisher(t, natsbus.PublisherConfig{})
	for i, symbol := range symbols {
		r := bustest.Update(int64(i))
		r.Instrument.Symbol = symbol
		require.NoError(t, p.Write(t.Context(), []marketprism.Record{r}), "%q", symbol)
	}
	stream, err := b.JS.Stream(t.Context(), natsbus.BooksStream(""))
	require.NoError(t, err)
	for i, symbol := range symbols {
		inst := bustest.BTC
		inst.Symbol = symbol
		msg, err := stream.GetLastMsgForSubject(t.Context(), natsbus.Subject("", inst, marketprism.KindUpdate))
		require.NoError(t, err, "%q", symbol)
		require.EqualValues(t, i+1, msg.Sequence, "%q", symbol)
		got, _, err := natsbus.ParseSubject("", msg.Subject)
		require.NoError(t, err)
		require.Equal(t, inst, got)
	}
}

func FuzzSubject(f *testing.F) {
	f.Add("binance", "spot", "BTC/USDT")
	f.Add("", "=", "币 \xff.*>")
	f.Fuzz(func(t *testing.T, exchange, market, symbol string) {
		inst := marketprism.Instrument{Exchange: exchange, Market: marketprism.Market(market), Symbol: symbol}
		subject := natsbus.Subject("", inst, marketprism.KindTicker)
		require.True(t, utf8.ValidString(subject))
		require.Equal(t, 4, strings.Count(subject, "."))
		require.NotContains(t, subject, "..")
		require.False(t, strings.ContainsAny(subject, " \t\r\n*>"))
		got, kind, err := natsbus.ParseSubject("", subject)
		require.NoError(t, err)
		require.Equal(t, inst, got)
		require.Equal(t, marketprism.KindTicker, kind)
	})
}

// Any bytes are either refused, or Subject returns them for their parsed parts.
func FuzzParseSubject(f *testing.F) {
	f.Add("md.binance.spot.depth.BTC=2FUSDT")
	f.Fuzz(func(t *testing.T, subject string) {
		inst, kind, err := natsbus.ParseSubject("", subject)
		if err != nil {
			require.ErrorIs(t, err, natsbus.ErrSubject)
			return
		}
		require.Equal(t, subject, natsbus.Subject("", inst, kind))
	})
}
