// Package chtest gives the tests of this repository a real ClickHouse; package chstore/chtest gives those of other modules the same.
//
// A test package calls [Main] from its TestMain, and [Open] in each test:
//
//	func TestMain(m *testing.M) { chtest.Main(m) }
//
//	func TestInsert(t *testing.T) {
//		db := chtest.Open(t)
//		err := db.Conn.Exec(t.Context(), "CREATE TABLE …")
//
// All tests of the package share one server, which is started by the first that needs it, and each has a
// database of its own. With CLICKHOUSE_DSN in the environment the server it names is used instead. A test that
// wants a server to itself, to stop, kill or configure it, calls [Start].
//
// Without the engine such tests are skipped with a message that names the command to install it. Where the
// environment variable CI is "true", they fail.
package chtest
