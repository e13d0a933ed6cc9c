// Package chserver runs a real ClickHouse server as a child process, for tests and examples.
//
// # Engine
//
// The engine is libchdb, ClickHouse as one shared library. "make engine" installs it from a pinned
// npm package; [Find] says where it is. There is no container, no download at run time, and no
// C compiler involved: a child process opens the library and calls its one entry point, which is the
// program clickhouse-local. That program can listen on the native and the HTTP protocol and serves them
// as any server does: MergeTree tables, background merges, TTL, disks and volumes, users' sessions.
//
// It lacks a Keeper of its own, ON CLUSTER, CREATE USER, and a queue for asynchronous inserts
// (async_insert is accepted, and every insert is synchronous). Its database "default" is a special
// engine: create one of your own.
//
// With <remote_servers> in Config.Sections, Distributed tables and clusterAllReplicas work over several
// servers. With <zookeeper> a Replicated table can be made and is registered there, but stays read-only:
// the engine has no port for other servers to fetch parts from, whatever the configuration says.
//
// # Usage
//
// The child is the running program itself, started a second time, so [Main] must be the first call
// of main or TestMain:
//
//	func main() {
//		chserver.Main()
//		…
//		server, err := chserver.Start(ctx, chserver.Config{Dir: "data/clickhouse"})
//		…
//		defer server.Close()
//	}
//
// Tests use package chtest, which does this for them.
//
// # Lifetime
//
// The server holds the far end of a
// pseudo terminal whose near end the parent keeps. When the parent closes it, or dies in whatever way,
// the server reads the end of its input and shuts down cleanly, so it never outlives the parent.
//
// # Who gets in
//
// The server listens on 127.0.0.1, and has no port for HTTP, unless its Config says otherwise. It lets in [User] with a
// password that the parent makes and keeps; the folder has its hash only. That user reaches nothing but the tables: no
// file, address, other server or SYSTEM statement, unless granted. The user "default", which the engine needs to start, gets
// no session beside its own. All files are the user's alone who runs the server.
//
// # Limits
//
// linux/amd64 with glibc. Elsewhere the package compiles and [Start] returns [ErrUnsupported].
package chserver
