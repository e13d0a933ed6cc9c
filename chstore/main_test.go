package chstore_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestMain(m *testing.M) { chtest.Main(m) }

// migrated holds databases that Migrate has made for a Config whose tables are the default ones.
var migrated chtest.Pool

// openStore returns a Store on migrated tables in a database that no other test uses at that time.
func openStore(t testing.TB, cfg chstore.Config) (*chstore.Store, *chtest.DB) {
	t.Helper()
	migrate := func(db *chtest.DB) { require.NoError(t, storeIn(t, db, cfg).Migrate(t.Context())) }
	if hasDefaultTables(cfg) {
		db := migrated.Open(t, migrate)
		return storeIn(t, db, cfg), db
	}
	db := chtest.Open(t)
	migrate(db)
	return storeIn(t, db, cfg), db
}

func storeIn(t testing.TB, db *chtest.DB, cfg chstore.Config) *chstore.Store {
	t.Helper()
	cfg.Database = db.Name
	s, err := chstore.New(connect(t, db), cfg)
	require.NoError(t, err)
	return s
}

// hasDefaultTables reports whether a Config says nothing about tables.
func hasDefaultTables(cfg chstore.Config) bool {
	return reflect.DeepEqual(chstore.Config{
		TablePrefix: cfg.TablePrefix, Partition: cfg.Partition, Engine: cfg.Engine, Layouts: cfg.Layouts,
		Cluster: cfg.Cluster, TTL: cfg.TTL, Tiers: cfg.Tiers,
	}, chstore.Config{})
}

// connect opens connections to the database of a test, and closes them at its end.
func connect(t testing.TB, db *chtest.DB) *chstore.Conn {
	t.Helper()
	conn, err := chstore.NewConn(db.Options())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// readAll returns every record of the instruments that occur in recs, instrument by instrument.
func readAll(t testing.TB, s *chstore.Store, recs []marketprism.Record) []marketprism.Record {
	t.Helper()
	var all []marketprism.Record
	for _, i := range instruments(recs) {
		all = append(all, read(t, s, chstore.Query{Instrument: i})...)
	}
	return all
}

func read(t testing.TB, s *chstore.Store, q chstore.Query) []marketprism.Record {
	t.Helper()
	var recs []marketprism.Record
	for rec, err := range s.Records(t.Context(), q) {
		require.NoError(t, err)
		recs = append(recs, rec)
	}
	return recs
}

func instruments(recs []marketprism.Record) []marketprism.Instrument {
	var all []marketprism.Instrument
	for _, r := range recs {
		if !slices.Contains(all, r.Instrument) {
			all = append(all, r.Instrument)
		}
	}
	return all
}

// requireSame fails unless got holds exactly the records of want, in any order.
func requireSame(t testing.TB, want, got []marketprism.Record) {
	t.Helper()
	byKey := make(map[string]*marketprism.Record, len(got))
	for i := range got {
		key := got[i].Key()
		if _, twice := byKey[key]; twice {
			t.Fatalf("%s is shown twice", key)
		}
		byKey[key] = &got[i]
	}
	for i := range want {
		key := want[i].Key()
		rec, ok := byKey[key]
		if !ok {
			t.Fatalf("%s is missing", key)
		}
		if diff := sinktest.Diff(&want[i], rec); diff != "" {
			t.Fatalf("%s: %s", key, diff)
		}
	}
	require.Len(t, got, len(want))
}

// withOrigins returns a copy of recs that come from a stream, with sequences from first on.
func withOrigins(recs []marketprism.Record, source string, first uint64) []marketprism.Record {
	recs = slices.Clone(recs)
	for i := range recs {
		recs[i].Origin = marketprism.Origin{Source: source, Sequence: first + uint64(i)}
	}
	return recs
}

func recordTables() []string {
	return []string{"depth_events", "book_snapshots", "trades", "tickers", "gaps"}
}

// rows counts the rows of all tables, duplicates included.
func rows(t testing.TB, db *chtest.DB) (n uint64) {
	t.Helper()
	for _, table := range recordTables() {
		var count uint64
		require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM "+table).Scan(&count))
		n += count
	}
	return n
}

// readAllInstruments returns every record of every instrument that a table holds.
func readAllInstruments(t testing.TB, s *chstore.Store, db *chtest.DB) []marketprism.Record {
	t.Helper()
	var selects []string
	for _, table := range recordTables() {
		selects = append(selects, "SELECT exchange, market, symbol FROM "+table)
	}
	found, err := db.Conn.Query(t.Context(), strings.Join(selects, " UNION DISTINCT "))
	require.NoError(t, err)
	defer found.Close()
	var all []marketprism.Record
	for found.Next() {
		var i marketprism.Instrument
		var market string
		require.NoError(t, found.Scan(&i.Exchange, &market, &i.Symbol))
		i.Market = marketprism.Market(market)
		all = append(all, marketprism.Record{Instrument: i})
	}
	require.NoError(t, found.Err())
	return readAll(t, s, all)
}

// A market is an exchange's book with random changes, and its state at every update id.
type market struct {
	rng        *rand.Rand
	instrument marketprism.Instrument
	now        time.Time
	book       map[bool]map[orderbook.Fixed]orderbook.Fixed // by side: true is bids
	id         int64
	history    map[int64]string // the book's text by update id
	changes    []change         // of all ids so far
}

// A change is the change of one update id.
type change struct {
	id    int64
	at    time.Time
	bid   bool
	level orderbook.Level
}

func newMarket(seed uint64, m marketprism.Market) *market {
	mk := &market{
		rng:        rand.New(rand.NewPCG(seed, 7)),
		instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: m, Symbol: "BTCUSDT"},
		now:        time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC), // midnight is near
		book:       map[bool]map[orderbook.Fixed]orderbook.Fixed{true: {}, false: {}},
		id:         1_000,
		history:    make(map[int64]string),
	}
	mk.run(50, time.Millisecond)
	mk.changes = nil
	return mk
}

// run makes n changes, step apart.
func (m *market) run(n int, step time.Duration) {
	for range n {
		m.now = m.now.Add(step)
		m.id++
		c := change{id: m.id, at: m.now, bid: m.rng.IntN(2) == 0}
		price := orderbook.Fixed(1 + m.rng.IntN(40))
		if c.bid {
			price = -price
		}
		c.level = orderbook.Level{Price: (1_000 + price) * orderbook.One, Quantity: orderbook.Fixed(m.rng.IntN(3)) * orderbook.One / 8}
		if c.level.Quantity == 0 {
			delete(m.book[c.bid], c.level.Price)
		} else {
			m.book[c.bid][c.level.Price] = c.level.Quantity
		}
		m.changes = append(m.changes, c)
		m.history[m.id] = bookText(m.snapshot())
	}
}

// snapshot returns the current book as the exchange does.
func (m *market) snapshot() *orderbook.Snapshot {
	s := &orderbook.Snapshot{LastID: m.id}
	for price := orderbook.Fixed(1_100); price > 900; price-- {
		if q := m.book[true][price*orderbook.One]; q != 0 {
			s.Bids = append(s.Bids, orderbook.Level{Price: price * orderbook.One, Quantity: q})
		}
	}
	for price := orderbook.Fixed(900); price < 1_100; price++ {
		if q := m.book[false][price*orderbook.One]; q != 0 {
			s.Asks = append(s.Asks, orderbook.Level{Price: price * orderbook.One, Quantity: q})
		}
	}
	return s
}

// snapshotRecord returns a snapshot as a collector stores it, received after a delay.
func (m *market) snapshotRecord(delay time.Duration) marketprism.Record {
	r := marketprism.Record{Instrument: m.instrument, ReceivedAt: m.now.Add(delay), Snapshot: m.snapshot()}
	if m.instrument.Market != marketprism.Spot {
		r.Snapshot.EventTime = m.now
		r.EventTime = m.now
	}
	return r
}

// updates cuts the changes since the last call into updates of up to most ids, sent skew after the
// last of their changes.
func (m *market) updates(rng *rand.Rand, changes []change, most int, skew time.Duration) []marketprism.Record {
	var recs []marketprism.Record
	for len(changes) > 0 {
		n := min(1+rng.IntN(most), len(changes))
		at := changes[n-1].at.Add(skew)
		u := &orderbook.Update{FirstID: changes[0].id, LastID: changes[n-1].id, EventTime: at}
		if m.instrument.Market != marketprism.Spot {
			u.PrevLastID = u.FirstID - 1
			u.TransactTime = at.Add(-time.Millisecond)
		}
		for _, c := range changes[:n] {
			if c.bid {
				u.Bids = append(u.Bids, c.level)
			} else {
				u.Asks = append(u.Asks, c.level)
			}
		}
		recs = append(recs, marketprism.Record{Instrument: m.instrument, EventTime: at, ReceivedAt: at.Add(3 * time.Millisecond), Update: u})
		changes = changes[n:]
	}
	return recs
}

func bookText(s *orderbook.Snapshot) string {
	var b orderbook.Book
	b.Reset(s)
	text, _ := b.AppendText(nil)
	return string(text)
}

// stateAt is the update id at which a reader of recs, in which no update is missing, knows the book at t; false
// before the first snapshot.
func stateAt(recs []marketprism.Record, t time.Time) (id int64, ok bool) {
	var newest time.Time
	for _, r := range recs {
		if r.Snapshot != nil && !r.Time().After(t) && (!ok || r.Time().After(newest)) {
			id, newest, ok = r.Snapshot.LastID, r.Time(), true
		}
	}
	for _, r := range recs {
		if ok && r.Update != nil && !r.Time().After(t) {
			id = max(id, r.Update.LastID)
		}
	}
	return id, ok
}
