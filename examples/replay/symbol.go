package main

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A summary is what there is to say about a symbol at the end of its recording.
type summary struct {
	SnapshotLastUpdateID int64  `json:"snapshotLastUpdateId"`
	Events               uint64 `json:"events"`
	Dropped              uint64 `json:"dropped"`
	Applied              uint64 `json:"applied"`
	Gaps                 uint64 `json:"gaps"`

	FinalUpdateID int64    `json:"finalUpdateId"`
	BidLevels     int      `json:"bidLevels"`
	AskLevels     int      `json:"askLevels"`
	BestBid       []string `json:"bestBid"` // price, quantity; null if there is none
	BestAsk       []string `json:"bestAsk"`
	SHA256        string   `json:"sha256"`

	BookTickers       int `json:"bookTickers"`
	BookTickersAtBook int `json:"bookTickersAtABookUpdate"`
	BookTickersEqual  int `json:"bookTickersEqualToBook"`
}

// A symbolReplay drives one symbol's Syncer and follows its events with a book of its own.
type symbolReplay struct {
	sync  *orderbook.Syncer
	fetch orderbook.FetchID // the snapshot the Syncer waits for; 0 if none

	book       orderbook.Book // the fold of the events
	snapshotID int64          // of the last snapshot installed
	tickers    int
	audit      audit
}

// newSymbolReplay starts a symbol at its first line in the recording.
func newSymbolReplay(c orderbook.Continuity, now time.Time) (*symbolReplay, error) {
	// A recorded answer comes when it comes: there is nobody to ask again.
	sync, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: c, SnapshotTimeout: -1})
	if err != nil {
		return nil, err
	}
	s := &symbolReplay{sync: sync}
	s.obey(sync.Connected(now))
	return s, nil
}

func (s *symbolReplay) obey(out orderbook.Output) {
	if out.Fetch != 0 {
		s.fetch = out.Fetch
	}
	for _, ev := range out.Events {
		switch {
		case ev.Snapshot != nil:
			s.snapshotID = ev.Snapshot.LastID
			s.book.Reset(ev.Snapshot)
		case ev.Update != nil:
			s.book.Apply(ev.Update)
		default:
			continue
		}
		s.audit.stand(&s.book)
	}
}

func (s *symbolReplay) update(now time.Time, u *orderbook.Update) {
	s.obey(s.sync.Update(now, u))
}

// snapshot gives the Syncer a recorded answer. If it waits before asking again, the answer shows
// that whoever recorded it did not: the wait is skipped.
func (s *symbolReplay) snapshot(now time.Time, snap *orderbook.Snapshot) {
	if due := s.sync.Deadline(); !due.IsZero() {
		if due.After(now) {
			now = due
		}
		s.obey(s.sync.Tick(now))
	}
	s.obey(s.sync.Snapshot(now, s.fetch, snap))
}

func (s *symbolReplay) ticker(t *marketprism.Ticker) {
	s.tickers++
	s.audit.ticker(t)
}

func (s *symbolReplay) summary() summary {
	stats := s.sync.Stats()
	text, _ := s.book.AppendText(nil) // never fails
	hash := sha256.Sum256(text)
	return summary{
		SnapshotLastUpdateID: s.snapshotID,
		Events:               stats.Received,
		Dropped:              stats.Dropped,
		Applied:              stats.Applied,
		Gaps:                 stats.Gaps,
		FinalUpdateID:        s.book.LastID(),
		BidLevels:            s.book.BidCount(),
		AskLevels:            s.book.AskCount(),
		BestBid:              pair(s.book.BestBid()),
		BestAsk:              pair(s.book.BestAsk()),
		SHA256:               hex.EncodeToString(hash[:]),
		BookTickers:          s.tickers,
		BookTickersAtBook:    s.audit.compared,
		BookTickersEqual:     s.audit.equal,
	}
}

func pair(l orderbook.Level, ok bool) []string {
	if !ok {
		return nil
	}
	return []string{l.Price.String(), l.Quantity.String()}
}

// An audit holds a book against the exchange's own best prices: a bookTicker names the update id it
// is true of, so wherever the book stood at that id the two must be equal. A ticker comes before or
// after the update that contains its id, hence both are remembered for a while.
type audit struct {
	stood   window[touch]
	pending window[[]touch]

	compared, equal int
}

// A touch is the best bid and ask; a side without levels has the zero Level.
type touch struct {
	bid, ask orderbook.Level
}

// stand says that the book is at its update id.
func (a *audit) stand(b *orderbook.Book) {
	var now touch
	now.bid, _ = b.BestBid()
	now.ask, _ = b.BestAsk()
	a.stood.put(b.LastID(), now)
	early, _ := a.pending.take(b.LastID())
	for _, t := range early {
		a.compare(t, now)
	}
}

func (a *audit) ticker(t *marketprism.Ticker) {
	told := touch{bid: t.Bid, ask: t.Ask}
	if book, ok := a.stood.get(t.UpdateID); ok {
		a.compare(told, book)
		return
	}
	others, _ := a.pending.take(t.UpdateID)
	a.pending.put(t.UpdateID, append(others, told))
}

func (a *audit) compare(told, book touch) {
	a.compared++
	if told == book {
		a.equal++
	}
}

// A window is a map of the last windowSize ids put into it.
type window[T any] struct {
	values map[int64]T
	order  []int64
}

const windowSize = 1 << 14

func (w *window[T]) put(id int64, v T) {
	if w.values == nil {
		w.values = make(map[int64]T)
	}
	if _, ok := w.values[id]; !ok {
		w.order = append(w.order, id)
	}
	w.values[id] = v
	if len(w.order) > windowSize {
		delete(w.values, w.order[0])
		w.order = w.order[1:]
	}
}

func (w *window[T]) get(id int64) (T, bool) {
	v, ok := w.values[id]
	return v, ok
}

// take removes the value; its place in the order is left to expire.
func (w *window[T]) take(id int64) (T, bool) {
	v, ok := w.values[id]
	delete(w.values, id)
	return v, ok
}
