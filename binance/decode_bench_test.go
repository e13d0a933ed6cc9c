package binance

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/orderbook"
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

// BenchmarkStep decodes the same events and passes each to a Syncer, which checks its ids and applies it to
// a book of so many levels a side.
func BenchmarkStep(b *testing.B) {
	for _, levels := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("levels=%d", levels), func(b *testing.B) {
			feed := eventgen.New(eventgen.Config{Levels: levels})
			frames := feed.CombinedFrames()
			syncer := syncedAt(b, &feed.Snapshot)
			now := time.UnixMilli(0)
			var d Decoder
			var m Message
			i := 0
			b.SetBytes(meanSize(frames))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Decode(frames[i], &m); err != nil {
					b.Fatal(err)
				}
				if out := syncer.Update(now, &m.Update); len(out.Events) != 1 || out.Events[0].Update == nil {
					b.Fatalf("update %d was not applied", i)
				}
				if i++; i == len(frames) {
					b.StopTimer()
					i = 0
					syncer = syncedAt(b, &feed.Snapshot)
					b.StartTimer()
				}
			}
		})
	}
}

// syncedAt returns a Syncer whose book is the snapshot.
func syncedAt(tb testing.TB, snap *orderbook.Snapshot) *orderbook.Syncer {
	s, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: orderbook.Contiguous})
	if err != nil {
		tb.Fatal(err)
	}
	now := time.UnixMilli(0)
	s.Snapshot(now, s.Connected(now).Fetch, snap)
	if s.State() != orderbook.Synced {
		tb.Fatalf("the syncer is %v", s.State())
	}
	return s
}

func meanSize(frames [][]byte) int64 {
	n := 0
	for _, f := range frames {
		n += len(f)
	}
	return int64(n / len(frames))
}

// BenchmarkDecodeEncodingJSON decodes the frames of BenchmarkDecode with encoding/json and
// shopspring/decimal, for scale.
func BenchmarkDecodeEncodingJSON(b *testing.B) {
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
