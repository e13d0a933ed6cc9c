package orderbook_test

import (
	"testing"

	"github.com/marketprism/marketprism/orderbook"
)

// FuzzBook reads bytes as changes of a book, two a level, and holds the Book against the oracle.
func FuzzBook(f *testing.F) {
	f.Add([]byte{0x01, 0x05, 0x81, 0x05, 0x02, 0x05, 0x01, 0x00})
	f.Add([]byte("best first: 9876543210, worst first: 0123456789"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b orderbook.Book
		want := newOracleBook()
		u := &orderbook.Update{}
		for i := 0; i+1 < len(data); i += 2 {
			price, quantity := data[i], data[i+1]
			level := orderbook.Level{Price: orderbook.Fixed(price & 0x3f), Quantity: orderbook.Fixed(quantity & 0x0f)}
			if price&0x80 == 0 {
				u.Bids = append(u.Bids, level)
			} else {
				u.Asks = append(u.Asks, level)
			}
			switch {
			case quantity&0xf0 == 0xf0: // the same levels, as a snapshot in whatever order they are
				s := &orderbook.Snapshot{LastID: int64(i), Bids: u.Bids, Asks: u.Asks}
				b.Reset(s)
				want.reset(s)
			case price&0x40 == 0:
				continue
			default:
				u.LastID = int64(i)
				b.Apply(u)
				want.apply(u)
			}
			u = &orderbook.Update{}
			if err := want.differs(&b); err != nil {
				t.Fatalf("at byte %d: %v", i, err)
			}
		}
		checkReads(t, &b, want)
	})
}
