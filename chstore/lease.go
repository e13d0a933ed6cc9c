package chstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// A lease is the right of one Store to write the records of a source to a table. It is kept in the table
// leases, and each holder has the next epoch. A claim for the epoch after the newest one is an INSERT
// whose deduplication token is that epoch, of which ClickHouse keeps the first and ignores the rest.
//
// A lease is renewed by the Writes that use it, and no INSERT outlasts it. A new holder fences: it kills
// the INSERTs of its predecessor that may still run. So a holder that stopped, or whose clock did, writes
// nothing once another one has started.
type lease struct {
	*recordTable
	source string
	term
}

// A term is the time in which this Store holds the lease. The zero value is none.
type term struct {
	epoch   uint64
	version uint64    // counts the rows written for the epoch; the column turn
	ends    time.Time // by this process's monotonic clock, counted from before the request for it
}

// within returns a context that ends with the lease, so that no INSERT outlasts it.
func (l *lease) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if l.ends.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, l.ends)
}

// acquire makes sure that the lease lasts for at least a third of its duration: it renews or claims it. It
// returns claimed for a new term, during which an INSERT of another Store may have come before, and also where the
// claim failed.
func (l *lease) acquire(ctx context.Context) (claimed bool, err error) {
	if time.Until(l.ends) > l.cfg.Lease/3 {
		return false, nil
	}
	if renewed, err := l.renew(ctx); renewed || err != nil {
		return false, err
	}
	newest, err := l.newest(ctx)
	switch {
	case err != nil:
		return false, err
	case newest.live && newest.holder != l.storeID:
		return false, l.heldBy(newest)
	}
	return true, l.claim(ctx, newest.epoch+1)
}

// renew extends a term that has not ended. It counts only if it was done before that end: no other Store
// can have started by then, and whoever looks later sees it.
func (l *lease) renew(ctx context.Context) (bool, error) {
	begin, ends := time.Now(), l.ends
	if !begin.Before(ends) {
		return false, nil
	}
	l.version++
	if err := l.record(ctx, l.term, l.cfg.Lease, ""); err != nil {
		return false, err
	}
	if !time.Now().Before(ends) {
		l.term = term{}
		return false, nil
	}
	l.ends = begin.Add(l.cfg.Lease)
	return true, nil
}

// claim asks for an epoch.
func (l *lease) claim(ctx context.Context, epoch uint64) error {
	l.term = term{}
	claimed := term{epoch: epoch, version: 1, ends: time.Now().Add(l.cfg.Lease)}
	if err := l.record(ctx, claimed, l.cfg.Lease, fmt.Sprintf("lease-%s-%d", l.key(), epoch)); err != nil {
		return err
	}
	newest, err := l.newest(ctx)
	switch {
	case err != nil:
		return err
	case newest.epoch == epoch && newest.holder == l.storeID:
		l.term = claimed
		return nil
	case newest.epoch >= epoch:
		return l.heldBy(newest)
	}
	if err := l.expire(ctx, epoch); err != nil {
		return err
	}
	return errClaim
}

// release ends the lease, and returns whether there was one.
func (l *lease) release(ctx context.Context) (released bool, err error) {
	if !time.Now().Before(l.ends) {
		return false, nil
	}
	epoch := l.epoch
	l.term = term{}
	return true, l.expire(ctx, epoch)
}

// expire ends an epoch, so that the next one can be claimed.
func (l *lease) expire(ctx context.Context, epoch uint64) error {
	return l.record(ctx, term{epoch: epoch, version: math.MaxUint64}, 0, "")
}

// record writes that this Store holds the lease for a duration from now on.
func (l *lease) record(ctx context.Context, t term, duration time.Duration, token string) error {
	settings := clickhouse.Settings{"async_insert": 0, "deduplicate_insert": "disable"}
	if token != "" {
		settings["deduplicate_insert"], settings["insert_deduplication_token"] = "enable", token
	}
	if l.cfg.Cluster.replicated() { // as newest reads: the row is seen on every replica
		settings["insert_quorum"], settings["insert_quorum_parallel"] = "auto", 0
	}
	err := l.conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), "INSERT INTO "+l.tableName("leases")+
		" (name, epoch, holder, turn, until) SELECT {name:String}, {epoch:UInt64}, {holder:String}, {turn:UInt64}, "+
		"now64(3, 'UTC') + toIntervalMillisecond({term:Int64})",
		named("name", l.key()), named("epoch", t.epoch),
		named("holder", l.storeID), named("turn", t.version), named("term", duration.Milliseconds()))
	if err != nil {
		return fmt.Errorf("lease of %q: %w", l.source, err)
	}
	return nil
}

// A leaseRow is what the server knows of a lease.
type leaseRow struct {
	epoch  uint64
	holder string
	until  time.Time
	live   bool
}

// newest returns the newest epoch of the lease; a zero one if there is none.
func (l *lease) newest(ctx context.Context) (row leaseRow, err error) {
	err = l.conn.oneRow(ctx, l.current(), "SELECT max(epoch), argMax(holder, (epoch, turn)), argMax(until, (epoch, turn)) AS last, "+
		"last > now64(3, 'UTC') FROM "+l.tableName("leases")+" WHERE name = {name:String}",
		[]any{named("name", l.key())}, &row.epoch, &row.holder, &row.until, &row.live)
	if err != nil {
		return row, fmt.Errorf("lease of %q: %w", l.source, err)
	}
	return row, nil
}

// key returns the lease's name in the table.
func (l *lease) key() string { return l.name + "/" + l.source }

func (l *lease) heldBy(row leaseRow) error {
	return &LeaseError{Table: l.name, Source: l.source, Holder: row.holder, Until: row.until}
}
