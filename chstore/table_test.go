package chstore

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
)

// Partition.id computes the partition that ClickHouse computes, for every time that can be stored.
func TestPartitionIsThatOfClickHouse(t *testing.T) {
	short.Skip(t)
	db := chtest.Open(t)
	rng := rand.New(rand.NewPCG(1, 1))
	times := []int64{0, 1, math.MaxInt64}
	for range 2_000 {
		times = append(times, rng.Int64())
	}
	for year := 1970; year < 2262; year++ { // ISO years begin in other weeks than years
		for day := -4; day < 5; day++ {
			if at := time.Date(year, 1, 1+day, 0, 0, 0, 0, time.UTC); storable(at) {
				times = append(times, at.UnixNano(), at.UnixNano()+int64(24*time.Hour)-1)
			}
		}
	}
	require.NoError(t, db.Conn.Exec(t.Context(), "CREATE TABLE times (ts DateTime64(9, 'UTC')) ENGINE = Memory"))
	batch, err := db.Conn.PrepareBatch(t.Context(), "INSERT INTO times")
	require.NoError(t, err)
	for _, n := range times {
		require.NoError(t, batch.Append(time.Unix(0, n)))
	}
	require.NoError(t, batch.Send())

	for _, step := range []Partition{Hour, Day, Week, Month} {
		p := newPartitioner(step)
		rows, err := db.Conn.Query(t.Context(), "SELECT toUnixTimestamp64Nano(ts), toUInt64("+step.expression()+") FROM times")
		require.NoError(t, err)
		count := 0
		for rows.Next() {
			var n int64
			var want uint64
			require.NoError(t, rows.Scan(&n, &want))
			require.EqualValues(t, want, p.id(n), "%s of %s", step, time.Unix(0, n).UTC())
			count++
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
		require.Equal(t, len(times), count)
	}
}
