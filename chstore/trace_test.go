package chstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism/chstore"
)

// The trace of the context that Write is given reaches the hook, and the server where that keeps a log of
// spans.
func TestInsertIsTraced(t *testing.T) {
	var inserted []chstore.InsertInfo
	s, db := openStore(t, chstore.Config{Hooks: &chstore.Hooks{
		Inserted: func(i chstore.InsertInfo) { inserted = append(inserted, i) },
	}})
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{0xab, 15: 1}, SpanID: trace.SpanID{7: 2}, TraceFlags: trace.FlagsSampled,
	})
	require.NoError(t, s.Write(t.Context(), withOrigins(trades(2, time.Second), "S", 1)))
	require.NoError(t, s.Write(trace.ContextWithSpanContext(t.Context(), span), withOrigins(trades(4, time.Second), "S", 10)))
	require.Len(t, inserted, 2)
	require.False(t, inserted[0].Span.IsValid())
	require.True(t, span.Equal(inserted[1].Span))

	require.NoError(t, db.Conn.Exec(t.Context(), "SYSTEM FLUSH LOGS"))
	var tables, spans uint64
	require.NoError(t, db.Conn.QueryRow(t.Context(),
		"SELECT count() FROM system.tables WHERE database = 'system' AND name = 'opentelemetry_span_log'").Scan(&tables))
	if tables == 0 {
		t.Log("this server keeps no system.opentelemetry_span_log, so only the hook was looked at")
		return
	}
	require.NoError(t, db.Conn.QueryRow(t.Context(),
		"SELECT count() FROM system.opentelemetry_span_log WHERE hex(trace_id) = upper(?)", span.TraceID().String()).Scan(&spans))
	require.Positive(t, spans)
}
