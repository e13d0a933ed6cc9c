package sink_test

import (
	"context"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func accept(context.Context, []marketprism.Record) error { return nil }

// BenchmarkSpillDirect is what a Spill costs while the destination is there.
func BenchmarkSpillDirect(b *testing.B) {
	for _, policy := range []sink.Overflow{sink.Block, sink.DropNewest} {
		b.Run(policy.String(), func(b *testing.B) {
			s := benchSpill(b, sink.Func(accept), sink.SpillConfig{Overflow: policy})
			writeBench(b, s, 100)
		})
	}
}

// BenchmarkSpillDisk is what a Write costs that goes to the disk, where nothing reads it. The encoding is
// that of the test.
func BenchmarkSpillDisk(b *testing.B) {
	for name, sync := range map[string]time.Duration{"Sync": 0, "NoSync": -1} {
		for batch, size := range map[string]int{"1": 1, "100": 100} {
			b.Run(name+"/"+batch, func(b *testing.B) {
				s := benchSpill(b, sink.Func(accept), sink.SpillConfig{DirectTimeout: -1, SyncInterval: sync, MaxBytes: 1 << 40, SegmentBytes: 64 << 20})
				writeBench(b, s, size)
			})
		}
	}
}

// BenchmarkSpillThrough is the way over the disk and out of it again.
func BenchmarkSpillThrough(b *testing.B) {
	s := benchSpill(b, sink.Func(accept), sink.SpillConfig{DirectTimeout: -1, SyncInterval: -1})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	writeBench(b, s, 100)
	if err := s.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func benchSpill(b *testing.B, dst sink.Sink, cfg sink.SpillConfig) *sink.Spill {
	b.Helper()
	cfg.Dir, cfg.Encode, cfg.Decode = b.TempDir(), encodeRecord, decodeRecord
	s, err := sink.NewSpill(dst, cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func writeBench(b *testing.B, s *sink.Spill, batch int) {
	b.Helper()
	recs := sinktest.Records(1, batch)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(b.Context(), recs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/record")
}
