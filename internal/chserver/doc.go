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
// The server listens on 127.0.0.1 only, with the user "default" and no password. It holds the far end of a
// pseudo terminal whose near end the parent keeps. When the parent closes it, or dies in whatever way,
// the server reads the end of its input and shuts down cleanly, so it never outlives the parent.
//
// # Limits
//
// linux/amd64 with glibc. Elsewhere the package compiles and [Start] returns [ErrUnsupported].
package chserver
