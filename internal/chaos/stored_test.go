package chaos

import (
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// requireStored checks that the tables hold exactly recs, each once, in the order of publication, and that the
// books built from them are right.
func (c *cluster) requireStored(recs []marketprism.Record) {
	conn, err := dial(c.t.Context(), c.db.DSN())
	require.NoError(c.t, err)
	defer conn.Close()
	store, err := chstore.New(conn, chstore.Config{})
	require.NoError(c.t, err)

	tables := make(map[string]int)
	instruments := make(map[marketprism.Instrument][]*marketprism.Record)
	for i := range recs {
		r := &recs[i]
		tables[tableOf(r)]++
		instruments[r.Instrument] = append(instruments[r.Instrument], r)
	}
	require.Len(c.t, tables, 5, "the traffic has all kinds")
	for table, want := range tables {
		rows, sequences := c.rows(conn, table)
		require.Equal(c.t, want, rows, "rows of %s", table)
		require.Equal(c.t, want, sequences, "messages of %s", table)
	}
	for i, want := range instruments {
		c.requireShown(store, i, want)
		c.requireOrder(conn, i, want)
		c.requireBook(store, i, want)
	}
}

// rows returns the number of rows of a table, and of the messages they came from.
func (c *cluster) rows(conn driver.Conn, table string) (rows, sequences int) {
	var r, s uint64
	require.NoError(c.t, conn.QueryRow(c.t.Context(), "SELECT count(), uniqExact(src, seq) FROM marketprism."+table).Scan(&r, &s))
	return int(r), int(s)
}

func tableOf(r *marketprism.Record) string {
	switch r.Kind() {
	case marketprism.KindUpdate:
		return "depth_events"
	case marketprism.KindSnapshot:
		return "book_snapshots"
	case marketprism.KindTrade, marketprism.KindAggTrade:
		return "trades"
	case marketprism.KindTicker:
		return "tickers"
	}
	return "gaps"
}

// requireShown compares the records of an instrument that the store returns, field by field.
func (c *cluster) requireShown(store *chstore.Store, i marketprism.Instrument, want []*marketprism.Record) {
	byKey := make(map[string]marketprism.Record)
	for r, err := range store.Records(c.t.Context(), chstore.Query{Instrument: i}) {
		require.NoError(c.t, err)
		require.NotContains(c.t, byKey, r.Key(), "shown twice")
		byKey[r.Key()] = r
	}
	require.Len(c.t, byKey, len(want), "%s", i)
	for _, r := range want {
		got, ok := byKey[r.Key()]
		require.True(c.t, ok, "%s is missing", r.Key())
		require.NotEmpty(c.t, got.Origin.Source)
		got.Origin = r.Origin
		require.Empty(c.t, sinktest.Diff(r, &got), r.Key())
	}
}

// requireOrder compares the updates of an instrument in the order of the stream.
func (c *cluster) requireOrder(conn driver.Conn, i marketprism.Instrument, want []*marketprism.Record) {
	rows, err := conn.Query(c.t.Context(), `SELECT last_id FROM marketprism.depth_events
		WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String} ORDER BY src, seq`,
		clickhouse.Named("exchange", i.Exchange), clickhouse.Named("market", string(i.Market)), clickhouse.Named("symbol", i.Symbol))
	require.NoError(c.t, err)
	defer rows.Close()
	var published, stored []int64
	for rows.Next() {
		var id int64
		require.NoError(c.t, rows.Scan(&id))
		stored = append(stored, id)
	}
	require.NoError(c.t, rows.Err())
	for _, r := range want {
		if r.Update != nil {
			published = append(published, r.Update.LastID)
		}
	}
	require.Equal(c.t, published, stored, "updates of %s", i)
}

// requireBook compares the last book of an instrument with the one built from the published records, or requires
// an error if the book was lost at the end.
func (c *cluster) requireBook(store *chstore.Store, i marketprism.Instrument, want []*marketprism.Record) {
	var (
		book   orderbook.Book
		synced bool
	)
	for _, r := range want {
		switch {
		case r.Snapshot != nil:
			book.Reset(r.Snapshot)
			synced = true
		case r.Update != nil:
			book.Apply(r.Update)
		case r.Gap != nil:
			synced = false
		}
	}
	got, err := store.BookAt(c.t.Context(), i, time.Now().AddDate(1, 0, 0))
	if !synced {
		var missing *chstore.MissingError
		require.ErrorAs(c.t, err, &missing, "%s", i)
		return
	}
	require.NoError(c.t, err, "%s", i)
	wantText, err := book.AppendText(nil)
	require.NoError(c.t, err)
	gotText, err := got.AppendText(nil)
	require.NoError(c.t, err)
	require.Equal(c.t, string(wantText), string(gotText), "%s", i)
}
