package chstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// checkBookView returns an error unless the view book_at gives the book of BookAt, or fails where that fails.
func checkBookView(ctx context.Context, conn driver.Conn, s *chstore.Store, i marketprism.Instrument, at time.Time) (known bool, err error) {
	var missing *chstore.MissingError
	book, err := s.BookAt(ctx, i, at)
	if err != nil && !errors.As(err, &missing) && !errors.Is(err, chstore.ErrNoSnapshot) {
		return false, err
	}
	got, viewErr := readBookView(ctx, conn, i, at)
	if err != nil {
		if viewErr == nil || !strings.Contains(viewErr.Error(), "book_at: ") {
			return false, fmt.Errorf("%s at %s: the view gives %.200q, %v, BookAt %w", i, at, got, viewErr, err)
		}
		return false, nil
	}
	if viewErr != nil {
		return false, fmt.Errorf("%s at %s: the view gives %w, BookAt a book", i, at, viewErr)
	}
	var want strings.Builder
	want.WriteString(bookRows(book, orderbook.Bid, book.AppendBids(nil, -1)))
	want.WriteString(bookRows(book, orderbook.Ask, book.AppendAsks(nil, -1)))
	if got != want.String() {
		return true, fmt.Errorf("%s at %s: the view gives\n%s\nBookAt\n%s", i, at, got, want.String())
	}
	return true, nil
}

func bookRows(book *orderbook.Book, side orderbook.Side, levels []orderbook.Level) string {
	var b strings.Builder
	for n, l := range levels {
		fmt.Fprintf(&b, "%d %s %d %s %s %v\n", book.LastID(), side, n+1, l.Price, l.Quantity, book.Knows(side, l.Price))
	}
	return b.String()
}

func readBookView(ctx context.Context, conn driver.Conn, i marketprism.Instrument, at time.Time) (string, error) {
	rows, err := conn.Query(ctx, fmt.Sprintf("SELECT concat(update_id, ' ', side, ' ', level, ' ', price_decimal, ' ', quantity_decimal, ' ', known) "+
		"FROM book_at(exchange = '%s', market = '%s', symbol = '%s', t = '%s')", i.Exchange, i.Market, i.Symbol, at.UTC().Format("2006-01-02 15:04:05.000000000")))
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return "", err
		}
		b.WriteString(line + "\n")
	}
	return b.String(), rows.Err()
}

// limited cuts the sides of a snapshot, as the exchange does.
func limited(rec marketprism.Record, n int) marketprism.Record {
	s := *rec.Snapshot
	if len(s.Bids) > n {
		s.Bids = s.Bids[:n]
		s.BidBound = orderbook.Bound{Price: s.Bids[n-1].Price, Limited: true}
	}
	if len(s.Asks) > n {
		s.Asks = s.Asks[:n]
		s.AskBound = orderbook.Bound{Price: s.Asks[n-1].Price, Limited: true}
	}
	rec.Snapshot = &s
	return rec
}

// The view book_at gives the book of BookAt at any time of random histories: of two collectors with other borders and
// clocks, with updates lost, with Gaps that meant something and others that did not, before the first snapshot, across ids that went back, with
// snapshots that are cut, late, or of an earlier id than one before.
func TestBookAtView(t *testing.T) {
	short.Skip(t)
	for _, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		for _, history := range []string{"two", "lost", "wiped"} {
			t.Run(fmt.Sprintf("%s/%s", m, history), func(t *testing.T) {
				s, db := openStore(t, chstore.Config{})
				rng := rand.New(rand.NewPCG(uint64(len(m)), uint64(len(history))))
				mk := newMarket(5, m)
				start := mk.now
				var recs []marketprism.Record
				collect := func() {
					updates := mk.updates(rng, mk.changes, 9, 0)
					if history == "lost" {
						lost := rng.IntN(len(updates))
						updates = slices.Delete(updates, lost, lost+1)
					}
					recs = append(recs, updates...)
					if history == "two" {
						recs = append(recs, mk.updates(rng, mk.changes, 5, 170*time.Millisecond)...)
					}
				}
				gap := func(reason orderbook.GapReason) {
					recs = append(recs, marketprism.Record{Instrument: mk.instrument, ReceivedAt: mk.now.Add(time.Millisecond), Gap: &orderbook.Gap{After: mk.id, Reason: reason}})
				}
				for n := range 4 {
					mk.run(20, 40*time.Millisecond)
					recs = append(recs, limited(mk.snapshotRecord(time.Duration(rng.IntN(200))*time.Millisecond), 3+rng.IntN(20)))
					mk.run(100, 40*time.Millisecond)
					if history == "lost" && n%2 == 0 {
						gap(orderbook.GapDisconnect)
						if n == 0 {
							collect()
							mk.changes = nil
							mk.run(5, 40*time.Millisecond)
							mk.changes = nil // missed
						}
					}
				}
				if history == "wiped" {
					collect()
					gap(orderbook.GapRegressed)
					mk.now = mk.now.Add(time.Second)
					mk.id, mk.changes = 10, nil
					mk.run(5, 100*time.Millisecond)
					recs = append(recs, mk.snapshotRecord(120*time.Millisecond))
					mk.run(50, 100*time.Millisecond)
				}
				collect()
				gap(orderbook.GapDisconnect) // at the end: no later id refutes it
				require.NoError(t, s.Write(t.Context(), recs))
				known := 0
				const steps = 6
				span := mk.now.Sub(start) + time.Second
				for n := range time.Duration(steps) {
					at := start.Add(n * span / steps).Add(time.Duration(rng.Int64N(int64(span / steps))))
					ok, err := checkBookView(t.Context(), db.Conn, s, mk.instrument, at)
					require.NoError(t, err)
					if ok {
						known++
					}
				}
				t.Logf("%d of %d books are known", known, steps)
				require.Positive(t, known)
			})
		}
	}
}

// A newborn market has an empty snapshot of id -1, and any update follows it; after that nothing is known of the rest.
func TestBookAtViewNewborn(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	mk := newMarket(7, marketprism.Spot)
	born := marketprism.Record{Instrument: mk.instrument, ReceivedAt: mk.now, Snapshot: &orderbook.Snapshot{LastID: -1}}
	mk.run(10, time.Second)
	require.NoError(t, s.Write(t.Context(), append(mk.updates(mk.rng, mk.changes, 1, 0), born)))
	for _, at := range []time.Time{born.ReceivedAt, mk.now} {
		ok, err := checkBookView(t.Context(), db.Conn, s, mk.instrument, at)
		require.NoError(t, err)
		require.True(t, ok)
	}
}

// A Gap that was received at the snapshot's own moment, but for a later id, ends the book.
func TestBookAtViewGapAtSnapshot(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	gap := marketprism.Record{Instrument: spot("BOOK"), ReceivedAt: secondsOf(10), Gap: &orderbook.Gap{After: 101, Reason: orderbook.GapSequence}}
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{updateOf(100, 100, 9), updateOf(101, 101, 9.5), snapshotOf(100, 10), gap}))
	known, err := checkBookView(t.Context(), db.Conn, s, spot("BOOK"), secondsOf(11))
	require.NoError(t, err)
	require.False(t, known)
}
