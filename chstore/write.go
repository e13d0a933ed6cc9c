package chstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// Write stores records and returns once the server has them on disk. It is a sink.Sink; give it
// batches of ten thousand records and more, by a sink.Buffer, since each call makes an INSERT for
// every table, partition and source that occurs in recs.
//
// Writing the same records again is safe. Those with an Origin are stored once whatever happens:
// before an INSERT the store knows, from the table itself, which sequences of the source the
// partition holds, and after an INSERT whose outcome is unknown it makes sure that it is over and
// asks anew. Only one Store at a time may write records of one source (Config.Lease). Those without are stored
// once where the same batch is written again within the table's deduplication window; another batch
// with them in it stores them twice, which reads do not show.
//
// The error is a *RecordError, before anything is sent, or one or more *InsertError, joined, after
// which any of the INSERTs may have been done, not only the first ones. What is Retryable has been
// retried, as Config says.
func (s *Store) Write(ctx context.Context, recs []marketprism.Record) error {
	if len(recs) == 0 {
		return nil
	}
	p, err := s.newPlan(recs)
	if err != nil {
		return err
	}
	defer s.release(p)
	var (
		errs [tableCount]error
		wg   sync.WaitGroup
	)
	for t := range tableCount {
		if len(p.tables[t].groups) > 0 {
			wg.Go(func() { errs[t] = s.tables[t].write(ctx, p.tables[t].groups) })
		}
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// A writer inserts into one table, one INSERT at a time.
type writer struct {
	s      *Store
	table  table
	name   string // with prefix
	quoted string
	insert string // the statement

	counters counters

	turn    chan struct{} // holds one token while a Write is at work; guards what follows
	columns []column
	input   proto.Input // the columns as ch-go takes them
	checked bool        // the table is as expected
	sources map[string]*source
}

func newWriter(s *Store, t table) *writer {
	w := &writer{
		s: s, table: t,
		name: s.localName(t), quoted: s.quoted(s.localName(t)),
		columns: t.columns(),
		turn:    make(chan struct{}, 1),
		sources: make(map[string]*source),
	}
	w.insert = insertStatement(w.quoted, w.columns)
	for _, c := range w.columns {
		w.input = append(w.input, proto.InputColumn{Name: c.name, Data: c.data})
	}
	return w
}

// write inserts groups in order and stops at the first that cannot be.
func (w *writer) write(ctx context.Context, groups []group) error {
	defer w.counters.wait(groups)()
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for i := range groups {
		if err := w.writeGroup(ctx, &groups[i]); err != nil {
			return err
		}
	}
	return nil
}

// writeGroup tries until the group is stored, the error is not Retryable, or attempts run out.
func (w *writer) writeGroup(ctx context.Context, g *group) error {
	cfg := &w.s.cfg
	delay := cfg.RetryMin
	for attempt := 1; ; attempt++ {
		start := time.Now()
		err := w.try(ctx, g)
		if err == nil {
			return nil
		}
		failed := &InsertError{Table: w.name, Partition: g.partition, Rows: len(g.recs), Attempts: attempt, Err: withCause(ctx, err)}
		reason := ReasonOf(failed.Err)
		w.counters.failed(reason)
		hook.Call(w.s.hooks.Failed, FailInfo{
			Table: w.table.name(), Partition: g.partition, Source: g.source, Rows: len(g.recs), Attempt: attempt,
			Took: time.Since(start), Reason: reason, Err: failed.Err,
		})
		if ctx.Err() != nil || attempt >= cfg.Attempts || !Retryable(err) {
			return failed
		}
		// Full jitter keeps writers that failed together from coming back together.
		wait := rand.N(delay) + 1
		delay = min(2*delay, cfg.RetryMax)
		w.counters.retries.Add(1)
		hook.Call(w.s.hooks.Retrying, RetryInfo{
			Table: w.table.name(), Partition: g.partition, Rows: len(g.recs), Attempt: attempt, Delay: wait, Err: err,
		})
		if sleep(ctx, wait) != nil {
			failed.Err = withCause(ctx, err)
			return failed
		}
	}
}

// try inserts what the table does not hold of a group. After an error it is not known which part of
// the group is stored; the next try finds out.
func (w *writer) try(ctx context.Context, g *group) error {
	if err := w.checkTable(ctx); err != nil {
		return err
	}
	src := w.source(g.source)
	if err := w.hold(ctx, g.source, src); err != nil {
		return err
	}
	if err := w.settle(ctx, g.source, src); err != nil {
		return err
	}
	recs := g.recs[g.done:]
	if g.source != "" {
		var err error
		if recs, err = w.missing(ctx, g, src); err != nil {
			return err
		}
	}
	for len(recs) > 0 {
		if err := w.hold(ctx, g.source, src); err != nil {
			return err
		}
		if !src.settled {
			return errLapsed // what is stored is to be asked again
		}
		n := takeBlock(recs, w.s.cfg.BlockBytes)
		leased, cancel := src.lease.within(ctx)
		err := w.send(leased, g, recs[:n])
		cancel()
		if err != nil {
			src.settled = false
			return err
		}
		if g.source != "" {
			src.raise(g.partition, recs[:n])
		} else {
			g.done += n
		}
		recs = recs[n:]
	}
	return nil
}

// missing returns the records of a group that the table does not hold, each sequence once.
func (w *writer) missing(ctx context.Context, g *group, src *source) ([]*marketprism.Record, error) {
	above := src.marks[g.partition]
	ascending := true
	for _, r := range g.recs {
		ascending = ascending && r.Origin.Sequence > above
		above = max(above, r.Origin.Sequence)
	}
	if ascending {
		return g.recs, nil
	}
	held, err := w.held(ctx, g, src.marks[g.partition])
	if err != nil {
		return nil, err
	}
	recs := slices.DeleteFunc(slices.Clone(g.recs), func(r *marketprism.Record) bool {
		if held[r.Origin.Sequence] {
			return true
		}
		held[r.Origin.Sequence] = true // a second record of the same sequence is the same message
		return false
	})
	if skipped := len(g.recs) - len(recs); skipped > 0 {
		w.counters.skipped.Add(uint64(skipped))
		hook.Call(w.s.hooks.Skipped, SkipInfo{Table: w.table.name(), Partition: g.partition, Source: g.source, Rows: skipped})
	}
	return recs, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
