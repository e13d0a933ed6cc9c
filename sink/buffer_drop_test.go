package sink_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// keys describes records shortly.
func keys(recs []marketprism.Record) []string {
	var ks []string
	for i := range recs {
		ks = append(ks, fmt.Sprint(recs[i].Instrument.Symbol, " ", recs[i].Kind(), " ", recs[i].Key()[len(recs[i].Instrument.String())+len(recs[i].Kind().String())+2:]))
	}
	return ks
}

func TestBufferDropsWhatAHoleMakesUseless(t *testing.T) {
	a := marketprism.Instrument{Exchange: "x", Market: marketprism.Spot, Symbol: "A"}
	b := marketprism.Instrument{Exchange: "x", Market: marketprism.Spot, Symbol: "B"}
	at := time.UnixMicro(0)
	record := func(i marketprism.Instrument, set func(*marketprism.Record)) marketprism.Record {
		at = at.Add(time.Second)
		r := marketprism.Record{Instrument: i, EventTime: at, ReceivedAt: at.Add(time.Millisecond)}
		set(&r)
		return r
	}
	snapshot := func(i marketprism.Instrument, id int64) marketprism.Record {
		return record(i, func(r *marketprism.Record) { r.Snapshot = &orderbook.Snapshot{LastID: id} })
	}
	update := func(i marketprism.Instrument, id int64) marketprism.Record {
		return record(i, func(r *marketprism.Record) { r.Update = &orderbook.Update{FirstID: id, LastID: id} })
	}
	trade := func(i marketprism.Instrument, id int64) marketprism.Record {
		return record(i, func(r *marketprism.Record) { r.Trade = &marketprism.Trade{ID: id} })
	}
	gap := func(i marketprism.Instrument, after int64) marketprism.Record {
		return record(i, func(r *marketprism.Record) {
			r.Gap = &orderbook.Gap{After: after, Reason: orderbook.GapDisconnect}
		})
	}
	first := []marketprism.Record{snapshot(a, 1), update(a, 2), trade(b, 70)}
	second := []marketprism.Record{
		update(a, 3), // dropped: a hole in A's book after 2
		trade(b, 71), // dropped: no mark
		gap(b, 40),   // its place is needed, but it is its own mark and stays
		trade(a, 90),
		update(a, 4), // useless behind the hole
		snapshot(b, 50),
		snapshot(a, 5),
		update(b, 51),
		update(a, 6),
		trade(b, 72),
	}
	synctest.Test(t, func(t *testing.T) {
		var dropped []marketprism.Record
		buf := run(t, sink.BufferConfig{
			MaxRecords: 10, MaxDelay: -1, Overflow: sink.DropOldest,
			Hooks: &sink.Hooks{Dropped: func(i sink.DroppedInfo) { dropped = append(dropped, i.Record.Clone()) }},
		})
		release := buf.faults.Hold()
		buf.write(t, first)
		synctest.Wait() // they are in flight, and room is left for seven
		buf.write(t, second)
		release()
		if err := buf.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := buf.stop(); err != nil {
			t.Fatal(err)
		}

		want := []string{
			"A snap 1:0x0", "A depth 2-2", "B trade 70",
			"A gap 2-overflow", "B gap 40-disconnect",
			"A trade 90", "B snap 50:0x0", "A snap 5:0x0", "B depth 51-51", "A depth 6-6", "B trade 72",
		}
		if got := keys(buf.dst.Records()); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("written\n%q, want\n%q", got, want)
		}
		if got := fmt.Sprint(keys(dropped)); got != "[A depth 3-3 B trade 71 A depth 4-4]" {
			t.Errorf("the hook told of %v", got)
		}
		hole := buf.dst.Records()[3]
		if !hole.EventTime.Equal(second[0].EventTime) || !hole.ReceivedAt.Equal(second[0].ReceivedAt) || hole.Gap.Err != sink.ErrFull {
			t.Errorf("the gap is %+v, %v; want the times of the first record lost", hole, hole.Gap.Err)
		}
		stats := sink.BufferStats{Accepted: 13, Written: 11, Batches: 2, Full: 1, Gaps: 1}
		stats.Dropped[marketprism.KindUpdate], stats.Dropped[marketprism.KindTrade] = 2, 1
		if got := buf.Stats(); got != stats {
			t.Errorf("Stats\n%+v, want\n%+v", got, stats)
		}
	})
}

// With everything in flight there is nothing older to drop than what comes.
func TestBufferDropsTheNewestBehindAFullFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxRecords: 2, MaxDelay: -1, Overflow: sink.DropOldest})
		release := b.faults.Hold()
		i := marketprism.Instrument{Exchange: "x", Market: marketprism.Spot, Symbol: "A"}
		recs := []marketprism.Record{
			{Instrument: i, Snapshot: &orderbook.Snapshot{LastID: 1}},
			{Instrument: i, Update: &orderbook.Update{FirstID: 2, LastID: 2}},
			{Instrument: i, Update: &orderbook.Update{FirstID: 3, LastID: 3}},
		}
		b.write(t, recs[:2])
		synctest.Wait()
		b.write(t, recs[2:])
		i.Symbol = "B"
		mark := []marketprism.Record{{Instrument: i, Gap: &orderbook.Gap{After: 5, Reason: orderbook.GapStale}}}
		b.write(t, mark) // it is its own mark, and must be a copy
		ruin(mark)
		flushed := make(chan error, 1)
		go func() { flushed <- b.Flush(t.Context()) }()
		synctest.Wait()
		release()
		if err := <-flushed; err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(keys(b.dst.Records())); got != "[A snap 1:0x0 A depth 2-2 A gap 2-overflow B gap 5-stale]" {
			t.Errorf("written %v", got)
		}
	})
}

// A Flush waits for the Gap that stands for a dropped record, too.
func TestBufferFlushesGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		permits := make(chan struct{})
		var dst sinktest.Recorder
		b, err := sink.NewBuffer(sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
			<-permits
			return dst.Write(ctx, recs)
		}), sink.BufferConfig{MaxRecords: 2, MaxDelay: -1, Overflow: sink.DropOldest})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		write := func(symbol string) {
			t.Helper()
			i := marketprism.Instrument{Exchange: "x", Market: marketprism.Spot, Symbol: symbol}
			rec := marketprism.Record{Instrument: i, Snapshot: &orderbook.Snapshot{LastID: 1}}
			if err := b.Write(ctx, []marketprism.Record{rec}); err != nil {
				t.Fatal(err)
			}
		}
		write("A")
		synctest.Wait() // A is in flight
		write("B")
		flushed := make(chan error, 1)
		go func() { flushed <- b.Flush(t.Context()) }()
		synctest.Wait()
		write("C") // drops B
		permits <- struct{}{}
		synctest.Wait()
		select {
		case err := <-flushed:
			t.Errorf("Flush returned %v before the Gap of B was accepted", err)
		default:
		}
		close(permits)
		if err := <-flushed; err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(keys(dst.Records())); got != "[A snap 1:0x0 B gap 0-overflow C snap 1:0x0]" {
			t.Errorf("written %v", got)
		}
	})
}

// Whatever is dropped, and however the destination fails, the contract of Record holds at the
// destination, every book that lost something has a Gap there, and every record is accounted for.
func TestBufferDropOldestKeepsTheContract(t *testing.T) {
	drops, gaps := uint64(0), uint64(0)
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			s := dropOldest(t, seed)
			drops += s.Accepted + s.Gaps - s.Written
			gaps += s.Gaps
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d records dropped, %d gaps put in", drops, gaps)
	if drops < 10_000 || gaps < 500 {
		t.Errorf("%d records dropped, %d gaps put in: too few to prove anything", drops, gaps)
	}
}

func dropOldest(t *testing.T, seed uint64) sink.BufferStats {
	rng := rand.New(rand.NewPCG(seed, 2))
	var mu sync.Mutex
	dropped := make(map[string]bool)
	cfg := sink.BufferConfig{
		MaxRecords: 1 + rng.IntN(150), MaxBatch: 1 + rng.IntN(40), MaxBytes: 3_000 + rng.IntN(150_000),
		MaxDelay: time.Second, Overflow: sink.DropOldest,
		Hooks: &sink.Hooks{Dropped: func(i sink.DroppedInfo) {
			mu.Lock()
			defer mu.Unlock()
			if dropped[i.Record.Key()] {
				t.Errorf("%s dropped twice", i.Record.Key())
			}
			dropped[i.Record.Key()] = true
		}},
	}
	b := run(t, cfg)
	recs := sinktest.Records(seed, 400)
	release := func() {}
	for rest := recs; len(rest) > 0; {
		n := min(len(rest), 1+rng.IntN(12))
		batch := cloneAll(rest[:n])
		b.write(t, batch)
		ruin(batch)
		rest = rest[n:]
		if s := b.Stats(); s.Queued > cfg.MaxRecords || s.QueuedBytes > cfg.MaxBytes {
			t.Fatalf("Stats %+v beyond the bounds of %+v", s, cfg)
		}
		switch p := rng.IntN(10); {
		case p < 2:
			release()
			release = b.faults.Hold()
		case p < 4:
			release()
		case p < 5:
			b.faults.FailAfter(rng.IntN(20), errDown)
		case p < 8:
			synctest.Wait()
		case p < 9:
			time.Sleep(time.Duration(rng.Int64N(int64(3 * time.Second))))
		}
	}
	release()
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.stop(); err != nil { // with it the last hook has returned
		t.Fatal(err)
	}
	checkDropped(t, recs, b.dst.Unique(), dropped)
	s := b.Stats()
	if total := uint64(len(dropped)); s.Accepted != 400 || s.Queued != 0 || s.Written != s.Accepted+s.Gaps-total {
		t.Errorf("Stats %+v with %d records dropped", s, total)
	}
	return s
}

func cloneAll(recs []marketprism.Record) []marketprism.Record {
	var copies []marketprism.Record
	for i := range recs {
		copies = append(copies, recs[i].Clone())
	}
	return copies
}

// ruin overwrites what recs point to, as a caller may do after Write.
func ruin(recs []marketprism.Record) {
	for i := range recs {
		switch r := &recs[i]; {
		case r.Update != nil:
			clear(r.Update.Bids)
			*r.Update = orderbook.Update{}
		case r.Snapshot != nil:
			clear(r.Snapshot.Bids)
			*r.Snapshot = orderbook.Snapshot{}
		case r.Gap != nil:
			*r.Gap = orderbook.Gap{}
		case r.Trade != nil:
			*r.Trade = marketprism.Trade{}
		case r.Ticker != nil:
			*r.Ticker = marketprism.Ticker{}
		}
	}
}

// checkDropped walks through what was sent and what arrived, side by side.
func checkDropped(t *testing.T, sent, arrived []marketprism.Record, dropped map[string]bool) {
	books := make(map[marketprism.Instrument]*arrivedBook)
	book := func(r *marketprism.Record) *arrivedBook {
		if books[r.Instrument] == nil {
			books[r.Instrument] = &arrivedBook{}
		}
		return books[r.Instrument]
	}
	// Gaps stand before everything that was not yet taken, so those of other books may come early.
	next := func() {
		for len(arrived) > 0 && arrived[0].Gap != nil && arrived[0].Gap.Reason == orderbook.GapOverflow {
			book(&arrived[0]).gap(t, arrived[0].Gap)
			arrived = arrived[1:]
		}
	}
	kept := make(map[string]bool) // Gaps of the sender that arrived before their turn
	for i := range sent {
		r := &sent[i]
		next()
		for len(arrived) > 0 && arrived[0].Gap != nil && arrived[0].Key() != r.Key() {
			kept[arrived[0].Key()] = true
			book(&arrived[0]).known = false
			arrived = arrived[1:]
			next()
		}
		switch {
		case dropped[r.Key()]:
			if r.Trade == nil && r.Ticker == nil && book(r).known {
				t.Errorf("%s was dropped from a book without a Gap", r.Key())
			}
		case kept[r.Key()]:
		case len(arrived) == 0 || !sinktest.Equal(&arrived[0], r):
			t.Errorf("%s neither arrived in its place nor was dropped", r.Key())
			return
		default:
			book(r).arrive(t, r)
			arrived = arrived[1:]
		}
	}
	if next(); len(arrived) > 0 {
		t.Errorf("%d records arrived that nobody sent, the first %s", len(arrived), arrived[0].Key())
	}
}

// An arrivedBook is what a reader of the destination knows of a book.
type arrivedBook struct {
	known  bool
	lastID int64
}

func (b *arrivedBook) gap(t *testing.T, g *orderbook.Gap) {
	if g.After != b.lastID {
		t.Errorf("Gap after %d, the last id that arrived is %d", g.After, b.lastID)
	}
	b.known = false
}

func (b *arrivedBook) arrive(t *testing.T, r *marketprism.Record) {
	switch {
	case r.Snapshot != nil:
		b.known, b.lastID = true, r.Snapshot.LastID
	case r.Gap != nil:
		b.known = false
	case r.Update != nil:
		if !b.known || r.Update.FirstID != b.lastID+1 {
			t.Errorf("%s arrived in a book at %d, known: %v", r.Key(), b.lastID, b.known)
		}
		b.lastID = r.Update.LastID
	}
}

func BenchmarkBufferWrite(b *testing.B) {
	for _, policy := range []sink.Overflow{sink.Block, sink.DropOldest} {
		b.Run(policy.String(), func(b *testing.B) {
			discard := sink.Func(func(context.Context, []marketprism.Record) error { return nil })
			buf, err := sink.NewBuffer(discard, sink.BufferConfig{Overflow: policy})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- buf.Run(ctx) }()
			recs := sinktest.Records(1, 100)
			b.ReportAllocs()
			for b.Loop() {
				if err := buf.Write(ctx, recs); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(recs)), "ns/record")
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
