// Package chaos has no code but its tests: they run the archive as processes of their own, kill them
// with SIGKILL at random moments while records flow, and compare what is stored in the end with what
// was published.
//
// The processes are the test binary again: a NATS server (internal/natsserver), a ClickHouse
// (internal/chserver), and the archiver, which is a natsbus.Consumer for each stream before one
// chstore.Store. Each takes the end of its standard input as the order to stop, and so ends with the
// test whatever happens.
package chaos
