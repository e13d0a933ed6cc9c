package binance

import (
	"encoding/json"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/marketprism/marketprism/internal/eventgen"
)

// BenchmarkDecode decodes depth events of 20 to 60 levels, 1.4 kB.
func BenchmarkDecode(b *testing.B) {
	feed := eventgen.New(eventgen.Config{})
	for _, form := range []struct {
		name   string
		frames [][]byte
	}{{"combined", feed.CombinedFrames()}, {"raw", feed.RawFrames()}} {
		b.Run(form.name, func(b *testing.B) {
			var d Decoder
			var m Message
			i := 0
			b.SetBytes(meanSize(form.frames))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Decode(form.frames[i], &m); err != nil {
					b.Fatal(err)
				}
				if i++; i == len(form.frames) {
					i = 0
				}
			}
		})
	}
}

func meanSize(frames [][]byte) int64 {
	n := 0
	for _, f := range frames {
		n += len(f)
	}
	return int64(n / len(frames))
}

// BenchmarkEncodingJSON decodes the frames of BenchmarkDecode as most programs do.
func BenchmarkEncodingJSON(b *testing.B) {
	frames := eventgen.New(eventgen.Config{}).CombinedFrames()
	i := 0
	b.SetBytes(meanSize(frames))
	b.ReportAllocs()
	for b.Loop() {
		var m struct {
			Stream string `json:"stream"`
			Data   struct {
				Event   string               `json:"e"`
				Time    int64                `json:"E"`
				Symbol  string               `json:"s"`
				FirstID int64                `json:"U"`
				LastID  int64                `json:"u"`
				Bids    [][2]decimal.Decimal `json:"b"`
				Asks    [][2]decimal.Decimal `json:"a"`
			} `json:"data"`
		}
		if err := json.Unmarshal(frames[i], &m); err != nil {
			b.Fatal(err)
		}
		if i++; i == len(frames) {
			i = 0
		}
	}
}
