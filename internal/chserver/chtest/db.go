package chtest

import (
	"context"
	"crypto/rand"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism/internal/chserver"
)

// DSNEnv is the environment variable that names a server for Open to use instead of one of its own, in the form
// clickhouse.ParseDSN takes: clickhouse://user:password@host:9000/database. The user must be allowed to create
// databases. A test that needs the storage policy chserver.TieredPolicy there finds it only if that server has it.
const DSNEnv = "CLICKHOUSE_DSN"

// DB is a database made for one test.
type DB struct {
	Conn driver.Conn // its current database is Name; closed at the end of the test
	Addr string      // host:port of the native protocol
	Name string

	options clickhouse.Options
}

// Options returns what Conn was opened with, for further connections. The caller may change it.
func (db *DB) Options() *clickhouse.Options { return cloneOptions(&db.options) }

// DSN is the server's address with user and password, for chstore.Dial and programs.
func (db *DB) DSN() string {
	return (&url.URL{Scheme: "clickhouse", User: url.UserPassword(db.options.Auth.Username, db.options.Auth.Password), Host: db.Addr}).String()
}

// Open makes a new database on the shared server, or on the one DSNEnv names, connects to it, and drops it at the
// end of the test.
func Open(t testing.TB) *DB {
	t.Helper()
	var options *clickhouse.Options
	if dsn := os.Getenv(DSNEnv); dsn != "" {
		var err error
		if options, err = clickhouse.ParseDSN(dsn); err != nil {
			t.Fatalf("chtest: %s: %v", DSNEnv, err)
		}
	} else {
		options = optionsFor(t, sharedServer(t))
	}
	db := open(t, options)
	t.Cleanup(func() {
		if err := execOnce(options, "DROP DATABASE IF EXISTS "+db.Name+" SYNC"); err != nil {
			t.Errorf("chtest: dropping the test's database: %v", err)
		}
	})
	return db
}

// OpenAt makes a new database on a server and connects to it. The database is left to end with the server, which the
// test may have killed by then.
func OpenAt(t testing.TB, server *chserver.Server) *DB {
	t.Helper()
	return open(t, optionsFor(t, server))
}

func open(t testing.TB, server *clickhouse.Options) *DB {
	t.Helper()
	return connect(t, server, create(t, server))
}

// create makes a database and returns its name.
func create(t testing.TB, server *clickhouse.Options) string {
	t.Helper()
	name := databaseName(t.Name())
	if err := execOnce(server, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("chtest: creating the test's database: %v", err)
	}
	return name
}

func connect(t testing.TB, server *clickhouse.Options, database string) *DB {
	t.Helper()
	options := cloneOptions(server)
	options.Auth.Database = database
	conn, err := clickhouse.Open(cloneOptions(options))
	if err != nil {
		t.Fatalf("chtest: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return &DB{Conn: conn, Addr: options.Addr[0], Name: database, options: *options}
}

// optionsFor returns the options for a test's server. It compiles no queries to machine code, which pays for many rows only
// and takes longer than a query of a test.
func optionsFor(t testing.TB, server *chserver.Server) *clickhouse.Options {
	t.Helper()
	options, err := clickhouse.ParseDSN(server.DSN())
	if err != nil {
		t.Fatalf("chtest: %v", err)
	}
	options.DialTimeout = 30 * time.Second // of a server that others' work may starve
	options.Settings = clickhouse.Settings{"compile_expressions": 0, "compile_aggregate_expressions": 0, "compile_sort_description": 0}
	return options
}

func cloneOptions(o *clickhouse.Options) *clickhouse.Options {
	c := *o
	c.Addr = slices.Clone(o.Addr)
	c.Settings = maps.Clone(o.Settings)
	return &c
}

// execOnce runs statements on a connection of its own: the test may have done anything to others.
func execOnce(options *clickhouse.Options, statements ...string) error {
	conn, err := clickhouse.Open(cloneOptions(options))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, statement := range statements {
		if err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// databaseName makes a name that says which test it belongs to and that no other has.
func databaseName(test string) string {
	const maxTestName = 60
	readable := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, test)
	return readable[:min(len(readable), maxTestName)] + "_" + strings.ToLower(rand.Text()[:10])
}
