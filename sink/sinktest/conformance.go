package sinktest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// An Open opens a new, empty sink for one test, and closes it by t.Cleanup.
//
// The function read returns what a reader of the sink sees once every accepted record has
// reached it: each record once, however often it was written. TestSink calls it when no Write is
// running. It may wait for the data or flush it, and calls t.Fatal if it does not come. It may be called more
// than once.
type Open func(t *testing.T) (s sink.Sink, read func(t *testing.T) []marketprism.Record)

// TestSink checks the contract of sink.Sink on the sinks that open returns, one for each subtest:
//
//   - every kind reads back exactly, extremes included (see Equal; the times are whole microseconds)
//   - in order within each instrument's book, trades, aggregates and tickers, though not between these
//     or between instruments
//   - an empty Write is accepted, and so are 5,000 records at once
//   - of records that are written again, each reads back once
//   - the caller may reuse its memory after Write
//   - Writes of different goroutines do not disturb each other
//   - a Write whose ctx has ended soon returns an error, and one that is interrupted can be repeated
//   - a record that is not valid is an error and does not harm the others
//   - the error names all such records, and a Write of the others succeeds (see sink.RefusedError)
func TestSink(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(*harness)
	}{
		{"Nothing", testNothing},
		{"Realistic", testRealistic},
		{"Extremes", testExtremes},
		{"Large", testLarge},
		{"Again", testAgain},
		{"Memory", testMemory},
		{"Concurrent", testConcurrent},
		{"Cancelled", testCancelled},
		{"CutShort", testCutShort},
		{"Invalid", testInvalid},
		{"Refused", testRefused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := &harness{T: t}
			h.sink, h.read = open(t)
			test.run(h)
		})
	}
}

// A harness is one sink under test.
type harness struct {
	*testing.T
	sink sink.Sink
	read func(t *testing.T) []marketprism.Record
}

func testNothing(h *harness) {
	h.write(nil)
	h.write([]marketprism.Record{})
	h.expect(nil)
	recs := Records(1, 3)
	h.write(recs)
	h.write(nil)
	h.expect(recs)
}

func testRealistic(h *harness) {
	recs := Records(2, 600)
	for batch := range slices.Chunk(recs, 37) {
		h.write(batch)
	}
	h.expect(recs)
}

func testExtremes(h *harness) {
	recs := Extremes()
	h.write(recs)
	h.expect(recs)
}

func testLarge(h *harness) {
	recs := Records(3, 5_000)
	h.write(recs)
	h.expect(recs)
}

func testAgain(h *harness) {
	recs := Records(4, 200)
	h.write(recs[:80])
	h.write(recs)
	h.write(recs)
	h.expect(recs)
	h.write(recs[150:])
	h.expect(recs)
}

func testMemory(h *harness) {
	want := slices.Concat(Records(5, 200), Extremes())
	var recs []marketprism.Record
	for i := range want {
		recs = append(recs, want[i].Clone())
	}
	h.write(recs)
	for i := range recs {
		if d := Diff(&want[i], &recs[i]); d != "" {
			h.Fatalf("Write changed record %d (%s): %s", i, want[i].Key(), d)
		}
	}
	for i := range recs {
		scribble(&recs[i])
	}
	h.expect(want)
}

func testConcurrent(h *harness) {
	const writers = 4
	var (
		all  []marketprism.Record
		errs [writers]error
		wg   sync.WaitGroup
	)
	for w := range writers {
		recs := recordsOf(uint64(w), fmt.Sprintf("C%dUSDT", w), 400)
		all = append(all, recs...)
		wg.Go(func() {
			for batch := range slices.Chunk(recs, 29) {
				if errs[w] = h.sink.Write(h.Context(), batch); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for w, err := range errs {
		if err != nil {
			h.Fatalf("Write of goroutine %d: %v", w, err)
		}
	}
	h.expect(all)
}

func testCancelled(h *harness) {
	recs := Records(6, 300)
	ctx, cancel := context.WithCancel(h.Context())
	cancel()
	if err := h.writeSoon(ctx, recs); err == nil {
		h.Error("Write returned nil although its ctx had ended")
	}
	h.write(recs)
	h.expect(recs)
}

func testCutShort(h *harness) {
	recs := Records(7, 2_000)
	ctx, cancel := context.WithCancel(h.Context())
	time.AfterFunc(time.Millisecond, cancel)
	err := h.writeSoon(ctx, recs)
	h.Logf("Write, cancelled after a millisecond, returned %v", err)
	h.write(recs)
	h.expect(recs)
}

func testInvalid(h *harness) {
	recs := Records(8, 40)
	for name, invalid := range invalid(recs[20].Instrument, recs[20].ReceivedAt) {
		bad := slices.Clone(recs)
		bad[20] = invalid
		for _, batch := range [][]marketprism.Record{bad, bad[20:21]} {
			if err := h.sink.Write(h.Context(), batch); err == nil {
				h.Errorf("Write accepted a record %s, in a batch of %d", name, len(batch))
			}
		}
	}
	h.write(recs)
	h.expect(recs)
}

// testRefused mixes invalid records with others: the first and the last of a batch, neighbours, and all of it.
func testRefused(h *harness) {
	recs := Records(9, 60)
	poison := slices.Collect(maps.Values(invalid(recs[0].Instrument, recs[0].ReceivedAt)))
	h.wantRefused(poison)
	var batch []marketprism.Record
	var want []int
	add := func(bad ...marketprism.Record) {
		for _, r := range bad {
			want = append(want, len(batch))
			batch = append(batch, r)
		}
	}
	add(poison[0])
	batch = append(batch, recs[:20]...)
	add(poison[1:4]...)
	batch = append(batch, recs[20:]...)
	add(poison[4:]...)
	h.wantRefused(batch, want...)
	h.write(recs)
	h.expect(recs)
}

// wantRefused writes a batch and checks which records its error names; none means all.
func (h *harness) wantRefused(batch []marketprism.Record, want ...int) {
	h.Helper()
	var got []int
	err := h.sink.Write(h.Context(), batch)
	for _, f := range sink.Refused(err, len(batch)) {
		got = append(got, f.Index)
		if f.Err == nil {
			h.Errorf("record %d is refused without a reason", f.Index)
		}
	}
	if want == nil {
		for i := range batch {
			want = append(want, i)
		}
	}
	if !slices.Equal(got, want) {
		h.Errorf("Write refused the records %v, want %v: %v", got, want, err)
	}
}

// soon bounds how long a Write may run after its ctx ended. It is generous: it detects a Write
// that hangs, not a slow one.
const soon = 30 * time.Second

// writeSoon returns the error of a Write whose ctx ends, and fails the test if it does not return.
func (h *harness) writeSoon(ctx context.Context, recs []marketprism.Record) error {
	done := make(chan error, 1)
	go func() { done <- h.sink.Write(ctx, recs) }()
	select {
	case err := <-done:
		return err
	case <-time.After(soon):
		h.Fatalf("Write did not return within %v of the end of its ctx", soon)
		return nil
	}
}

func (h *harness) write(recs []marketprism.Record) {
	h.Helper()
	if err := h.sink.Write(h.Context(), recs); err != nil {
		h.Fatalf("Write of %d records: %v", len(recs), err)
	}
}

// expect fails the test unless read returns exactly want, in the order that TestSink promises.
func (h *harness) expect(want []marketprism.Record) {
	h.Helper()
	got := h.read(h.T)
	if len(got) != len(want) {
		h.Errorf("read returned %d records, %d were written", len(got), len(want))
	}
	wanted, found := byStream(want), byStream(got)
	for s, recs := range wanted {
		compare(h, s, recs, found[s])
		delete(found, s)
	}
	for s, recs := range found {
		h.Errorf("%v: read returned %d records that were not written, the first %s", s, len(recs), recs[0].Key())
	}
}

// A stream identifies the records of one instrument whose order matters.
type stream struct {
	marketprism.Instrument
	name string
}

// byStream groups records by stream. Updates, snapshots and gaps are one stream, since their order makes a book.
func byStream(recs []marketprism.Record) map[stream][]marketprism.Record {
	streams := make(map[stream][]marketprism.Record)
	for _, r := range recs {
		s := stream{r.Instrument, r.Kind().String()}
		switch r.Kind() {
		case marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindGap:
			s.name = "book"
		}
		streams[s] = append(streams[s], r)
	}
	return streams
}

// compare reports the first difference of one stream: later ones are mostly its consequence.
func compare(h *harness, s stream, want, got []marketprism.Record) {
	h.Helper()
	for i := range min(len(want), len(got)) {
		if d := Diff(&want[i], &got[i]); d != "" {
			h.Errorf("%v: record %d of %d, %s written, %s read: %s", s, i, len(want), want[i].Key(), got[i].Key(), d)
			return
		}
	}
	switch {
	case len(got) < len(want):
		h.Errorf("%v: %d of %d records read, the first that is missing is %s", s, len(got), len(want), want[len(got)].Key())
	case len(got) > len(want):
		h.Errorf("%v: %d records read, %d written, the first too many is %s", s, len(got), len(want), got[len(want)].Key())
	}
}

// scribble overwrites r and its payload.
func scribble(r *marketprism.Record) {
	switch {
	case r.Update != nil:
		clobber(r.Update.Bids)
		clobber(r.Update.Asks)
		*r.Update = orderbook.Update{FirstID: -77, LastID: -77}
	case r.Snapshot != nil:
		clobber(r.Snapshot.Bids)
		clobber(r.Snapshot.Asks)
		*r.Snapshot = orderbook.Snapshot{LastID: -77}
	case r.Gap != nil:
		*r.Gap = orderbook.Gap{After: -77, Reason: orderbook.GapStale}
	case r.Trade != nil:
		*r.Trade = marketprism.Trade{ID: -77}
	case r.Ticker != nil:
		*r.Ticker = marketprism.Ticker{UpdateID: -77}
	}
	*r = marketprism.Record{Instrument: marketprism.Instrument{Symbol: "SCRIBBLED"}}
}

func clobber(levels []orderbook.Level) {
	for i := range levels {
		levels[i] = orderbook.Level{Price: -77, Quantity: -77}
	}
}
