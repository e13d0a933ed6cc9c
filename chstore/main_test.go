package chstore_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestMain(m *testing.M) { chtest.Main(m) }

// openStore returns a Store on migrated tables in a database of its own.
func openStore(t testing.TB, cfg chstore.Config) (*chstore.Store, *chtest.DB) {
	t.Helper()
	db := chtest.Open(t)
	cfg.Database = db.Name
	s, err := chstore.New(connect(t, db), cfg)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	return s, db
}

// connect opens connections to the database of a test, and closes them in its end.
func connect(t testing.TB, db *chtest.DB) *chstore.Conn {
	t.Helper()
	conn, err := chstore.Open(db.Options())
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
