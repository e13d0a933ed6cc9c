// Package chaos consists of tests that run the archive in separate processes, kill them with SIGKILL at random
// moments while records flow, and compare the stored with the published records.
//
// The processes run the test binary: a NATS server (internal/natsserver), a ClickHouse server (internal/chserver),
// and the archiver: a natsbus.Consumer for each stream before one chstore.Store. Each stops at the end of its
// standard input, and so never outlives the test.
package chaos
