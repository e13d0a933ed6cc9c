package binancetest_test

import (
	"testing"

	"github.com/marketprism/marketprism/binance/binancetest"
)

// BenchmarkInterval is one interval of one busy symbol: fifty changes, and their event to one subscriber.
func BenchmarkInterval(b *testing.B) {
	s, err := binancetest.New(binancetest.Config{Tick: -1, Symbols: []binancetest.Symbol{{Name: "BTCUSDT", Rate: 500, Levels: 1000}}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ws, _, err := tryDial(s, "/ws/btcusdt@depth@100ms")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Walk(); err != nil {
			b.Fatal(err)
		}
		s.Tick()
		if _, _, err := ws.ReadMessage(); err != nil {
			b.Fatal(err)
		}
	}
}
