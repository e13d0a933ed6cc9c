package compare

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Records compares the books that stored records make with the snapshots and tickers among these. The zero value has none.
type Records struct {
	books map[marketprism.Instrument]*recordBook
}

// A recordBook is the book of one instrument.
type recordBook struct {
	joiner  *orderbook.Joiner
	tickers Tickers
	result  Result
	after   int64 // of the last gap
}

// Add adds the next record of its instrument. Trades have no effect.
func (r *Records) Add(rec *marketprism.Record) error {
	event := orderbook.Event{ReceivedAt: rec.ReceivedAt, Update: rec.Update, Snapshot: rec.Snapshot, Gap: rec.Gap}
	isBook := event.Update != nil || event.Snapshot != nil || event.Gap != nil
	if !isBook && rec.Ticker == nil {
		return nil
	}
	b := r.books[rec.Instrument]
	if b == nil {
		joiner, err := orderbook.NewJoiner(orderbook.JoinerConfig{Continuity: rec.Instrument.Market.Continuity()})
		if err != nil {
			return err
		}
		if r.books == nil {
			r.books = make(map[marketprism.Instrument]*recordBook)
		}
		b = &recordBook{joiner: joiner}
		r.books[rec.Instrument] = b
	}
	if isBook {
		b.join(event)
	} else {
		b.tickers.Ticker(rec.Ticker)
	}
	return nil
}

func (b *recordBook) join(e orderbook.Event) {
	out := b.joiner.Join(e)
	for _, event := range out.Events {
		switch {
		case event.Gap != nil:
			b.result.Ended, b.after = true, event.Gap.After
			b.tickers.Restart() // ids may have gone back
		case event.Snapshot != nil && b.result.Ended:
			if b.result.Ended = false; event.Snapshot.LastID != b.after {
				b.result.Gaps++ // a snapshot of the same id refutes it: nothing was missed
			}
		}
	}
	if a := out.Audit; a != nil && a.Err == nil {
		b.result.Snapshots++
		if a.Different == 0 {
			b.result.SnapshotsEqual++
		}
	}
	if len(out.Events) > 0 && b.joiner.State() == orderbook.Synced {
		b.tickers.Book(b.joiner.Book())
	}
}

// Total returns what was compared so far. An instrument without a book, such as one whose tickers alone were asked for, is not
// counted.
func (r *Records) Total() Total {
	var t Total
	for _, b := range r.books {
		if b.joiner.Stats().Snapshots == 0 {
			continue
		}
		result := b.result
		result.Tickers, result.TickersCompared, result.TickersEqual = b.tickers.All, b.tickers.Compared, b.tickers.Equal
		t.Add(result)
	}
	return t
}
