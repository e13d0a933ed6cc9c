package chtest

import (
	"net/url"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

// Main runs the tests of a package and then closes the server they share. It does not return. In TestMain nothing that
// matters may come before it: the server is the test program itself, started a second time, and becomes the server here.
//
// m is the *testing.M, or something around it whose Run does more before and after the tests.
func Main(m interface{ Run() int }) { chtest.Main(m) }

// A DB is a database of one test, empty at first.
type DB struct {
	Conn driver.Conn // a client whose current database is Name; closed when the test has ended
	Addr string      // host:port of the native protocol
	Name string      // of the database, for chstore.Config.Database

	db *chtest.DB
}

// Open makes a database on the server that all tests share, or on the one that CLICKHOUSE_DSN names, and drops it when the
// test has ended. Without ClickHouse it skips or fails the test: see the package's documentation.
func Open(t testing.TB) *DB {
	t.Helper()
	db := chtest.Open(t)
	return &DB{Conn: db.Conn, Addr: db.Addr, Name: db.Name, db: db}
}

// DSN returns the address of the database with user and password, for chstore.Open, clickhouse.ParseDSN and programs.
func (db *DB) DSN() string { return withDatabase(db.db.DSN(), db.Name) }

// withDatabase returns a DSN with the name of a database.
func withDatabase(dsn, name string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn // it comes from url.URL.String
	}
	return u.JoinPath(name).String() // #nosec G125 -- tests name the database
}

// A Server is a ClickHouse of one test, which may kill it.
type Server struct {
	server *chserver.Server // of the latest start
}

// Start starts a ClickHouse for this test alone, in a folder of its own, and closes it when the test has ended. It begins
// without databases. Without ClickHouse it skips or fails the test, as Open does; it does not use CLICKHOUSE_DSN.
func Start(t testing.TB) *Server {
	t.Helper()
	return &Server{server: chtest.Start(t, chtest.Config())}
}

// DSN returns the server's address with user and password, the same for the whole test. The user may create databases.
func (s *Server) DSN() string { return s.server.DSN() }

// Crash kills the server, as kill -9 does, and waits for its end.
func (s *Server) Crash() { s.server.Crash() }

// Restart shuts the server down in order, if it runs, and starts it again with the same data and at the same address.
// A server waits some seconds for clients that are still connected.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.server.Close(); err != nil {
		t.Fatalf("chtest: %v", err)
	}
	s.server = chtest.Start(t, s.server.Config())
}
