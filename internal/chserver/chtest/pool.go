package chtest

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// A Pool hands databases with tables on from test to test, where making the tables takes longer than the test. It is
// used on the shared server only. The zero value is ready for use, by tests at the same time too.
type Pool struct {
	mu   sync.Mutex
	idle []pooled
}

// pooled is a database without a test.
type pooled struct {
	name   string
	tables []table // as they were made
}

type table struct {
	name, definition string
	stored           bool // has rows of its own: it is no view
	rows             uint64
}

// Open returns a database with the tables that prepare makes in a new one. At the end of the test each table that was
// made empty is replaced by a new one, so that nothing of the test is left: no rows, parts, tokens of inserts, and no
// stopped merges. The database goes to another test if its definitions are still those that were made, and is dropped
// otherwise.
func (p *Pool) Open(t testing.TB, prepare func(*DB)) *DB {
	t.Helper()
	if os.Getenv(DSNEnv) != "" { // a server that outlives the tests
		db := Open(t)
		prepare(db)
		return db
	}
	server := optionsFor(t, sharedServer(t))
	found, ok := p.take()
	if !ok {
		found.name = create(t, server)
	}
	t.Cleanup(func() { p.give(t, server, found) })
	db := connect(t, server, found.name)
	if !ok {
		prepare(db)
		var err error
		if found.tables, err = readTables(t.Context(), db.Conn, found.name); err != nil {
			t.Fatalf("chtest: reading the tables that were made: %v", err)
		}
	}
	return db
}

func (p *Pool) take() (pooled, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return pooled{}, false
	}
	last := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return last, true
}

// give empties a database for the next test, or drops it where that cannot be done.
func (p *Pool) give(t testing.TB, server *clickhouse.Options, db pooled) {
	if statements, ok := renewal(server, db); ok && execOnce(server, statements...) == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.idle = append(p.idle, db)
		return
	}
	if err := execOnce(server, "DROP DATABASE IF EXISTS "+db.name+" SYNC"); err != nil {
		t.Errorf("chtest: dropping the test's database: %v", err)
	}
}

// renewal returns the statements that replace the tables which were made empty, and whether all tables are as they were.
func renewal(server *clickhouse.Options, db pooled) (statements []string, ok bool) {
	conn, err := clickhouse.Open(cloneOptions(server))
	if err != nil {
		return nil, false
	}
	defer conn.Close()
	now, err := readTables(context.Background(), conn, db.name)
	if err != nil || len(now) == 0 || len(now) != len(db.tables) {
		return nil, false
	}
	var names, creates []string
	for i, made := range db.tables {
		switch {
		case now[i].name != made.name || now[i].definition != made.definition:
			return nil, false
		case made.rows > 0 && now[i].rows != made.rows:
			return nil, false
		case made.stored && made.rows == 0:
			names = append(names, db.name+".`"+made.name+"`")
			creates = append(creates, made.definition)
		}
	}
	return append([]string{"DROP TABLE " + strings.Join(names, ", ") + " SYNC"}, creates...), true
}

func readTables(ctx context.Context, conn driver.Conn, database string) (tables []table, err error) {
	rows, err := conn.Query(ctx, "SELECT name, create_table_query, endsWith(engine, 'MergeTree') AS stored, if(stored, ifNull(total_rows, 0), 0) "+
		"FROM system.tables WHERE database = ? ORDER BY name", database)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var t table
		var stored uint8
		if err := rows.Scan(&t.name, &t.definition, &stored, &t.rows); err != nil {
			return nil, err
		}
		t.stored = stored == 1
		tables = append(tables, t)
	}
	return tables, rows.Err()
}
