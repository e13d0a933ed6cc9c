package binance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// syncedShard returns the shard of one symbol, whose book is at id 100, without a connection.
func syncedShard(tb testing.TB, handler Handler) *shard {
	tb.Helper()
	_, s := syncedDepth(tb, handler)
	return s
}

// syncedDepth is syncedShard with its DepthSyncer.
func syncedDepth(tb testing.TB, handler Handler) (*DepthSyncer, *shard) {
	tb.Helper()
	return syncedDepthOn(tb, Config{}, handler)
}

// syncedDepthOn is syncedDepth on a Client of that Config.
func syncedDepthOn(tb testing.TB, cfg Config, handler Handler) (*DepthSyncer, *shard) {
	tb.Helper()
	c, err := NewClient(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	d, err := NewDepthSyncer(c, DepthConfig{Symbols: []string{"BTCUSDT"}, Trades: true, Tickers: true, Handler: handler})
	if err != nil {
		tb.Fatal(err)
	}
	s, b := d.allShards()[0], d.books.Get("BTCUSDT")
	now := time.Now()
	s.begin(now)
	l := &conn{slot: s.conns.slots[0], stream: &Stream{}, cancel: func() {}, outbox: newOutbox(s.cfg.StreamsPerConn, time.Hour)}
	s.conns.slots[0].current, s.conns.conns[0] = l, l
	for _, sub := range s.streams.ordered {
		sub.arbiter.addLeg(0, now)
		sub.arbiter.restart()
	}
	out := b.syncer.Connected(now)
	snap := &orderbook.Snapshot{LastID: 100}
	for i := range orderbook.Fixed(1000) {
		snap.Bids = append(snap.Bids, orderbook.Level{Price: (100_000 - i) * orderbook.One, Quantity: orderbook.One})
		snap.Asks = append(snap.Asks, orderbook.Level{Price: (100_001 + i) * orderbook.One, Quantity: orderbook.One})
	}
	b.syncer.Snapshot(now, out.Fetch, snap)
	return d, s
}

// depthFrames are n events that follow id 100, each with 20 levels a side near the touch. Prices and quantities
// are drawn, since no processor can predict the real ones.
func depthFrames(n int) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	levels := func(touch, step int) string {
		var side []string
		for range 20 {
			quantity := [...]string{"0.00000000", "0.02500000", "1.50000000"}[random.IntN(3)]
			side = append(side, fmt.Sprintf(`["%d.00000000","%s"]`, touch, quantity))
			touch += step * (1 + random.IntN(10))
		}
		return strings.Join(side, ",")
	}
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = fmt.Appendf(nil, `{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1770000000182,"s":"BTCUSDT","U":%d,"u":%d,"b":[%s],"a":[%s]}}`,
			101+i, 101+i, levels(100_000, -1), levels(100_001, 1))
	}
	return frames
}

func TestShardStepDoesNotAllocate(t *testing.T) {
	records := 0
	s := syncedShard(t, func(_ context.Context, rec *marketprism.Record) error {
		if rec.Update == nil {
			t.Error("no Update")
		}
		records++
		return nil
	})
	const runs = 500
	frames := depthFrames(runs + 12)
	ctx := t.Context()
	at := time.Now().UTC()
	next := 0
	step := func() {
		if err := s.step(ctx, at, s.conns.conns[0], frames[next], at); err != nil {
			t.Fatal(err)
		}
		next++
	}
	for range 10 {
		step()
	}
	if n := testing.AllocsPerRun(runs, step); n != 0 {
		t.Errorf("%v allocations for a depth event", n)
	}
	if b := s.streams.books["BTCUSDT"]; records != next || b.syncer.Book().LastID() != int64(100+next) {
		t.Errorf("%d records of %d events, book at %d", records, next, b.syncer.Book().LastID())
	}
}

func BenchmarkShardStep(b *testing.B) {
	s := syncedShard(b, nil)
	frames := depthFrames(10_000)
	at := time.Now().UTC()
	b.SetBytes(int64(len(frames[0])))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i == len(frames) {
			b.StopTimer()
			s, i = syncedShard(b, nil), 0
			b.StartTimer()
		}
		if err := s.step(b.Context(), at, s.conns.conns[0], frames[i], at); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func TestLostFrameOfAnUnknownStreamResyncsAllBooks(t *testing.T) {
	s := syncedShard(t, nil)
	if st := s.streams.ofFrame([]byte(`{"stream":"btcusdt@trade","data":{}}`)); st == nil || st.depth {
		t.Errorf("stream: %+v", st)
	}
	for _, frame := range []string{`{"data":{},"stream":"btcusdt@trade"}`, `{"stream":"btc`, `{"stream":"x","data":1}`, ``} {
		if st := s.streams.ofFrame([]byte(frame)); st != nil {
			t.Errorf("%s: %+v", frame, st)
		}
	}
	now := time.Now()
	if err := s.framesDropped(t.Context(), now, s.conns.conns[0], drops{s.streams.byName["btcusdt@trade"]: {frames: 3}}); err != nil {
		t.Fatal(err)
	}
	b := s.streams.books["BTCUSDT"]
	if b.syncer.State() != orderbook.Synced {
		t.Error("a lost trade resynced the book")
	}
	if err := s.framesDropped(t.Context(), now, s.conns.conns[0], drops{nil: {frames: 1}}); err != nil {
		t.Fatal(err)
	}
	if b.syncer.State() != orderbook.Buffering || b.LastGap.Reason != orderbook.GapOverflow {
		t.Errorf("%v, %+v", b.syncer.State(), b.LastGap)
	}
}

func TestTickKeepsTheDeadlines(t *testing.T) {
	s := syncedShard(t, nil)
	now := time.Now()
	outbox := s.conns.conns[0].outbox
	s.watchdog.at, s.watchdog.beat = now.Add(2*time.Hour), now.Add(2*time.Hour)
	outbox.subscribe([]string{"x"})
	if _, err := outbox.next(); err != nil {
		t.Fatal(err)
	}
	outbox.written(now)
	if err := s.tick(t.Context(), t.Context(), now); err != nil || !s.alarm.due.Equal(outbox.due(now)) || !s.alarm.due.Equal(now.Add(time.Hour)) {
		t.Errorf("due at %v, acks at %v, %v", s.alarm.due, outbox.due(now), err)
	}
	if err := s.framesDropped(t.Context(), now, s.conns.conns[0], drops{nil: {frames: 1}}); err != nil {
		t.Fatal(err)
	}
	if due := s.streams.books["BTCUSDT"].syncer.Deadline(); due.IsZero() || !s.alarm.due.Equal(due) {
		t.Errorf("due at %v, the book at %v", s.alarm.due, due)
	}
}

// Requests that wait for their acknowledgement keep their streams when symbols are added and removed.
func TestPendingRequestsKeepTheirStreams(t *testing.T) {
	d, s := syncedDepth(t, nil)
	now := time.Now()
	outbox := s.conns.conns[0].outbox
	outbox.subscribe(s.streams.names)
	if _, err := outbox.next(); err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(outbox.requests[1])
	if err := d.add([]string{"ETHUSDT"}, true); err != nil {
		t.Fatal(err)
	}
	s.conns.conns[0] = nil // no connection is open
	if err := s.addSymbols(t.Context(), now, []*symbolBook{d.books.Get("ETHUSDT")}); err != nil {
		t.Fatal(err)
	}
	btc := d.books.Get("BTCUSDT")
	if err := d.Remove("BTCUSDT"); err != nil {
		t.Fatal(err)
	}
	if err := s.removeSymbol(t.Context(), now, btc); err != nil {
		t.Fatal(err)
	}
	if len(s.streams.names) != 3 || len(s.streams.ordered) != 3 || s.streams.ordered[0].name != s.streams.names[0] {
		t.Errorf("left are %v", s.streams.names)
	}
	if got := outbox.requests[1]; len(want) != 3 || !slices.Equal(got, want) {
		t.Errorf("the request was for %v, now for %v", want, got)
	}
}
