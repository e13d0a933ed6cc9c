package chstore_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/recording/recordingtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// A recorded feed is what a collector makes of a recording: records, and the Syncer's book after each.
type recordedFeed struct {
	t       *testing.T
	records []marketprism.Record
	synced  map[marketprism.Instrument]string // the text of the Syncer's book at the end
	// following are books that apply the Syncers' events, for an Output can have several.
	following map[marketprism.Instrument]*orderbook.Book
	books     map[marketprism.Instrument]map[int64]string // text by update id, the last one where two books have it
	// seeds are the books of the snapshots alone. An update of futures may end at its snapshot's id and
	// still add to it what lies beyond the snapshot's limit.
	seeds   map[marketprism.Instrument]string
	seedIDs map[marketprism.Instrument]int64
}

func readRecording(t *testing.T, market marketprism.Market, path string) *recordedFeed {
	t.Helper()
	f := &recordedFeed{
		t: t, synced: make(map[marketprism.Instrument]string), following: make(map[marketprism.Instrument]*orderbook.Book),
		books: make(map[marketprism.Instrument]map[int64]string),
		seeds: make(map[marketprism.Instrument]string), seedIDs: make(map[marketprism.Instrument]int64),
	}
	recordingtest.Collect(t, market, path, f.add)
	return f
}

// add keeps a record, and the text of the book after it.
func (f *recordedFeed) add(rec marketprism.Record, synced *orderbook.Book) {
	f.records = append(f.records, rec)
	if rec.Snapshot == nil && rec.Update == nil {
		return
	}
	book := f.following[rec.Instrument]
	if book == nil {
		book = new(orderbook.Book)
		f.following[rec.Instrument], f.books[rec.Instrument] = book, make(map[int64]string)
	}
	if rec.Snapshot != nil {
		book.Reset(rec.Snapshot)
	} else {
		book.Apply(rec.Update)
	}
	text, _ := book.AppendText(nil)
	f.books[rec.Instrument][book.LastID()] = string(text)
	if rec.Snapshot != nil {
		f.seeds[rec.Instrument], f.seedIDs[rec.Instrument] = string(text), book.LastID()
	}
	if synced != nil {
		want, _ := synced.AppendText(nil)
		require.Equal(f.t, string(want), string(text))
		f.synced[rec.Instrument] = string(want)
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
		require.Equal(t, f.synced[i], string(text))
	}
	var want int
	for _, r := range f.records {
		if slices.Contains(q.Instruments, r.Instrument) {
			want++
		}
	}
	require.Equal(t, want, live.recs)
}
