package main

import (
	"context"
	"sync/atomic"

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
	counts [stages][len(marketprism.Kinds) + 1]atomic.Uint64
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
	for _, k := range marketprism.Kinds {
		n += t.count(s, k)
	}
	return n
}

// counting passes records to dst and counts them at stage s once dst has accepted them.
func (t *tally) counting(s stage, dst sink.Sink) sink.Sink {
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		err := dst.Write(ctx, recs)
		if err == nil {
			t.add(s, recs)
		}
		return err
	})
}
