package chstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// insertStatement names every column, so that columns added to the table later take their defaults.
func insertStatement(quoted string, columns []column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return "INSERT INTO " + quoted + " (" + strings.Join(names, ", ") + ") VALUES"
}

// send inserts recs in one native block, which the server makes one part, as all lie in one
// partition. Its error leaves open whether they are stored.
func (w *writer) send(ctx context.Context, g *group, recs []*marketprism.Record) error {
	if timeout := w.s.cfg.InsertTimeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	start := time.Now()
	for _, r := range recs {
		for i := range w.columns {
			w.columns[i].append(r)
		}
	}
	err := w.s.conn.inserters.do(ctx, w.query(g, recs))
	w.input.Reset()
	if err != nil {
		return err
	}
	took := time.Since(start)
	first, last := sequenceRange(recs)
	oldest, newest := timeRange(recs)
	bytes := blockBytes(recs)
	w.counters.inserted(len(recs), bytes, newest)
	hook.Call(w.s.hooks.Inserted, InsertInfo{
		Table: w.table.name(), Partition: g.partition, Source: g.source, First: first, Last: last,
		Rows: len(recs), Bytes: bytes, Oldest: oldest, Newest: newest, Took: took,
		Span: trace.SpanContextFromContext(ctx),
	})
	return nil
}

// query returns the statement of one attempt, whose rows are in the columns. The settings are given in full
// because the server's defaults have changed over the years: an asynchronous insert would be confirmed before
// it is stored, and would run under an id that the fence does not know.
func (w *writer) query(g *group, recs []*marketprism.Record) ch.Query {
	id := w.queryPrefix(g.source)
	if g.source != "" {
		id += w.s.id + "-"
	}
	id += strconv.FormatUint(w.s.queries.Add(1), 10)
	// With an Origin the token is new for every attempt: it absorbs a statement that the driver or a
	// proxy sends twice, and can never mistake a retry for something stored.
	token := id
	if g.source == "" {
		token = contentToken(w.table, recs)
	}
	settings := []ch.Setting{
		{Key: "async_insert", Value: "0", Important: true},
		{Key: "wait_for_async_insert", Value: "1", Important: true},
		{Key: "deduplicate_insert", Value: "enable", Important: true},
		{Key: "insert_deduplication_token", Value: token, Important: true},
	}
	if w.s.cfg.Cluster.replicated() {
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

func sequenceRange(recs []*marketprism.Record) (first, last uint64) {
	first = recs[0].Origin.Sequence
	for _, r := range recs {
		first = min(first, r.Origin.Sequence)
		last = max(last, r.Origin.Sequence)
	}
	return first, last
}
