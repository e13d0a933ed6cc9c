package bot_test

import (
	"context"
	"testing"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/chstore/chtest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/natstest"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"

	"example.com/newcomer/bot"
)

func TestMain(m *testing.M) { chtest.Main(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a bot on a fake exchange, through a gap and a lost connection, into a sink.
func run(t *testing.T, records sink.Sink) {
	t.Helper()
	srv, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT"), Tick: 10 * time.Millisecond})
	must(t, err)
	defer srv.Close()
	client, err := binance.NewClient(binance.Config{Endpoints: srv.Endpoints()})
	must(t, err)
	b := bot.New(records)
	var seen binancetest.Observer
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: []string{"BTCUSDT"}, Handler: seen.Handler(b.Handler())})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- books.Run(ctx) }()

	_, err = seen.Synced(t.Context(), "BTCUSDT")
	must(t, err)
	fair, exact, err := bot.Fair(books, "BTCUSDT")
	if err != nil || !exact || fair < orderbook.MustParse("99000") || fair > orderbook.MustParse("101000") || !b.Quoting() {
		t.Errorf("fair price %v, exact %t, quoting %t: %v", fair, exact, b.Quoting(), err)
	}
	srv.Disconnect(binancetest.CloseGoingAway, "")
	gap, err := seen.Gap(t.Context(), "BTCUSDT")
	if err != nil || gap.Reason != orderbook.GapDisconnect {
		t.Errorf("gap %+v: %v", gap, err)
	}
	_, err = seen.Synced(t.Context(), "BTCUSDT")
	must(t, err)
	stop()
	must(t, <-ended)
	if b.Quoting() {
		t.Error("the bot quotes after its end")
	}
}

func TestToTheBus(t *testing.T) {
	srv := natstest.Start(t)
	bus, err := natsbus.Open(t.Context(), srv.URL())
	must(t, err)
	defer bus.Close()
	run(t, bus)
	stats, err := natsbus.ReadStreamStats(t.Context(), srv.JetStream(t), natsbus.BooksStream(natsbus.DefaultPrefix))
	if err != nil || stats.Messages == 0 {
		t.Errorf("the bus has %+v: %v", stats, err)
	}
}

func TestToTheArchive(t *testing.T) {
	db := chtest.Open(t)
	store, err := chstore.Open(t.Context(), db.DSN(), chstore.Config{Database: db.Name})
	must(t, err)
	defer store.Close()
	run(t, store)
	var gaps uint64
	must(t, db.Conn.QueryRow(t.Context(), "SELECT uniqExact(*) FROM gaps").Scan(&gaps))
	if gaps != 2 {
		t.Errorf("the archive has %d gaps, of the lost connection and of the end", gaps)
	}
}
