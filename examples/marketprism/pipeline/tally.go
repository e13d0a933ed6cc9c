package pipeline

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
)

// A stage is a place that every record passes on its way.
type stage int

const (
	received  stage = iota // handed out by the exchange driver
	published              // given to the bus
	acked                  // confirmed by the bus
	stored                 // committed by the store
	stages
)

func (s stage) String() string { return [...]string{"received", "published", "acked", "stored"}[s] }

// A tally counts records by stage and kind. It is safe for concurrent use.
type tally struct {
	counts [stages][marketprism.KindTicker + 1]atomic.Uint64
	lag    atomic.Int64 // see lastLag

	// visible is told of records that can be read in the store, on the goroutines of the consumers; nil
	// means that nobody is.
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

// lastLag is how old the newest record of the last batch was when it was stored, by the clocks of
// exchange and archiver.
func (t *tally) lastLag() time.Duration { return time.Duration(t.lag.Load()) }
