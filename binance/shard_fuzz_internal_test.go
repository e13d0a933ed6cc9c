package binance

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// framesOf divides data into frames: two bytes of length, then the frame.
func framesOf(data []byte) (frames [][]byte) {
	for len(data) > 2 && len(frames) < 64 {
		n := min(int(binary.LittleEndian.Uint16(data)), len(data)-2)
		frames = append(frames, data[2:2+n])
		data = data[2+n:]
	}
	return frames
}

// Any frames go through the whole driver, from the connection to the Handler: every record is sound, and updates come only
// for a synced book and follow it.
func FuzzDriver(f *testing.F) {
	join := func(frames ...[]byte) (all []byte) {
		for _, frame := range frames {
			all = append(binary.LittleEndian.AppendUint16(all, uint16(len(frame))), frame...)
		}
		return all
	}
	depth := func(first, last int64) []byte {
		frame := depthMessage{root: 26, entry: 16, symbol: "BTCUSDT", price: -2, quantity: -2, bids: [][2]int64{{100, 1}}, asks: [][2]int64{{200, 0}}}.frame()
		binary.LittleEndian.PutUint64(frame[16:], uint64(first))
		binary.LittleEndian.PutUint64(frame[24:], uint64(last))
		return frame
	}
	f.Add(true, join(unhex(f, sbeDepthHex), unhex(f, sbeTradesHex), unhex(f, sbeTickerHex)))
	f.Add(true, join(depth(101, 101), depth(102, 110), depth(200, 201), depth(1, 2)))
	early := depth(101, 101)
	copy(early[8:], make([]byte, 8)) // in 1970
	f.Add(true, join(early, depth(102, 102)))
	f.Add(false, join(depthFrames(3)...))
	for _, s := range samples() {
		f.Add(false, join([]byte(s.frame), depth(101, 102)))
	}
	f.Fuzz(func(t *testing.T, sbe bool, data []byte) {
		cfg := Config{}
		if sbe {
			cfg = Config{SBE: true, APIKey: "key"}
		}
		last := int64(100) // of the book; -1 while it is lost
		_, s := syncedDepthOn(t, cfg, func(_ context.Context, rec *marketprism.Record) error {
			if err := rec.Validate(); err != nil {
				t.Errorf("%+v: %v", rec, err)
			}
			switch {
			case rec.Update != nil && (last < 0 || !orderbook.Contiguous.Follows(last, rec.Update)):
				t.Errorf("update %d to %d after %d", rec.Update.FirstID, rec.Update.LastID, last)
			case rec.Update != nil:
				last = rec.Update.LastID
			case rec.Snapshot != nil:
				last = rec.Snapshot.LastID
			case rec.Gap != nil:
				last = -1
			}
			return nil
		})
		life, end := context.WithCancel(t.Context())
		end() // no request for missing trades goes out
		s.life = life
		now := time.Now()
		c := s.conns.conns[0]
		for _, frame := range framesOf(data) {
			if s.conns.conns[0] != c {
				return // the frame has ended the connection
			}
			if err := s.step(t.Context(), now, c, frame, now.UTC()); err != nil {
				t.Fatal(err)
			}
			s.backfills.running.Wait()
			if err := s.doTasks(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
	})
}
