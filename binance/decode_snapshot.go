package binance

import (
	"slices"

	"github.com/marketprism/marketprism/orderbook"
)

const snapshotFields fieldSet = 1<<fieldLastID | 1<<fieldBids | 1<<fieldAsks

// DecodeSnapshot decodes a REST depth answer into snap, whose slices are used again: of spot
// {lastUpdateId,bids,asks}, of USDⓈ-M also E and T, of COIN-M also symbol and pair. symbol is "" where
// the answer has none. Levels keep their order; one of quantity 0 is no level and is left out.
//
// The error is a *DecodeError. snap is then not meaningful.
func (d *Decoder) DecodeSnapshot(body []byte, snap *orderbook.Snapshot) (symbol string, err error) {
	*snap = orderbook.Snapshot{Bids: snap.Bids[:0], Asks: snap.Asks[:0]}
	d.scan.Reset(body)
	symbol = d.snapshot(snap)
	d.scan.End()
	if err := d.scan.Err(); err != nil {
		return "", newDecodeError("", body, d.scan.Offset(), err)
	}
	return symbol, nil
}

func (d *Decoder) snapshot(snap *orderbook.Snapshot) (symbol string) {
	s := &d.scan
	var seen fieldSet
	s.Object()
	for f, ok := d.next(&seen); ok; f, ok = d.next(&seen) {
		switch f {
		case fieldLastID:
			snap.LastID = s.Int()
		case fieldBids:
			snap.Bids = withoutEmpty(s.Levels(snap.Bids))
		case fieldAsks:
			snap.Asks = withoutEmpty(s.Levels(snap.Asks))
		case fieldEventTime:
			snap.EventTime = d.time()
		case fieldTime:
			snap.TransactTime = d.time()
		case fieldLongSymbol:
			symbol = s.Interned(&d.names.symbols)
		default:
			s.Skip()
		}
	}
	d.require(seen, snapshotFields)
	return symbol
}

func withoutEmpty(levels []orderbook.Level) []orderbook.Level {
	return slices.DeleteFunc(levels, func(l orderbook.Level) bool { return l.Quantity == 0 })
}
