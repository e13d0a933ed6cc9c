package chstore_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// liveBooks is what a program keeps that reads the exchange: a book for each instrument, by the
// contract of Record.
type liveBooks struct {
	t     *testing.T
	books map[marketprism.Instrument]*orderbook.Book
	recs  int
}

func (l *liveBooks) Write(_ context.Context, recs []marketprism.Record) error {
	for _, r := range recs {
		l.recs++
		book := l.books[r.Instrument]
		switch {
		case r.Snapshot != nil:
			book = new(orderbook.Book)
			book.Reset(r.Snapshot)
			l.books[r.Instrument] = book
		case r.Gap != nil:
			delete(l.books, r.Instrument)
		case r.Update != nil && book != nil && r.Update.LastID > book.LastID():
			if r.Instrument.Market == marketprism.Spot {
				require.LessOrEqual(l.t, r.Update.FirstID, book.LastID()+1, "no missing update")
			} else {
				require.LessOrEqual(l.t, r.Update.PrevLastID, book.LastID(), "no missing update")
			}
			book.Apply(r.Update)
		}
	}
	return nil
}

// Several instruments come merged in the order of time, snapshots before what follows them.
func TestReplay(t *testing.T) {
	short.Skip(t)
	s, _ := openStore(t, chstore.Config{})
	var all []marketprism.Record
	var instruments []marketprism.Instrument
	var markets []*market
	for i, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		mk := newMarket(uint64(i), m)
		mk.changes = nil
		all = append(all, mk.snapshotRecord(90*time.Millisecond))
		mk.run(200, 40*time.Millisecond)
		all = append(all, mk.updates(mk.rng, mk.changes, 3, 0)...)
		instruments = append(instruments, mk.instrument)
		markets = append(markets, mk)
	}
	require.NoError(t, s.Write(t.Context(), all))

	live := &liveBooks{t: t, books: make(map[marketprism.Instrument]*orderbook.Book)}
	var got sinktest.Recorder
	q := chstore.ReplayQuery{Instruments: instruments, Kinds: []marketprism.Kind{marketprism.KindUpdate, marketprism.KindSnapshot}}
	require.NoError(t, s.Replay(t.Context(), q, chstore.ReplayConfig{Batch: 7}, sink.Tee(live, &got)))
	requireSame(t, all, got.Records())
	var last time.Time
	for _, r := range got.Records() {
		if r.Snapshot == nil {
			require.False(t, r.Time().Before(last))
			last = r.Time()
		}
	}
	for i, mk := range markets {
		text, _ := live.books[mk.instrument].AppendText(nil)
		require.Equal(t, mk.history[mk.id], string(text), "instrument %d", i)
	}

	// From the middle on, with the book of that moment in front; and only updates.
	live = &liveBooks{t: t, books: make(map[marketprism.Instrument]*orderbook.Book)}
	got.Reset()
	q.From, q.Kinds = markets[0].now.Add(-3*time.Second), []marketprism.Kind{marketprism.KindUpdate}
	require.NoError(t, s.Replay(t.Context(), q, chstore.ReplayConfig{Books: true}, sink.Tee(live, &got)))
	for _, mk := range markets {
		text, _ := live.books[mk.instrument].AppendText(nil)
		require.Equal(t, mk.history[mk.id], string(text))
	}
	require.NotNil(t, got.Records()[0].Snapshot)
	require.NotNil(t, got.Records()[1].Snapshot)
}

func TestReplayRefuses(t *testing.T) {
	s, _ := openStore(t, chstore.Config{})
	recs := sinktest.Records(1, 200)
	require.NoError(t, s.Write(t.Context(), recs))
	some := chstore.ReplayQuery{Instruments: instruments(recs)}
	many := chstore.ReplayQuery{Instruments: slices.Repeat([]marketprism.Instrument{spot("X")}, 100)}
	for _, test := range []struct {
		q   chstore.ReplayQuery
		cfg chstore.ReplayConfig
	}{
		{chstore.ReplayQuery{}, chstore.ReplayConfig{}},
		{some, chstore.ReplayConfig{Speed: -1}},
		{some, chstore.ReplayConfig{Batch: -1}},
		{some, chstore.ReplayConfig{Books: true}},
		{many, chstore.ReplayConfig{}},
	} {
		require.ErrorIs(t, s.Replay(t.Context(), test.q, test.cfg, new(sinktest.Recorder)), chstore.ErrQuery)
	}
	broken := errors.New("broken")
	failing := sink.Func(func(context.Context, []marketprism.Record) error { return broken })
	one := chstore.ReplayQuery{Instruments: some.Instruments[:1]}
	some.Kinds = []marketprism.Kind{marketprism.KindTrade}
	require.NoError(t, s.Replay(t.Context(), some, chstore.ReplayConfig{}, new(sinktest.Recorder)))
	require.ErrorIs(t, s.Replay(t.Context(), one, chstore.ReplayConfig{}, failing), broken)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Replay(ended, one, chstore.ReplayConfig{}, failing), context.Canceled)
}

func TestGaps(t *testing.T) {
	s, _ := openStore(t, chstore.Config{})
	recs := sinktest.Records(1, 500)
	require.NoError(t, s.Write(t.Context(), recs))
	n := 0
	for _, i := range instruments(recs) {
		for r, err := range s.Records(t.Context(), chstore.Query{Instrument: i, Kinds: []marketprism.Kind{marketprism.KindGap}}) {
			require.NoError(t, err)
			require.NotNil(t, r.Gap)
			n++
		}
	}
	for _, r := range recs {
		if r.Gap != nil {
			n--
		}
	}
	require.Zero(t, n)
}
