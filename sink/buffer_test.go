package sink_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook/hooktest"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

var errDown = errors.New("down for the test")

// running is a Buffer with Run running until stop.
type running struct {
	*sink.Buffer
	dst    sinktest.Recorder
	faults sinktest.Faults
	stop   func() error // ends the ctx of Run and returns what Run returned
}

func run(t *testing.T, cfg sink.BufferConfig) *running {
	t.Helper()
	r := &running{}
	var err error
	if r.Buffer, err = sink.NewBuffer(r.faults.Wrap(&r.dst), cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) write(t *testing.T, recs []marketprism.Record) {
	t.Helper()
	if err := r.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
}

// wantSame fails the test unless got is want, exactly and in order.
func wantSame(t *testing.T, got, want []marketprism.Record) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if d := sinktest.Diff(&want[i], &got[i]); d != "" {
			t.Fatalf("record %d: %s", i, d)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
}

func TestBufferIsASink(t *testing.T) {
	configs := map[string]sink.BufferConfig{
		"Default":    {},
		"Small":      {MaxRecords: 50, MaxBatch: 7, MaxDelay: -1},
		"FewBytes":   {MaxBytes: 256 + 16*10_000},
		"Fail":       {Overflow: sink.Fail},
		"DropOldest": {Overflow: sink.DropOldest},
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
				cfg.RetryMin, cfg.RetryMax = time.Microsecond, time.Millisecond
				b := run(t, cfg)
				b.faults.FailNext(2, errDown)
				b.faults.FailAfter(3, errDown)
				b.faults.FailAfter(1<<30, errDown) // accepted, but the Write fails
				return b, func(t *testing.T) []marketprism.Record {
					if err := b.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
					return b.dst.Unique()
				}
			})
		})
	}
}

func TestBufferBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxBatch: 10, MaxDelay: time.Second})
		recs := sinktest.Records(1, 35)
		start := time.Now()
		arrived := func(n int, after time.Duration) {
			t.Helper()
			got, err := b.dst.Wait(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); len(got) != n || d != after {
				t.Fatalf("%d records came after %v, want %d after %v", len(got), d, n, after)
			}
		}

		b.write(t, recs[:3])
		arrived(3, time.Second)

		time.Sleep(time.Second)
		b.write(t, recs[3:9])
		time.Sleep(time.Second / 2)
		b.write(t, recs[9:]) // three full batches, which are due at once, and two records more
		synctest.Wait()
		arrived(33, 2500*time.Millisecond)
		arrived(35, 3500*time.Millisecond)

		if w := b.dst.Writes(); !slices.Equal(w, []int{3, 10, 10, 10, 2}) {
			t.Fatalf("batches of %v records", w)
		}
		wantSame(t, b.dst.Records(), recs)
	})
}

func TestBufferWithoutDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxDelay: -1})
		start := time.Now()
		b.write(t, sinktest.Records(1, 2))
		synctest.Wait()
		if n := len(b.dst.Records()); n != 2 || time.Since(start) != 0 {
			t.Fatalf("%d records after %v", n, time.Since(start))
		}
	})
}

func TestBufferRepeatsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed []sink.FailedInfo
		var written []sink.WrittenInfo
		b := run(t, sink.BufferConfig{
			MaxBatch: 10, RetryMin: time.Second, RetryMax: 4 * time.Second,
			Hooks: &sink.Hooks{
				Failed:  func(i sink.FailedInfo) { failed = append(failed, i) },
				Written: func(i sink.WrittenInfo) { written = append(written, i) },
			},
		})
		b.faults.FailAfter(4, errDown) // a prefix is accepted
		b.faults.FailNext(8, errDown)
		recs := sinktest.Records(2, 35)
		b.write(t, recs)
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSame(t, b.dst.Unique(), recs)
		if len(failed) != 9 || len(written) != 4 || written[0].Attempts != 10 || written[1].Attempts != 1 {
			t.Fatalf("hooks told of failures %+v and successes %+v", failed, written)
		}
		var delays time.Duration
		for i, f := range failed {
			if f.Attempts != i+1 || f.Records != 10 || !errors.Is(f.Err, errDown) || f.Delay > 4*time.Second {
				t.Errorf("failure %d: %+v", i, f)
			}
			delays += f.Delay
		}
		if written[0].Elapsed != delays {
			t.Errorf("it took %v, the delays were %v", written[0].Elapsed, delays)
		}
		want := sink.BufferStats{Accepted: 35, Written: 35, Batches: 4, Retries: 9}
		if got := b.Stats(); !reflect.DeepEqual(got, want) {
			t.Errorf("Stats %+v, want %+v", got, want)
		}
	})
}

func TestBufferBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := make(chan sink.FullInfo, 10)
		b := run(t, sink.BufferConfig{
			MaxRecords: 20, Hooks: &sink.Hooks{Full: func(i sink.FullInfo) { full <- i }},
		})
		release := b.faults.Hold()
		recs := sinktest.Records(3, 60)
		done := make(chan error, 1)
		go func() { done <- b.Write(t.Context(), recs) }()
		synctest.Wait()
		if s := b.Stats(); s.Queued != 20 || s.Accepted != 20 || s.Full != 1 {
			t.Fatalf("Stats %+v", s)
		}
		if i := <-full; i.Overflow != sink.Block || i.Records != 20 {
			t.Fatalf("hook told %+v", i)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Write(ctx, recs[:1]); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Write without room returned %v", err)
		}

		release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSame(t, b.dst.Records(), recs)
	})
}

// A record without room makes the queued ones due: its Write does not wait for their MaxDelay.
func TestBufferMakesRoomAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxBytes: 1000, MaxDelay: time.Hour})
		b.write(t, []marketprism.Record{trade("A", 1)})
		big := snapshot("B", 1)
		big.Snapshot.Bids = make([]orderbook.Level, 35)
		start := time.Now()
		b.write(t, []marketprism.Record{big})
		if waited := time.Since(start); waited > 0 {
			t.Errorf("Write waited %v for an idle destination", waited)
		}
	})
}

func TestBufferBoundsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		levels := make([]orderbook.Level, 100)
		big := marketprism.Record{ReceivedAt: received, Snapshot: &orderbook.Snapshot{Bids: levels[:60], Asks: levels[60:]}}
		const size = 256 + 100*16
		b := run(t, sink.BufferConfig{MaxBytes: 3 * size, MaxDelay: time.Hour, Overflow: sink.Fail})
		defer b.faults.Hold()()
		b.write(t, []marketprism.Record{big})
		b.write(t, []marketprism.Record{big})
		synctest.Wait()
		if writes, _ := b.faults.Writes(); writes != 1 {
			t.Error("no batch was due with half the bytes in use")
		}
		b.write(t, []marketprism.Record{big})
		if s := b.Stats(); s.QueuedBytes != 3*size || s.Queued != 3 {
			t.Errorf("Stats %+v", s)
		}
		if err := b.Write(t.Context(), sinktest.Records(1, 1)); !errors.Is(err, sink.ErrFull) {
			t.Errorf("Write beyond MaxBytes returned %v", err)
		}
		levels = make([]orderbook.Level, 301)
		big.Snapshot.Bids = levels
		if err := b.Write(t.Context(), []marketprism.Record{big}); !errors.Is(err, sink.ErrTooLarge) {
			t.Errorf("Write of a record larger than MaxBytes returned %v", err)
		}
	})
}

func TestBufferFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxRecords: 20, Overflow: sink.Fail})
		release := b.faults.Hold()
		recs := sinktest.Records(4, 30)
		b.write(t, recs[:15])
		if err := b.Write(t.Context(), recs[15:]); !errors.Is(err, sink.ErrFull) {
			t.Fatalf("Write beyond MaxRecords returned %v", err)
		}
		if s := b.Stats(); s.Accepted != 15 || s.Full != 1 {
			t.Fatalf("Stats %+v", s)
		}
		b.write(t, recs[15:20])
		release()
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.write(t, recs[20:])
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		wantSame(t, b.dst.Records(), recs)
	})
}

func TestNewBufferChecks(t *testing.T) {
	if _, err := sink.NewBuffer(nil, sink.BufferConfig{}); err == nil {
		t.Error("no destination was accepted")
	}
	for _, cfg := range []sink.BufferConfig{
		{MaxRecords: -1}, {MaxBytes: -1}, {MaxBatch: -1}, {Overflow: 3},
		{RetryMin: -1}, {RetryMin: 2, RetryMax: 1},
	} {
		if _, err := sink.NewBuffer(&sinktest.Recorder{}, cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	for _, cfg := range []sink.BufferConfig{{RetryMin: time.Hour}, {RetryMax: time.Millisecond}} {
		if _, err := sink.NewBuffer(&sinktest.Recorder{}, cfg); err != nil {
			t.Errorf("one bound beyond the default of the other: %v", err)
		}
	}
}

// keys returns short descriptions of records.
func keys(recs []marketprism.Record) []string {
	var ks []string
	for i := range recs {
		ks = append(ks, fmt.Sprint(recs[i].Instrument.Symbol, " ", recs[i].Kind(), " ", recs[i].Key()[len(recs[i].Instrument.String())+len(recs[i].Kind().String())+2:]))
	}
	return ks
}

func TestBufferDropsUselessUpdates(t *testing.T) {
	a := marketprism.Instrument{Exchange: "x", Market: marketprism.Spot, Symbol: "A"}
	b := marketprism.Instrument{Exchange: "x", Market: marketprism.Spot, Symbol: "B"}
	at := received
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
		return record(i, func(r *marketprism.Record) { r.Trade = &marketprism.Trade{ID: id, TradeTime: at} })
	}
	gap := func(i marketprism.Instrument, after int64) marketprism.Record {
		return record(i, func(r *marketprism.Record) {
			r.Gap = &orderbook.Gap{After: after, Reason: orderbook.GapDisconnect}
		})
	}
	first := []marketprism.Record{snapshot(a, 1), update(a, 2), trade(b, 70)}
	second := []marketprism.Record{
		update(a, 3), // dropped: ends A's book after 2
		trade(b, 71), // dropped without a Gap
		gap(b, 40),   // its room is needed, but it stays as a Gap
		trade(a, 90),
		update(a, 4), // useless after the Gap
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
		synctest.Wait() // they are in flight, with room for seven more
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
			t.Errorf("the hook reported %v", got)
		}
		lost := buf.dst.Records()[3]
		if !lost.EventTime.Equal(second[0].EventTime) || !lost.ReceivedAt.Equal(second[0].ReceivedAt) || lost.Gap.Err != sink.ErrFull {
			t.Errorf("the gap is %+v, %v; want the times of the first record lost", lost, lost.Gap.Err)
		}
		stats := sink.BufferStats{
			Accepted: 13, Written: 11, Batches: 2, Full: 1, Gaps: 1,
			Dropped: map[marketprism.Kind]uint64{marketprism.KindUpdate: 2, marketprism.KindTrade: 1},
		}
		if got := buf.Stats(); !reflect.DeepEqual(got, stats) {
			t.Errorf("Stats\n%+v, want\n%+v", got, stats)
		}
	})
}

// If all records are in flight, the new one is dropped.
func TestBufferDropsTheNewestBehindAFullFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxRecords: 2, MaxDelay: -1, Overflow: sink.DropOldest})
		release := b.faults.Hold()
		i := marketprism.Instrument{Exchange: "x", Market: marketprism.Spot, Symbol: "A"}
		recs := []marketprism.Record{
			{Instrument: i, ReceivedAt: received, Snapshot: &orderbook.Snapshot{LastID: 1}},
			{Instrument: i, ReceivedAt: received, Update: &orderbook.Update{FirstID: 2, LastID: 2}},
			{Instrument: i, ReceivedAt: received, Update: &orderbook.Update{FirstID: 3, LastID: 3}},
		}
		b.write(t, recs[:2])
		synctest.Wait()
		b.write(t, recs[2:])
		i.Symbol = "B"
		mark := []marketprism.Record{{Instrument: i, ReceivedAt: received, Gap: &orderbook.Gap{After: 5, Reason: orderbook.GapStale}}}
		b.write(t, mark) // it stays as a Gap, and must be a copy
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

// A Flush waits for the Gap of a dropped record, too.
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
			rec := marketprism.Record{Instrument: i, ReceivedAt: received, Snapshot: &orderbook.Snapshot{LastID: 1}}
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
		// The Gap of B, of which nothing was written, has the id of what was dropped: a reader of an earlier process may be there.
		if got := fmt.Sprint(keys(dst.Records())); got != "[A snap 1:0x0 B gap 1-overflow C snap 1:0x0]" {
			t.Errorf("written %v", got)
		}
	})
}

// Whatever is dropped, and however the destination fails, the contract of Record holds at the
// destination, every book that lost a record has a Gap there, and every record is accounted for.
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
	if err := b.stop(); err != nil { // after it no hook runs
		t.Fatal(err)
	}
	checkDropped(t, recs, b.dst.Unique(), dropped, true)
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

// ruin overwrites the payloads of recs, as a caller may do after Write.
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

// checkDropped compares the sent records with those that arrived, in order. With exact, a Gap is after the last record that
// arrived; otherwise it may be later, for readers that have records of a Write that was not confirmed.
func checkDropped(t *testing.T, sent, arrived []marketprism.Record, dropped map[string]bool, exact bool) {
	books := make(map[marketprism.Instrument]*arrivedBook)
	for i := range sent {
		if r := &sent[i]; books[r.Instrument] == nil && endOf(r) > 0 {
			books[r.Instrument] = &arrivedBook{lastID: endOf(r)} // a Gap before anything has arrived has the id of what is lost
		}
	}
	book := func(r *marketprism.Record) *arrivedBook { return books[r.Instrument] }
	// A Gap goes to the front of the next batch, so it may come before records of other books.
	next := func() {
		for len(arrived) > 0 && arrived[0].Gap != nil && arrived[0].Gap.Reason == orderbook.GapOverflow {
			book(&arrived[0]).gap(t, arrived[0].Gap, exact)
			arrived = arrived[1:]
		}
	}
	kept := make(map[string]bool) // Gaps of the sender that arrived early
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

// An arrivedBook is the state of a book by the records that arrived.
type arrivedBook struct {
	known  bool
	lastID int64
}

func (b *arrivedBook) gap(t *testing.T, g *orderbook.Gap, exact bool) {
	if g.After < b.lastID || exact && g.After > b.lastID {
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

func TestHooksAreComplete(t *testing.T) { hooktest.Complete(t, sink.TeeHooks, sink.LogHooks) }

func TestSpillHooksAreComplete(t *testing.T) {
	hooktest.Complete(t, sink.TeeSpillHooks, sink.LogSpillHooks)
}
