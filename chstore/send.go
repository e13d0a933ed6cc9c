package chstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
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
	return "INSERT INTO " + quoted + " (" + strings.Join(names, ", ") + ")"
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
	batch, err := w.s.conn.PrepareBatch(w.insertContext(ctx, g, recs), w.insert)
	if err != nil {
		return err
	}
	if err := w.fill(batch, recs); err != nil {
		batch.Abort()
		return err
	}
	if err := batch.Send(); err != nil {
		return err
	}
	took := time.Since(start)
	first, last := sequenceRange(recs)
	oldest, newest := timeRange(recs)
	bytes := blockBytes(recs)
	w.counters.inserted(len(recs), bytes, newest)
	hook.Call(w.s.hooks.Inserted, InsertInfo{
		Table: w.name, Partition: g.partition, Source: g.source, First: first, Last: last,
		Rows: len(recs), Bytes: bytes, Oldest: oldest, Newest: newest, Took: took,
		Span: trace.SpanContextFromContext(ctx),
	})
	return nil
}

// fill appends recs to the batch, column by column.
func (w *writer) fill(batch driver.Batch, recs []*marketprism.Record) error {
	buf := w.s.buffers.Get().(*buffers)
	defer w.s.buffers.Put(buf)
	for i, c := range w.fills {
		if err := c.fill(batch.Column(i), recs, buf); err != nil {
			return err
		}
	}
	return nil
}

// insertContext carries the settings of one attempt. They are set in full because the server's
// defaults have changed over the years: an asynchronous insert would be confirmed before it is
// stored, and would run under an id that the fence does not know.
func (w *writer) insertContext(ctx context.Context, g *group, recs []*marketprism.Record) context.Context {
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
	settings := clickhouse.Settings{
		"async_insert":               0,
		"wait_for_async_insert":      1,
		"deduplicate_insert":         "enable",
		"insert_deduplication_token": token,
	}
	if w.s.cfg.Cluster.replicated() {
		settings["insert_quorum"], settings["insert_quorum_parallel"] = "auto", 0
	}
	options := []clickhouse.QueryOption{clickhouse.WithQueryID(id), clickhouse.WithSettings(settings)}
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		options = append(options, clickhouse.WithSpan(span)) // the server adds its own spans to that trace
	}
	return clickhouse.Context(ctx, options...)
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
