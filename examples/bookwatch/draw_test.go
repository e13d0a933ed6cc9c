package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rivo/uniseg"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

func levels(pairs ...string) (all []orderbook.Level) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, orderbook.Level{Price: orderbook.MustParse(pairs[i]), Quantity: orderbook.MustParse(pairs[i+1])})
	}
	return all
}

// syncedPicture is the picture of a book with all that there is to show.
func syncedPicture() *picture {
	p := &picture{
		symbols: []string{"BTCUSDT", "ETHUSDT", "币安人生USDT"}, simulated: true, state: orderbook.Synced, id: 123456789, age: 87 * time.Millisecond, latency: 3 * time.Millisecond,
		bids: levels("99999.99", "0.5", "99999.9", "1.25", "99999", "4", "99998.5", "0.001"), asks: levels("100000.01", "2", "100000.2", "0.75", "100001", "3.125", "100007", "0.00001"),
	}
	var book orderbook.Book
	book.Reset(&orderbook.Snapshot{LastID: p.id, Bids: p.bids, Asks: p.asks})
	p.measures = measure(&book, 4)
	for i := range 3 {
		p.trades = append(p.trades, marketprism.Trade{
			Price: orderbook.MustParse("100000.01"), Quantity: orderbook.MustParse("0.25"), BuyerMaker: i == 1, TradeTime: time.Date(2026, 1, 31, 12, 0, 9-i, 0, time.UTC),
		})
	}
	return p
}

var update = flag.Bool("update", false, "write the golden files of testdata again")

// Each state has its picture, in testdata; ␛ is an escape.
func TestPictures(t *testing.T) {
	changed := func(change func(*picture)) *picture {
		p := syncedPicture()
		change(p)
		return p
	}
	lost := func(p *picture) {
		p.state, p.bids, p.asks, p.measures, p.trades = orderbook.Buffering, nil, nil, measures{}, nil
	}
	for name, test := range map[string]struct {
		picture       *picture
		width, height int
		coloured      bool
	}{
		"synced":        {syncedPicture(), 100, 24, true},
		"synced-plain":  {syncedPicture(), 100, 24, false},
		"synced-narrow": {syncedPicture(), 50, 24, false},
		"synced-short":  {syncedPicture(), 100, 9, false},
		"synced-tiny":   {syncedPicture(), 12, 3, false},
		"second-symbol": {changed(func(p *picture) { p.chosen, p.simulated, p.note = 1, false, "the exchange lists it as BREAK" }), 100, 24, true},
		"one-side":      {changed(func(p *picture) { p.asks, p.measures, p.trades = nil, measures{}, nil }), 80, 24, false},
		"offline": {changed(func(p *picture) {
			lost(p)
			p.note = marketprism.Wait{For: marketprism.WaitConnection, Err: os.ErrDeadlineExceeded, Attempt: 4}.String()
		}), 80, 24, true},
		"lost": {changed(func(p *picture) {
			lost(p)
			p.note, p.gap = "waits for \"a snapshot\"\nnow", "last gap: disconnect: \x1b[2Jhostile\u202e"
		}), 80, 24, false},
	} {
		t.Run(name, func(t *testing.T) {
			lines := test.picture.draw(test.width, test.height, test.coloured)
			require.LessOrEqual(t, len(lines), test.height)
			for _, l := range lines {
				if !test.coloured {
					require.LessOrEqual(t, uniseg.StringWidth(l), test.width, l)
					require.NotContains(t, l, "\x1b")
				}
			}
			got := strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "\x1b", "␛")
			path := filepath.Join("testdata", name+".txt")
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func TestBar(t *testing.T) {
	require.Equal(t, "██████████", bar(1, 10))
	require.Equal(t, "█████", bar(0.5, 10))
	require.Equal(t, "▌", bar(0.05, 10))
	require.Equal(t, "", bar(0, 10))
}

// A terminal gets ten pictures a second at most.
func TestInterval(t *testing.T) {
	opt := options{refresh: time.Millisecond}
	require.Equal(t, time.Millisecond, opt.interval())
	opt.terminal = &terminal{}
	require.Equal(t, 100*time.Millisecond, opt.interval())
}

func TestKeys(t *testing.T) {
	require.Equal(t, []key{keyNext, keyPrevious, keyMore, keyLess, keyNext, keyPrevious, keyMore, keyMore, keyLess}, parseKeys([]byte("\x1b[C\x1b[D\x1b[A\x1b[B\tp+=-")))
	require.Equal(t, []key{keySymbol, keySymbol + 8, keyQuit, keyQuit}, parseKeys([]byte("19xq\x03")))
}
