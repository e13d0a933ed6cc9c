package chstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
)

// A writer inserts into one table, one INSERT at a time.
type writer struct {
	*recordTable
	insert string // the statement

	mutex   chan struct{} // holds a token while it is locked; guards the fields below
	columns []column
	input   proto.Input // the columns as ch-go takes them
	checked bool        // the table is as expected
	inserts uint64      // numbers the query ids
	sources map[string]*source
}

func newWriter(t *recordTable) *writer {
	w := &writer{recordTable: t, mutex: make(chan struct{}, 1), columns: columnsOf(t.table), sources: make(map[string]*source)}
	// Every column is named, so that columns added to the table later take their defaults.
	names := make([]string, len(w.columns))
	for i, c := range w.columns {
		names[i] = c.name
		w.input = append(w.input, proto.InputColumn{Name: c.name, Data: c.data})
	}
	w.insert = "INSERT INTO " + t.quoted + " (" + strings.Join(names, ", ") + ") VALUES"
	return w
}

// lock waits for the mutex, or until ctx ends.
func (w *writer) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case w.mutex <- struct{}{}:
		return func() { <-w.mutex }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// write inserts groups in order and stops at the first that fails.
func (w *writer) write(ctx context.Context, groups []group) error {
	defer w.counters.wait(groups)()
	unlock, err := w.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for i := range groups {
		if err := w.writeGroup(ctx, &groups[i]); err != nil {
			return err
		}
	}
	return nil
}

// release gives up the leases of all sources.
func (w *writer) release(ctx context.Context) error {
	unlock, err := w.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, src := range w.sources {
		if err := src.release(ctx); err != nil {
			return err
		}
	}
	return nil
}

// writeGroup tries until the group is stored, the error is not Retryable, or the attempts run out.
func (w *writer) writeGroup(ctx context.Context, g *group) error {
	// The jitter keeps writers that failed together from coming back together.
	delays := backoff.Backoff{Min: w.cfg.RetryMin, Max: w.cfg.RetryMax}
	for attempt := 1; ; attempt++ {
		start := time.Now()
		err := w.try(ctx, g)
		if err == nil {
			return nil
		}
		failed := &InsertError{Table: w.name, Partition: g.partition, Rows: len(g.recs), Attempts: attempt, Err: withCause(ctx, err)}
		reason := ReasonOf(failed.Err)
		w.counters.failed(reason)
		hook.Call(w.hooks.Failed, FailInfo{
			Table: w.table.name(), Partition: g.partition, Source: g.source, Rows: len(g.recs), Attempt: attempt,
			Took: time.Since(start), Reason: reason, Err: failed.Err,
		})
		if ctx.Err() != nil || attempt >= w.cfg.Attempts || !Retryable(err) {
			return failed
		}
		delay := delays.Next()
		w.counters.retries.Add(1)
		hook.Call(w.hooks.Retrying, RetryInfo{
			Table: w.table.name(), Partition: g.partition, Rows: len(g.recs), Attempt: attempt, Delay: delay, Err: err,
		})
		if backoff.Sleep(ctx, delay) != nil {
			failed.Err = withCause(ctx, err)
			return failed
		}
	}
}

// try inserts the records of a group that the table does not hold. After an error it is not known which of
// them are stored; the next try finds out.
func (w *writer) try(ctx context.Context, g *group) error {
	if !w.checked {
		if err := w.checkTable(ctx); err != nil {
			return err
		}
		w.checked = true
	}
	src, ok := w.sources[g.source]
	if !ok {
		src = newSource(w.recordTable, g.source)
		w.sources[g.source] = src
	}
	if err := src.acquire(ctx); err != nil {
		return err
	}
	if err := src.settle(ctx); err != nil {
		return err
	}
	recs := g.recs[g.done:]
	if g.source != "" {
		var err error
		if recs, err = src.missing(ctx, g); err != nil {
			return err
		}
	}
	for len(recs) > 0 {
		if err := src.acquire(ctx); err != nil {
			return err
		}
		if !src.settled {
			return errLeaseEnded // what is stored must be read again
		}
		leased, cancel := src.lease.within(ctx)
		b, err := w.send(leased, g, recs)
		cancel()
		if err != nil {
			src.settled = false
			return err
		}
		if g.source != "" {
			src.raise(g.partition, b.last)
		} else {
			g.done += b.rows
		}
		recs = recs[b.rows:]
	}
	return nil
}

// send inserts the first of recs, up to BlockBytes, in one native block, which the server makes one part, as all of them
// belong to one partition. After an error it is not known whether they are stored.
func (w *writer) send(ctx context.Context, g *group, recs []*marketprism.Record) (block, error) {
	if timeout := w.cfg.InsertTimeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	start := time.Now()
	b := w.fill(recs)
	err := w.conn.natives.insert(ctx, w.insertQuery(g.source, recs[:b.rows]))
	w.input.Reset()
	if err != nil {
		return b, err
	}
	took := time.Since(start)
	w.counters.inserted(b)
	hook.Call(w.hooks.Inserted, InsertInfo{
		Table: w.table.name(), Partition: g.partition, Source: g.source, First: b.first, Last: b.last,
		Rows: b.rows, Bytes: b.bytes, Oldest: b.oldest, Newest: b.newest, Took: took,
		Span: trace.SpanContextFromContext(ctx),
	})
	return b, nil
}

// fill appends to the columns as many of the first records as make one block. It reads them once: a large batch does not
// fit in the processor's cache.
func (w *writer) fill(recs []*marketprism.Record) (b block) {
	for _, r := range recs {
		if !b.add(r, w.cfg.BlockBytes) {
			break
		}
		for i := range w.columns {
			if add := w.columns[i].append; add != nil {
				add(r)
			}
		}
	}
	return b
}

// insertQuery returns the statement of one attempt, whose rows are in the columns. The settings are complete
// because the server's defaults have changed over the years: an asynchronous insert would be confirmed before
// it is stored, and would run under an id that the fence does not know.
func (w *writer) insertQuery(source string, recs []*marketprism.Record) ch.Query {
	id := w.queryPrefix(source)
	if source != "" {
		id += w.storeID + "-"
	}
	w.inserts++
	id += strconv.FormatUint(w.inserts, 10)
	// With an Origin every attempt has a new token: it absorbs a statement that the driver or a
	// proxy sends twice, and can never mistake a retry for something stored.
	token := id
	if source == "" {
		token = contentToken(w.table, recs)
	}
	settings := []ch.Setting{
		{Key: "async_insert", Value: "0", Important: true},
		{Key: "wait_for_async_insert", Value: "1", Important: true},
		{Key: "deduplicate_insert", Value: "enable", Important: true},
		{Key: "insert_deduplication_token", Value: token, Important: true},
	}
	if w.cfg.Cluster.replicated() {
		settings = append(settings, ch.Setting{Key: "insert_quorum", Value: "auto", Important: true},
			ch.Setting{Key: "insert_quorum_parallel", Value: "0", Important: true})
	}
	return ch.Query{Body: w.insert, QueryID: id, Input: w.input, Settings: settings}
}

// contentToken is the same for the same records in the same order, in any process.
func contentToken(t table, recs []*marketprism.Record) string {
	h := sha256.New()
	buf := make([]byte, 0, 256)
	for _, r := range recs {
		buf = r.AppendKey(buf[:0])
		buf = append(buf, 0)
		buf = strconv.AppendInt(buf, nanos(r.EventTime), 36)
		buf = append(buf, 0)
		buf = strconv.AppendInt(buf, nanos(r.ReceivedAt), 36)
		buf = append(buf, 0)
		h.Write(buf)
	}
	return t.name() + "-" + hex.EncodeToString(h.Sum(nil))
}
