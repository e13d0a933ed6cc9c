package chstore_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

var wholeDay = flag.Bool("day", false, "run the queries of QUERIES.md on a whole day, and write their processor times into it")

// question finds the parts of a question in QUERIES.md: its number, its query, its time.
var question = regexp.MustCompile("(?s)\n## (\\d+)\\. .*?```sql\n(.*?)\n```\n\nTakes (.*?) ms\\.\n")

// Every query of QUERIES.md runs and answers something.
func TestQueries(t *testing.T) {
	short.Skip(t)
	file, err := os.ReadFile("QUERIES.md")
	require.NoError(t, err)
	text := string(file)
	questions := question.FindAllStringSubmatchIndex(text, -1)
	require.Len(t, questions, 15)
	require.Equal(t, 15, strings.Count(text, "```sql"))
	s, db := openStore(t, chstore.Config{})
	day := analystDay{rate: 1, start: time.Date(2026, 3, 1, 11, 55, 0, 0, time.UTC), length: 15 * time.Minute}
	if *wholeDay {
		day = analystDay{rate: 10, start: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), length: 24 * time.Hour}
	}
	day.write(t, s)
	if *wholeDay {
		for _, table := range recordTables() {
			require.NoError(t, db.Conn.Exec(t.Context(), "OPTIMIZE TABLE "+table+" FINAL"))
		}
	}
	costs := make([]int64, len(questions))
	for i, q := range questions {
		number, query := text[q[2]:q[3]], text[q[4]:q[5]]
		require.Equal(t, fmt.Sprint(i+1), number)
		var took []int64
		for range map[bool]int{true: 3, false: 1}[*wholeDay] {
			var micros atomic.Int64
			ctx := clickhouse.Context(t.Context(), clickhouse.WithProfileEvents(func(events []clickhouse.ProfileEvent) {
				for _, e := range events {
					if e.Name == "UserTimeMicroseconds" || e.Name == "SystemTimeMicroseconds" {
						micros.Add(e.Value)
					}
				}
			}))
			found, err := db.Conn.Query(ctx, query)
			require.NoError(t, err, "%s: %s", number, query)
			n := 0
			for found.Next() {
				n++
			}
			require.NoError(t, found.Err(), number)
			require.NoError(t, found.Close())
			require.Positive(t, n, "%s answers nothing", number)
			took = append(took, micros.Load())
		}
		slices.Sort(took)
		costs[i] = took[len(took)/2]
		t.Logf("%s: %d us", number, costs[i])
	}
	if !*wholeDay {
		return
	}
	for i := len(questions) - 1; i >= 0; i-- {
		q := questions[i]
		text = text[:q[6]] + fmt.Sprint(max(1, (costs[i]+999)/1000)) + text[q[7]:]
	}
	require.NoError(t, os.WriteFile("QUERIES.md", []byte(text), 0o644))
}

// An analystDay is a span of a busy symbol with everything that is collected of it, with a gap in its middle.
type analystDay struct {
	rate   int // updates and tickers a second; half as many trades, a quarter as many aggregates
	start  time.Time
	length time.Duration
}

func (d analystDay) write(t testing.TB, s *chstore.Store) {
	rng := rand.New(rand.NewPCG(1, 1))
	stream := eventgen.NewStream(eventgen.Config{Seed: 1})
	var book orderbook.Book
	book.Reset(&stream.Snapshot)
	var recs []marketprism.Record
	var trade, seq int64
	step := time.Second / time.Duration(d.rate)
	for i, at := 0, d.start; at.Before(d.start.Add(d.length)); i, at = i+1, at.Add(step) {
		rec := marketprism.Record{Instrument: spot("BTCUSDT"), EventTime: at, ReceivedAt: at.Add(3*time.Millisecond + time.Duration(rng.ExpFloat64()*1e6))}
		add := func(rec marketprism.Record) {
			seq++
			rec.Origin = marketprism.Origin{Source: "MD@2026-03-01T00:00:00Z", Sequence: uint64(seq)}
			recs = append(recs, rec)
		}
		untimed := rec
		untimed.EventTime = time.Time{}
		if i%(60*d.rate) == 0 {
			snapshot := book.Snapshot()
			snapshot.EventTime = time.Time{}
			r := untimed
			r.Snapshot = &snapshot
			add(r)
		}
		u := stream.Next()
		u.EventTime = at
		book.Apply(&u)
		r := rec
		r.Update = &u
		add(r)
		bid, _ := book.BestBid()
		ask, _ := book.BestAsk()
		r = untimed
		r.Ticker = &marketprism.Ticker{UpdateID: u.LastID, Bid: bid, Ask: ask}
		add(r)
		if i%2 == 0 {
			trade++
			r = rec
			tr := marketprism.Trade{ID: trade, Price: ask.Price, Quantity: orderbook.Fixed(1 + rng.IntN(1e8)), TradeTime: at}
			if tr.BuyerMaker = rng.IntN(2) == 0; tr.BuyerMaker {
				tr.Price = bid.Price
			}
			r.Trade = &tr
			add(r)
			if trade%2 == 0 {
				agg := tr
				agg.ID, agg.Aggregate, agg.FirstID, agg.LastID = trade/2, true, trade-1, trade
				r.Trade = &agg
				add(r)
			}
		}
		if at.Equal(d.start.Add(d.length / 2)) {
			r = untimed
			r.Gap = &orderbook.Gap{After: u.LastID, Reason: orderbook.GapDisconnect}
			add(r)
		}
		if len(recs) >= 50_000 {
			require.NoError(t, s.Write(t.Context(), recs))
			recs = recs[:0]
		}
	}
	require.NoError(t, s.Write(t.Context(), recs))
}
