package chstore_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/recording"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// A recorded feed is what a collector makes of a recording: records, and the Syncer's book after each.
type recordedFeed struct {
	t       *testing.T
	market  marketprism.Market
	records []marketprism.Record
	syncers map[string]*orderbook.Syncer
	fetches map[string]orderbook.FetchID
	// following are books that apply the Syncers' events, for an Output can have several.
	following map[string]*orderbook.Book
	books     map[marketprism.Instrument]map[int64]string // text by update id, the last one where two books have it
	// seeds are the books of the snapshots alone. An update of futures may end at its snapshot's id and
	// still add to it what lies beyond the snapshot's limit.
	seeds   map[marketprism.Instrument]string
	seedIDs map[marketprism.Instrument]int64
}

func readRecording(t *testing.T, market marketprism.Market, path string) *recordedFeed {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no recordings of the exchange beside the repository: %v", err)
	}
	r, err := recording.Open(path)
	require.NoError(t, err)
	defer r.Close()
	f := &recordedFeed{
		t: t, market: market, syncers: make(map[string]*orderbook.Syncer), fetches: make(map[string]orderbook.FetchID),
		following: make(map[string]*orderbook.Book), books: make(map[marketprism.Instrument]map[int64]string),
		seeds: make(map[marketprism.Instrument]string), seedIDs: make(map[marketprism.Instrument]int64),
	}
	var d binance.Decoder
	for line, err := range r.Lines() {
		require.NoError(t, err)
		if symbol, ok := line.DepthSymbol(); ok {
			var snap orderbook.Snapshot
			_, err := d.DecodeSnapshot(line.Body, &snap)
			require.NoError(t, err)
			f.apply(symbol, line.ReceivedAt, f.syncer(symbol, line.ReceivedAt).Snapshot(line.ReceivedAt, f.fetches[symbol], snap.Clone()))
			continue
		}
		var m binance.Message // not used again: records keep what it points to
		require.NoError(t, d.Decode(line.Frame, &m))
		rec := marketprism.Record{Instrument: f.instrument(m.Symbol), EventTime: m.EventTime, ReceivedAt: line.ReceivedAt}
		switch m.Type {
		case binance.MessageDepth:
			f.apply(m.Symbol, line.ReceivedAt, f.syncer(m.Symbol, line.ReceivedAt).Update(line.ReceivedAt, m.Update.Clone()))
			continue
		case binance.MessageTrade:
			rec.Trade = &m.Trade
		case binance.MessageTicker:
			rec.Ticker = &m.Ticker
		default:
			continue
		}
		f.records = append(f.records, rec)
	}
	return f
}

func (f *recordedFeed) instrument(symbol string) marketprism.Instrument {
	return marketprism.Instrument{Exchange: marketprism.Binance, Market: f.market, Symbol: symbol}
}

func (f *recordedFeed) syncer(symbol string, at time.Time) *orderbook.Syncer {
	if f.syncers[symbol] == nil {
		s, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: f.market.Continuity()})
		require.NoError(f.t, err)
		f.syncers[symbol], f.following[symbol] = s, new(orderbook.Book)
		f.fetches[symbol] = s.Connected(at).Fetch
		f.books[f.instrument(symbol)] = make(map[int64]string)
	}
	return f.syncers[symbol]
}

// apply makes records of the events, and keeps the text of the book after each.
func (f *recordedFeed) apply(symbol string, at time.Time, out orderbook.Output) {
	book := f.following[symbol]
	for _, event := range out.Events {
		rec := marketprism.Record{Instrument: f.instrument(symbol), ReceivedAt: at}
		switch {
		case event.Snapshot != nil:
			rec.Snapshot, rec.EventTime = event.Snapshot.Clone(), event.Snapshot.EventTime
			book.Reset(event.Snapshot)
		case event.Update != nil:
			rec.Update, rec.EventTime = event.Update.Clone(), event.Update.EventTime
			book.Apply(event.Update)
		default:
			f.t.Fatalf("%s: %v", symbol, event.Gap)
		}
		f.records = append(f.records, rec)
		text, _ := book.AppendText(nil)
		f.books[rec.Instrument][book.LastID()] = string(text)
		if event.Snapshot != nil {
			f.seeds[rec.Instrument], f.seedIDs[rec.Instrument] = string(text), book.LastID()
		}
	}
	if len(out.Events) > 0 {
		want, _ := f.syncers[symbol].Book().AppendText(nil)
		require.Equal(f.t, string(want), f.books[f.instrument(symbol)][book.LastID()])
	}
}

// Recorded traffic of the exchange is stored and read back: at every update id of every symbol the book of Books,
// of BookAt and of a Replay equals that of the live Syncer.
func TestRecordings(t *testing.T) {
	short.Skip(t)
	for name, market := range map[string]marketprism.Market{
		"binance-spot-20211012": marketprism.Spot, "binance-usdm-20210722": marketprism.USDM, "binance-usdm-20240808": marketprism.USDM,
	} {
		t.Run(name, func(t *testing.T) {
			f := readRecording(t, market, "../../shared/recordings/"+name+".ndjson.gz")
			s, db := openStore(t, chstore.Config{})
			require.NoError(t, s.Write(t.Context(), f.records))
			requireSame(t, f.records, readAll(t, s, f.records))
			ids := 0
			for i, books := range f.books {
				seen := make(map[int64]bool)
				for state, err := range s.Books(t.Context(), chstore.BookQuery{Instrument: i}) {
					require.NoError(t, err)
					require.Nil(t, state.Missing)
					text, _ := state.Book.AppendText(nil)
					if string(text) != f.seeds[i] || state.Book.LastID() != f.seedIDs[i] {
						require.Equal(t, books[state.Book.LastID()], string(text))
					}
					seen[state.Book.LastID()] = true
				}
				require.Len(t, seen, len(books), "every id of %s", i)
				ids += len(books)
			}
			t.Logf("%d update ids", ids)
			f.requireBookAts(s)
			f.requireBookViews(s, db)
			f.requireReplay(s)
		})
	}
}

// requireBookAts asks for the book at the time of some 60 updates, others in each run, and of those that end at a
// snapshot's id. (Books has been compared at all.)
func (f *recordedFeed) requireBookAts(s *chstore.Store) {
	updates := 0
	for _, r := range f.records {
		if r.Update != nil {
			updates++
		}
	}
	every := max(1, updates/60)
	first := rand.IntN(every)
	f.t.Logf("BookAt at every %d of %d updates, from %d", every, updates, first)
	updates = 0
	newest := make(map[string]int64) // the last id of a time, since several updates can have one
	for _, r := range f.records {
		if r.Update != nil {
			key := fmt.Sprint(r.Instrument, r.EventTime.UnixNano())
			newest[key] = max(newest[key], r.Update.LastID)
		}
	}
	var group errgroup.Group
	group.SetLimit(4)
	for _, r := range f.records {
		if r.Update == nil {
			continue
		}
		updates++
		if updates%every != first && r.Update.LastID != f.seedIDs[r.Instrument] {
			continue
		}
		group.Go(func() error {
			book, err := s.BookAt(f.t.Context(), r.Instrument, r.EventTime)
			if err != nil {
				return err
			}
			text, _ := book.AppendText(nil)
			id := newest[fmt.Sprint(r.Instrument, r.EventTime.UnixNano())]
			if book.LastID() != id || string(text) != f.books[r.Instrument][id] {
				return fmt.Errorf("%s at %s: the book at %d, want the one at %d", r.Instrument, r.EventTime, book.LastID(), id)
			}
			return nil
		})
	}
	require.NoError(f.t, group.Wait())
}

// requireBookViews compares the view book_at with BookAt at some times, others in each run.
func (f *recordedFeed) requireBookViews(s *chstore.Store, db *chtest.DB) {
	known := 0
	for range 2 {
		rec := f.records[rand.IntN(len(f.records))]
		ok, err := checkBookView(f.t.Context(), db.Conn, s, rec.Instrument, rec.Time())
		require.NoError(f.t, err)
		if ok {
			known++
		}
	}
	require.Positive(f.t, known)
}

// requireReplay feeds books from the archive by the code that a live feed would use.
func (f *recordedFeed) requireReplay(s *chstore.Store) {
	t := f.t
	live := &liveBooks{t: t, books: make(map[marketprism.Instrument]*orderbook.Book)}
	q := chstore.ReplayQuery{
		Instruments: instruments(f.records)[:2],
		Kinds:       []marketprism.Kind{marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindTicker, marketprism.KindTrade, marketprism.KindAggTrade},
	}
	require.NoError(t, s.Replay(t.Context(), q, chstore.ReplayConfig{}, live))
	for _, i := range q.Instruments {
		text, _ := live.books[i].AppendText(nil)
		want, _ := f.syncers[i.Symbol].Book().AppendText(nil)
		require.Equal(t, string(want), string(text))
	}
	var want int
	for _, r := range f.records {
		if slices.Contains(q.Instruments, r.Instrument) {
			want++
		}
	}
	require.Equal(t, want, live.recs)
}
