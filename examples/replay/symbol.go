package main

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A summary is the result of a symbol at the end of its recording.
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

// A symbolReplay drives one symbol's Syncer and applies its events to a book.
type symbolReplay struct {
	sync  *orderbook.Syncer
	fetch orderbook.FetchID // the snapshot the Syncer waits for; 0 if none

	book       orderbook.Book // built from the events
	snapshotID int64          // of the last snapshot installed
	tickers    int
	audit      audit
}

// newSymbolReplay starts a symbol at its first line in the recording.
func newSymbolReplay(c orderbook.Continuity, now time.Time) (*symbolReplay, error) {
	// A recorded snapshot cannot be requested again.
	sync, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: c, SnapshotTimeout: -1})
	if err != nil {
		return nil, err
	}
	s := &symbolReplay{sync: sync}
	s.apply(sync.Connected(now))
	return s, nil
}

func (s *symbolReplay) apply(out orderbook.Output) {
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
		s.audit.book(&s.book)
	}
}

func (s *symbolReplay) update(now time.Time, u *orderbook.Update) {
	s.apply(s.sync.Update(now, u))
}

// snapshot passes a recorded answer to the Syncer. If the Syncer waits before its next request, the recorder did not,
// so the wait is skipped.
func (s *symbolReplay) snapshot(now time.Time, snap *orderbook.Snapshot) {
	if due := s.sync.Deadline(); !due.IsZero() {
		if due.After(now) {
			now = due
		}
		s.apply(s.sync.Tick(now))
	}
	s.apply(s.sync.Snapshot(now, s.fetch, snap))
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

// An audit compares a book with the exchange's best prices: a bookTicker names its update id, so a book at that id must
// have the same touch. A ticker may arrive before or after the update with its id, so both are kept for some time.
type audit struct {
	books   window[touch] // of the book, by update id
	pending window[[]touch]

	compared, equal int
}

// A touch is the best bid and ask; a side without levels has the zero Level.
type touch struct {
	bid, ask orderbook.Level
}

// book records the touch of a book, and compares it with earlier tickers.
func (a *audit) book(b *orderbook.Book) {
	var now touch
	now.bid, _ = b.BestBid()
	now.ask, _ = b.BestAsk()
	a.books.put(b.LastID(), now)
	early, _ := a.pending.take(b.LastID())
	for _, t := range early {
		a.compare(t, now)
	}
}

func (a *audit) ticker(t *marketprism.Ticker) {
	ticker := touch{bid: t.Bid, ask: t.Ask}
	if book, ok := a.books.get(t.UpdateID); ok {
		a.compare(ticker, book)
		return
	}
	others, _ := a.pending.take(t.UpdateID)
	a.pending.put(t.UpdateID, append(others, ticker))
}

func (a *audit) compare(ticker, book touch) {
	a.compared++
	if ticker == book {
		a.equal++
	}
}

// A window is a map of the last windowSize ids added to it.
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

// take removes and returns the value.
func (w *window[T]) take(id int64) (T, bool) {
	v, ok := w.values[id]
	delete(w.values, id)
	return v, ok
}
