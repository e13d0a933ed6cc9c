package pipeline

import (
	"context"
	"crypto/sha256"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// A stage is a step that every record passes.
type stage int

const (
	received  stage = iota // from the exchange driver
	published              // sent to the bus
	acked                  // acknowledged by the bus
	stored                 // committed by the store
	stages
)

func (s stage) String() string { return [...]string{"received", "published", "acked", "stored"}[s] }

// A tally counts records by stage and kind. It is safe for concurrent use.
type tally struct {
	counts [stages][marketprism.KindTicker + 1]atomic.Uint64
	lag    atomic.Int64 // see lastLag

	closing atomic.Uint64 // gaps received that mark the end of the collection

	// visible is called with records that are readable in the store, on the goroutines of the consumers. It may
	// be nil.
	visible func([]marketprism.Record)
}

func (t *tally) add(s stage, recs []marketprism.Record) {
	for i := range recs {
		t.counts[s][recs[i].Kind()].Add(1)
	}
}

func (t *tally) remove(s stage, recs []marketprism.Record) {
	for i := range recs {
		t.counts[s][recs[i].Kind()].Add(^uint64(0))
	}
}

func (t *tally) count(s stage, k marketprism.Kind) uint64 { return t.counts[s][k].Load() }

func (t *tally) total(s stage) uint64 {
	var n uint64
	for _, k := range marketprism.Kinds() {
		n += t.count(s, k)
	}
	return n
}

// storing passes records to dst and counts them as stored once dst has accepted them.
func (t *tally) storing(dst sink.Sink) sink.Sink {
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		if err := dst.Write(ctx, recs); err != nil {
			return err
		}
		t.add(stored, recs)
		if t.visible != nil {
			t.visible(recs)
		}
		if len(recs) > 0 {
			t.lag.Store(int64(time.Since(recs[len(recs)-1].Time())))
		}
		return nil
	})
}

// lastLag returns the age of the newest record of the last batch when it was stored, by the clocks of exchange and
// archiver.
func (t *tally) lastLag() time.Duration { return time.Duration(t.lag.Load()) }

// liveBooks holds each instrument's book, built from the collector's records. At the end the archive's books are
// compared with them. One goroutine uses it at a time.
type liveBooks map[marketprism.Instrument]*liveBook

type liveBook struct {
	orderbook.Book
	at     time.Time // of the last change, by the clock that the archive sorts by
	synced bool      // there was a snapshot
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
		b.synced = true
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
