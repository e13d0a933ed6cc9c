// Package chtest gives the tests of a program a real ClickHouse: a current one that runs as a child process, on loopback and
// with a folder of its own. It starts in under a second.
//
// A test package calls [Main] from its TestMain, and [Open] in each test that needs a database:
//
//	func TestMain(m *testing.M) { chtest.Main(m) }
//
//	func TestArchive(t *testing.T) {
//		db := chtest.Open(t)
//		store, err := chstore.Open(t.Context(), db.DSN(), chstore.Config{Database: db.Name})
//
// All tests of the package share one server, and each has an empty database of its own. A test that wants a server to itself,
// to kill it and start it again, calls [Start].
//
// # Installation
//
// The server is ClickHouse as a shared library, which one command installs for the user, with npm (about 180 MB to fetch,
// pinned by its hash, into the user's cache folder):
//
//	go run github.com/marketprism/marketprism/chstore/chtest/engine
//
// Without it the tests are skipped, with a message that names this command; where the environment variable CI is "true",
// they fail. There is an engine for linux/amd64 with glibc only: elsewhere the tests are skipped.
//
// With the environment variable CLICKHOUSE_DSN, such as clickhouse://user:password@host:9000, Open uses that server on any
// platform. Its user must be allowed to create and drop databases.
package chtest
