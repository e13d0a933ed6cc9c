package eventgen

import (
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/orderbook"
)

// SnapshotJSON returns the snapshot as Binance spot's REST depth answer.
func (f *Feed) SnapshotJSON() []byte {
	b := fmt.Appendf(nil, `{"lastUpdateId":%d,"bids":`, f.Snapshot.LastID)
	b = appendLevels(b, f.Snapshot.Bids)
	b = append(b, `,"asks":`...)
	b = appendLevels(b, f.Snapshot.Asks)
	return append(b, '}')
}

// RawFrames returns each update as Binance spot sends it on a raw connection.
func (f *Feed) RawFrames() [][]byte {
	frames := make([][]byte, len(f.Updates))
	for i := range f.Updates {
		frames[i] = AppendUpdate(nil, f.Symbol, &f.Updates[i])
	}
	return frames
}

// CombinedFrames returns each update as Binance spot sends it on a combined connection.
func (f *Feed) CombinedFrames() [][]byte {
	frames := make([][]byte, len(f.Updates))
	for i := range f.Updates {
		b := fmt.Appendf(nil, `{"stream":"%s@depth@100ms","data":`, strings.ToLower(f.Symbol))
		frames[i] = append(AppendUpdate(b, f.Symbol, &f.Updates[i]), '}')
	}
	return frames
}

// AppendUpdate appends an update as Binance spot sends it on a raw connection.
func AppendUpdate(b []byte, symbol string, u *orderbook.Update) []byte {
	b = fmt.Appendf(b, `{"e":"depthUpdate","E":%d,"s":"%s","U":%d,"u":%d,"b":`,
		u.EventTime.UnixMilli(), symbol, u.FirstID, u.LastID)
	b = appendLevels(b, u.Bids)
	b = append(b, `,"a":`...)
	b = appendLevels(b, u.Asks)
	return append(b, '}')
}

// appendLevels writes numbers as Binance spot does, padded to eight decimals.
func appendLevels(b []byte, levels []orderbook.Level) []byte {
	b = append(b, '[')
	for i, l := range levels {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `["%d.%08d","%d.%08d"]`,
			l.Price/orderbook.One, l.Price%orderbook.One, l.Quantity/orderbook.One, l.Quantity%orderbook.One)
	}
	return append(b, ']')
}
