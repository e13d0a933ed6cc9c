package chstore_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// A held line holds the server's answers back until as many queries have been asked as fit into one round trip.
type heldLine struct {
	mu      sync.Mutex
	more    sync.Cond
	holds   int // so far
	holding bool
	fit     int
	asked   int
}

func (l *heldLine) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	return &heldConn{Conn: conn, line: l}, err
}

func (l *heldLine) hold(fit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds++
	l.holding, l.fit, l.asked = fit > 0, fit, 0
	l.more.Broadcast()
}

type heldConn struct {
	net.Conn
	line *heldLine
	held int // the hold of the last query: the answer to a ping on a connection that was idle comes before the first one
	trip int // of the last query
}

// Write counts queries: a packet of the client begins with its number, and that of a query is 1.
func (c *heldConn) Write(p []byte) (int, error) {
	c.line.mu.Lock()
	if c.line.holding && p[0] == 1 {
		c.line.asked++
		c.held, c.trip = c.line.holds, (c.line.asked+c.line.fit-1)/c.line.fit
		c.line.more.Broadcast()
	}
	c.line.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *heldConn) Read(p []byte) (int, error) {
	c.line.mu.Lock()
	for c.line.holding && c.held == c.line.holds && c.line.asked < c.trip*c.line.fit {
		c.line.more.Wait()
	}
	c.line.mu.Unlock()
	return c.Conn.Read(p)
}

// BookAt asks twice, each time for three answers that do not depend on one another: with the answers held back until the
// third query, a fourth one in between, or a seventh, would wait without end.
func TestBookAtInTwoRoundTrips(t *testing.T) {
	db := chtest.Open(t)
	options := db.Options()
	var line heldLine
	line.more.L = &line.mu
	options.DialContext = line.dial
	s := openOn(t, db, options, chstore.Config{})
	recs := []marketprism.Record{snapshotOf(100, 0), snapshotOf(103, 3.5)}
	for n := range int64(20) {
		recs = append(recs, updateOf(101+n, 101+n, float64(1+n)))
	}
	recs = append(recs, marketprism.Record{Instrument: spot("BOOK"), ReceivedAt: secondsOf(2), Gap: &orderbook.Gap{After: 102, Reason: orderbook.GapSequence}})
	require.NoError(t, s.Write(t.Context(), recs))
	for _, at := range []float64{3, 3.7, 20} {
		line.hold(3)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		stop := context.AfterFunc(ctx, func() { line.hold(0) })
		book, err := s.BookAt(ctx, spot("BOOK"), secondsOf(at))
		stop()
		cancel()
		require.NoError(t, err)
		require.EqualValues(t, 100+int64(at), book.LastID())
		require.Equal(t, 6, line.asked)
		line.hold(0)
	}
}

func futures(r marketprism.Record, sent float64) marketprism.Record {
	r.Instrument.Market, r.EventTime = marketprism.USDM, secondsOf(sent)
	if r.Snapshot != nil {
		r.Snapshot.EventTime = r.EventTime
	} else {
		r.Update.PrevLastID = r.Update.FirstID - 1
	}
	return r
}

// Of two snapshots with times of the exchange the later one is the newer, also where the other arrived later.
func TestBookAtSnapshotThatCameLate(t *testing.T) {
	short.Skip(t)
	i := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.USDM, Symbol: "BOOK"}
	s, db := openStore(t, chstore.Config{})
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{
		futures(snapshotOf(112, 3.35), 3.3), futures(snapshotOf(95, 3.62), 3),
		futures(updateOf(96, 109, 3.2), 3.2), futures(updateOf(110, 113, 3.4), 3.4),
	}))
	for at, want := range map[float64]int64{3.38: 112, 3.5: 113} {
		_, id := textAt(t, s, i, secondsOf(at))
		require.Equal(t, want, id, "at %v", at)
		_, err := checkBookView(t.Context(), db.Conn, s, i, secondsOf(at))
		require.NoError(t, err)
	}
}

// A snapshot from after ids went back, which no collector saw, is not the one before the updates that came shortly before.
// That holds for Books too, also where it begins in a book that is not synced.
func TestSnapshotOfTheNextEpoch(t *testing.T) {
	short.Skip(t)
	s := storeOf(t,
		snapshotOf(1000, 0), updateOf(1001, 1001, 1), updateOf(1003, 1003, 700), updateOf(1004, 1004, 701),
		snapshotOf(100, 760.5), updateOf(101, 101, 760), updateOf(102, 102, 761))
	_, id := textAt(t, s, spot("BOOK"), secondsOf(1))
	require.EqualValues(t, 1001, id)
	var missing *chstore.MissingError
	_, err := s.BookAt(t.Context(), spot("BOOK"), secondsOf(700))
	require.ErrorAs(t, err, &missing)
	require.EqualValues(t, 1001, missing.After)
	require.Equal(t, secondsOf(760), missing.To)
	for _, from := range []float64{0.5, 690, 700.5} {
		all := states(t, s, chstore.BookQuery{Instrument: spot("BOOK"), From: secondsOf(from), To: secondsOf(800)})
		last := all[len(all)-1]
		require.NotNil(t, last.Book, "from %v: %v", from, last.Missing)
		require.EqualValues(t, 102, last.Book.LastID())
	}
}
