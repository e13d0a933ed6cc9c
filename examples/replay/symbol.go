package main

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/examples/compare"
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
	seen       compare.Tickers
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
		s.seen.Book(&s.book)
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
	s.seen.Ticker(t)
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
		BookTickers:          s.seen.All,
		BookTickersAtBook:    s.seen.Compared,
		BookTickersEqual:     s.seen.Equal,
	}
}

// result is the summary as a part of a total.
func (s *summary) result() compare.Result {
	return compare.Result{Gaps: int(s.Gaps), Tickers: s.BookTickers, TickersCompared: s.BookTickersAtBook, TickersEqual: s.BookTickersEqual}
}

func pair(l orderbook.Level, ok bool) []string {
	if !ok {
		return nil
	}
	return []string{l.Price.String(), l.Quantity.String()}
}
