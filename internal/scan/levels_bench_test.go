package scan

import (
	"fmt"
	"testing"

	"github.com/marketprism/marketprism/orderbook"
)

// BenchmarkLevels reads 40 levels: as spot writes them, as futures do, and without trailing zeros, where each
// level has a form of its own.
func BenchmarkLevels(b *testing.B) {
	quantity := func(i int) orderbook.Fixed {
		return orderbook.Fixed(i*i*i%37) * orderbook.One / 1000 * orderbook.Fixed(1+i%11*90)
	}
	for _, form := range []struct {
		name  string
		level func(b []byte, price, quantity orderbook.Fixed) []byte
	}{
		{"eightDecimals", func(b []byte, p, q orderbook.Fixed) []byte {
			return fmt.Appendf(b, `,["%d.%08d","%d.%08d"]`, p/orderbook.One, p%orderbook.One, q/orderbook.One, q%orderbook.One)
		}},
		{"integerQuantities", func(b []byte, p, q orderbook.Fixed) []byte {
			return fmt.Appendf(b, `,["%d.%02d","%d"]`, p/orderbook.One, p%orderbook.One/1e6, q/orderbook.One)
		}},
		{"trimmed", func(b []byte, p, q orderbook.Fixed) []byte {
			return fmt.Appendf(b, `,["%v","%v"]`, p, q)
		}},
	} {
		var text []byte
		for i := range 40 {
			text = form.level(text, 65000*orderbook.One+orderbook.Fixed(i*7)*orderbook.One/100, quantity(i))
		}
		text = append(append([]byte("["), text[1:]...), "]}}"...)
		b.Run(form.name, func(b *testing.B) {
			var s Scanner
			var levels []orderbook.Level
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				s.Reset(text)
				levels = s.Levels(levels[:0])
			}
			if s.Err() != nil || len(levels) != 40 {
				b.Fatal(s.Err())
			}
		})
	}
}
