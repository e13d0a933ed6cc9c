package chstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// A LeaseError tells that another Store writes the records of a source to a table. It is Retryable: the
// lease ends with Release, or by itself when its holder is gone.
type LeaseError struct {
	Table, Source string
	Holder        string    // tells the other Store from any other
	Until         time.Time // by the server's clock
}

func (e *LeaseError) Error() string {
	return fmt.Sprintf("chstore: another store, %s, writes the records of %q to %s, at least until %s",
		e.Holder, e.Source, e.Table, e.Until.Format(time.RFC3339))
}

// errLapsed is the error of a lease that ended in the middle of a Write and was claimed anew.
var errLapsed = errors.New("chstore: the lease ended during a Write")

// errClaim is the error of a claim that left no trace: its token was noted by a server that then crashed.
var errClaim = errors.New("chstore: the claim of a lease was lost")

// A lease is the right of one Store to write the records of a source to a table. It lies in the table
// leases, and each holder has the next epoch. A claim for the epoch after the newest one is an INSERT
// whose deduplication token is that epoch, of which ClickHouse keeps the first and ignores the rest.
//
// A lease is renewed by the Writes that use it, and no INSERT outlasts it. A new holder fences: it kills
// what may still run of the one before it. So a holder that stood still, or whose clock did, writes
// nothing once another one has begun.
type lease struct {
	epoch uint64
	turn  uint64    // counts what was said of it
	ends  time.Time // by this process's monotonic clock, counted from before it was asked for
}

// within ends ctx with the lease, so that no INSERT outlasts it.
func (l lease) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if l.ends.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, l.ends)
}

// leaseState is what the server has of a lease.
type leaseState struct {
	epoch  uint64
	holder string
	until  time.Time
	live   bool
}

// hold makes sure that this Store has the lease of a source for a third of its time at least. The
// source is unsettled where the lease is a new one.
func (w *writer) hold(ctx context.Context, name string, src *source) error {
	term := w.s.cfg.Lease
	if term <= 0 || name == "" || time.Until(src.lease.ends) > term/3 {
		return nil
	}
	if renewed, err := w.renew(ctx, name, src); renewed || err != nil {
		return err
	}
	state, err := w.leaseOf(ctx, name)
	switch {
	case err != nil:
		return err
	case state.live && state.holder != w.s.id:
		return w.leased(name, state)
	}
	src.settled = false
	return w.claim(ctx, name, src, state.epoch+1)
}

// renew makes a lease longer that has not ended. It counts only if it was done before that end: nobody
// can have begun by then, and whoever looks later sees it.
func (w *writer) renew(ctx context.Context, name string, src *source) (bool, error) {
	begin, ends := time.Now(), src.lease.ends
	if !begin.Before(ends) {
		return false, nil
	}
	src.lease.turn++
	if err := w.say(ctx, name, src.lease, w.s.cfg.Lease, ""); err != nil {
		return false, err
	}
	if !time.Now().Before(ends) {
		src.lease = lease{}
		return false, nil
	}
	src.lease.ends = begin.Add(w.s.cfg.Lease)
	return true, nil
}

// claim asks for an epoch.
func (w *writer) claim(ctx context.Context, name string, src *source, epoch uint64) error {
	src.lease = lease{}
	claimed := lease{epoch: epoch, turn: 1, ends: time.Now().Add(w.s.cfg.Lease)}
	if err := w.say(ctx, name, claimed, w.s.cfg.Lease, fmt.Sprintf("lease-%s-%d", w.leaseName(name), epoch)); err != nil {
		return err
	}
	state, err := w.leaseOf(ctx, name)
	switch {
	case err != nil:
		return err
	case state.epoch == epoch && state.holder == w.s.id:
		src.lease = claimed
		return nil
	case state.epoch >= epoch:
		return w.leased(name, state)
	}
	if err := w.end(ctx, name, epoch); err != nil {
		return err
	}
	return errClaim
}

// end makes an epoch one that is over, so that the next one can be claimed.
func (w *writer) end(ctx context.Context, name string, epoch uint64) error {
	return w.say(ctx, name, lease{epoch: epoch, turn: math.MaxUint64}, 0, "")
}

// say writes that this Store has a lease for a time from now on.
func (w *writer) say(ctx context.Context, name string, l lease, term time.Duration, token string) error {
	settings := clickhouse.Settings{"async_insert": 0, "deduplicate_insert": "disable"}
	if token != "" {
		settings["deduplicate_insert"], settings["insert_deduplication_token"] = "enable", token
	}
	if w.s.cfg.Cluster.replicated() { // as leaseOf reads: what was said is seen on every replica
		settings["insert_quorum"], settings["insert_quorum_parallel"] = "auto", 0
	}
	err := w.s.conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), "INSERT INTO "+w.s.tableName("leases")+
		" (name, epoch, holder, turn, until) SELECT {name:String}, {epoch:UInt64}, {holder:String}, {turn:UInt64}, "+
		"now64(3, 'UTC') + toIntervalMillisecond({term:Int64})",
		clickhouse.Named("name", w.leaseName(name)), clickhouse.Named("epoch", l.epoch),
		clickhouse.Named("holder", w.s.id), clickhouse.Named("turn", l.turn), clickhouse.Named("term", term.Milliseconds()))
	if err != nil {
		return fmt.Errorf("lease of %q: %w", name, err)
	}
	return nil
}

// leaseOf returns the newest epoch of a lease; a zero one if there is none.
func (w *writer) leaseOf(ctx context.Context, name string) (state leaseState, err error) {
	err = w.s.conn.QueryRow(w.current(ctx), "SELECT max(epoch), argMax(holder, (epoch, turn)), argMax(until, (epoch, turn)) AS last, "+
		"last > now64(3, 'UTC') FROM "+w.s.tableName("leases")+" WHERE name = {name:String}",
		clickhouse.Named("name", w.leaseName(name))).Scan(&state.epoch, &state.holder, &state.until, &state.live)
	if err != nil {
		return state, fmt.Errorf("lease of %q: %w", name, err)
	}
	return state, nil
}

func (w *writer) leaseName(source string) string { return w.name + "/" + source }

func (w *writer) leased(name string, state leaseState) error {
	return &LeaseError{Table: w.name, Source: name, Holder: state.holder, Until: state.until}
}

// Release gives up the leases of this Store, so that another one need not wait for them to end. Call it
// when the last Write is over. Without Config.Lease it does nothing.
func (s *Store) Release(ctx context.Context) error {
	var errs []error
	for _, w := range s.tables {
		errs = append(errs, w.release(ctx))
	}
	return errors.Join(errs...)
}

func (w *writer) release(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for name, src := range w.sources {
		l := src.lease
		if !time.Now().Before(l.ends) {
			continue
		}
		src.lease, src.settled = lease{}, false
		if err := w.end(ctx, name, l.epoch); err != nil {
			return err
		}
	}
	return nil
}
