package chstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/sink"
)

// answers returns everything that a Store answers, as text.
func answers(ctx context.Context, s *chstore.Store, recs []marketprism.Record) (all []string, err error) {
	add := func(what string, value any) { all = append(all, fmt.Sprintf("%s: %v", what, value)) }
	last := recs[0].Time()
	for _, r := range recs {
		if r.Time().After(last) {
			last = r.Time()
		}
	}
	for _, i := range instruments(recs) {
		for rec, err := range s.Records(ctx, chstore.Query{Instrument: i}) {
			if err != nil {
				return nil, err
			}
			add("record", rec.Key())
		}
		book, err := s.BookAt(ctx, i, last)
		if err != nil {
			return nil, err
		}
		add("book", book.LastID())
		n := 0
		for state, err := range s.Books(ctx, chstore.BookQuery{Instrument: i}) {
			if err != nil {
				return nil, err
			}
			if state.Book != nil {
				n++
			}
		}
		add("books", n)
	}
	n := 0
	err = s.Replay(ctx, chstore.ReplayQuery{Instruments: instruments(recs)}, chstore.ReplayConfig{}, sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		n += len(recs)
		return nil
	}))
	if err != nil {
		return nil, err
	}
	add("replayed", n)
	marks, err := s.Watermark(ctx, "S")
	if err != nil {
		return nil, err
	}
	add("watermark", marks)
	report, err := s.Check(ctx, chstore.CheckQuery{})
	if err != nil {
		return nil, err
	}
	add("report", report.String())
	usage, err := s.Usage(ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range usage {
		add("usage", fmt.Sprint(u.Table, u.Partition, u.Rows))
	}
	disks, err := s.Disks(ctx)
	if err != nil {
		return nil, err
	}
	add("disks", len(disks))
	plan, err := s.Plan(ctx)
	if err != nil {
		return nil, err
	}
	add("plan", plan)
	return all, nil
}

// hostile are settings of sessions that make answers shorter, longer or other ones without an error.
func hostile() (harmless clickhouse.Settings, limits []clickhouse.Settings) {
	return clickhouse.Settings{ // a SELECT can do without them
			"limit": 1, "offset": 1, "extremes": 1, "additional_result_filter": "0", "final": 1,
			"use_query_cache": 1, "query_cache_system_table_handling": "save", "query_cache_nondeterministic_function_handling": "save",
			"aggregate_functions_null_for_empty": 1, "empty_result_for_aggregation_by_empty_set": 1, "join_use_nulls": 1,
			"prefer_column_name_to_alias": 1,
		}, []clickhouse.Settings{
			{"max_result_rows": 1, "result_overflow_mode": "break", "max_block_size": 1},
			{"max_rows_to_group_by": 1, "group_by_overflow_mode": "any"},
			{"max_rows_in_distinct": 1, "distinct_overflow_mode": "break"},
		}
}

// Neither the settings of an address nor those of a profile can shorten or change an answer without an error.
func TestSettingsOfASession(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	recs := withOrigins(sound(marketprism.Spot), "S", 1)
	require.NoError(t, s.Write(t.Context(), recs))
	want, err := answers(t.Context(), s, recs)
	require.NoError(t, err)
	require.Greater(t, len(want), len(recs))
	options := db.Options()
	harmless, limits := hostile()
	options.Settings = harmless
	got, err := answers(t.Context(), storeOn(t, db, options), recs)
	require.NoError(t, err)
	require.Equal(t, want, got)
	for _, settings := range limits {
		options.Settings = settings
		_, err := answers(t.Context(), storeOn(t, db, options), recs)
		var exception *clickhouse.Exception
		require.ErrorAs(t, err, &exception, "%v", settings)
		require.Contains(t, []int32{158, 191, 396}, exception.Code, "%v: %v", settings, err) // that a limit is exceeded
		require.False(t, chstore.Retryable(err))
	}
}

// A Store that must know what is stored does not store records twice, whatever the settings are.
func TestSettingsOfASessionWriteOnce(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	recs := withOrigins(sound(marketprism.Spot), "S", 1)
	require.NoError(t, s.Write(t.Context(), recs))
	options := db.Options()
	harmless, limits := hostile()
	for _, settings := range append(limits, harmless) {
		options.Settings = settings
		_ = storeOn(t, db, options).Write(t.Context(), recs) // an error is not what matters here
		require.EqualValues(t, len(recs), rows(t, db), "%v", settings)
	}
}

// storeOn returns a Store on connections with options, without Migrate.
func storeOn(t *testing.T, db *chtest.DB, options *clickhouse.Options) *chstore.Store {
	t.Helper()
	conn, err := chstore.NewConn(options)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	s, err := chstore.New(conn, chstore.Config{Database: db.Name, Attempts: -1})
	require.NoError(t, err)
	return s
}

// users is a file of users, of which all but the first may change no setting.
const users = `<clickhouse>
	<profiles>
		<locked><readonly>1</readonly></locked>
		<short><readonly>1</readonly><max_result_rows>1</max_result_rows><result_overflow_mode>break</result_overflow_mode></short>
		<first><readonly>1</readonly><limit>1</limit></first>
		<more><readonly>1</readonly><extremes>1</extremes></more>
		<setter><readonly>2</readonly><limit>1</limit><extremes>1</extremes></setter>
	</profiles>
	<users>
		USERS
	</users>
</clickhouse>`

// A user who may change no setting can read, also with a deadline, of which the driver would make a setting. If such a
// user's profile shortens or changes answers, there is an error.
func TestReadonlyUser(t *testing.T) {
	short.Skip(t)
	names := []string{"locked", "short", "first", "more", "setter"}
	var each []string
	for _, name := range names {
		each = append(each, fmt.Sprintf("<%[1]s><password></password><networks><ip>::/0</ip></networks><profile>%[1]s</profile></%[1]s>", name))
	}
	config := chtest.Config()
	config.Dir = t.TempDir()
	more := filepath.Join(config.Dir, "users.d") // the server adds its files to users.xml
	require.NoError(t, os.Mkdir(more, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(more, "test.xml"), []byte(strings.ReplaceAll(users, "USERS", strings.Join(each, "\n"))), 0o600))
	server := chtest.Start(t, config)
	db := chtest.OpenAt(t, server)
	as := func(user string) *chstore.Store {
		options := db.Options()
		options.Auth.Username, options.Auth.Password = user, ""
		options.Settings = nil // of which the user "locked" may change none
		return storeOn(t, db, options)
	}
	s := storeOn(t, db, db.Options())
	require.NoError(t, s.Migrate(t.Context()))
	recs := withOrigins(sound(marketprism.Spot), "S", 1)
	require.NoError(t, s.Write(t.Context(), recs))
	want, err := answers(t.Context(), s, recs)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, user := range []string{"locked", "setter"} {
		got, err := answers(ctx, as(user), recs)
		require.NoError(t, err, user)
		require.Equal(t, want, got, user)
	}
	for _, user := range []string{"short", "first", "more"} {
		_, err := answers(ctx, as(user), recs)
		var exception *clickhouse.Exception
		require.ErrorAs(t, err, &exception, user)
		require.EqualValues(t, 164, exception.Code, "%s: %v", user, err)
		require.Equal(t, chstore.Reason("readonly"), chstore.ReasonOf(err))
		require.False(t, chstore.Retryable(err))
	}
	require.Error(t, as("locked").Write(ctx, recs[:1]))
}
