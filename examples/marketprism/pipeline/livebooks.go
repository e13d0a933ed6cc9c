package pipeline

import (
	"crypto/sha256"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// liveBooks holds each instrument's book as the collector's records tell it: seeded by Snapshot,
// moved by Update. It is what the archive's books are held against at the end, and it stays readable
// after the feed has ended. One goroutine uses it at a time.
type liveBooks map[marketprism.Instrument]*liveBook

type liveBook struct {
	orderbook.Book
	at    time.Time // when it last changed, by the clock that the archive sorts by
	known bool      // a snapshot came
}

func (l liveBooks) apply(r *marketprism.Record) {
	b := l[r.Instrument]
	if b == nil {
		b = new(liveBook)
		l[r.Instrument] = b
	}
	switch r.Kind() {
	case marketprism.KindSnapshot:
		b.Reset(r.Snapshot)
		b.known = true
	case marketprism.KindUpdate:
		b.Apply(r.Update)
	default:
		return
	}
	if t := r.Time(); t.After(b.at) {
		b.at = t
	}
}

// hash identifies the levels of a book.
func hash(b *orderbook.Book) [sha256.Size]byte {
	text, _ := b.AppendText(nil) // never fails
	return sha256.Sum256(text)
}
