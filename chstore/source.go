package chstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// A source is what a writer knows of one stream in its table.
//
// ClickHouse has no transaction that would tie an INSERT to the position it was read from, and its
// deduplication by token can both lose a batch (the token is logged before the part is in place, so
// a crash between the two makes every retry a duplicate of nothing) and store it twice (a batch cut
// at other borders has another token). So the position is a column of the data: what the table holds
// of a source can always be asked, and is right because a part is stored whole or not at all.
type source struct {
	// settled is true while marks are what the table holds: no INSERT of unknown outcome is about.
	settled bool
	lease   lease             // the zero value where none is held
	marks   map[uint32]uint64 // highest sequence stored, by partition
}

// source returns the state of a stream, which begins unsettled: an earlier process may have left an
// INSERT running. Records without a stream have no position to be lost.
func (w *writer) source(name string) *source {
	src, ok := w.sources[name]
	if !ok {
		src = &source{settled: name == ""}
		w.sources[name] = src
	}
	return src
}

// raise notes that records of a partition are stored.
func (src *source) raise(partition uint32, recs []*marketprism.Record) {
	mark := src.marks[partition]
	for _, r := range recs {
		mark = max(mark, r.Origin.Sequence)
	}
	src.marks[partition] = mark
}

// settle makes sure that no earlier INSERT of the stream is still running, and then asks what is
// stored. The order matters: an INSERT whose client is gone may still be committed.
func (w *writer) settle(ctx context.Context, name string, src *source) error {
	if src.settled {
		return nil
	}
	start := time.Now()
	err := w.fence(ctx, w.queryPrefix(name))
	w.counters.fences.Add(1)
	hook.Call(w.s.hooks.Fenced, FenceInfo{Table: w.table.name(), Source: name, Took: time.Since(start), Err: err})
	if err != nil {
		return err
	}
	if name != "" {
		marks, err := w.watermarks(ctx, name)
		if err != nil {
			return err
		}
		has := make(map[uint32]uint64, len(marks))
		for _, m := range marks {
			has[m.Partition] = m.Sequence
		}
		if err := w.regressed(name, src.marks, has); err != nil {
			return err
		}
		src.marks = has
	}
	src.settled = true
	return nil
}

// fenceTimeout bounds the wait for killed INSERTs to end, fencePoll is how often it looks.
const (
	fenceTimeout = 30 * time.Second
	fencePoll    = 10 * time.Millisecond
)

// errFence is the error of a fence that cannot be had. It is Retryable.
var errFence = errors.New("an earlier INSERT has not ended")

// fence kills the running queries whose id begins with prefix and waits until they are gone. The
// user needs no right beyond SELECT on system.processes to do so with queries of its own.
func (w *writer) fence(ctx context.Context, prefix string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fenceTimeout, errFence)
	defer cancel()
	for {
		if err := w.s.conn.Exec(ctx, "KILL QUERY"+w.s.cfg.Cluster.onCluster()+" WHERE startsWith(query_id, '"+prefix+"') ASYNC"); err != nil {
			return fmt.Errorf("fence: %w", err)
		}
		var running uint64
		row := w.s.conn.QueryRow(ctx, "SELECT count() FROM "+w.s.cfg.Cluster.processes()+" WHERE startsWith(query_id, {prefix:String})",
			clickhouse.Named("prefix", prefix))
		if err := row.Scan(&running); err != nil {
			return fmt.Errorf("fence: %w", err)
		}
		if running == 0 {
			return nil
		}
		if sleep(ctx, fencePoll) != nil {
			return context.Cause(ctx)
		}
	}
}

// queryPrefix begins the ids of the INSERTs that a fence has to look for. Those of a stream are found
// whichever process sent them, as a successor must; those without belong to this Store alone.
func (w *writer) queryPrefix(source string) string {
	sum := sha256.Sum256([]byte(w.quoted + "\x00" + source))
	prefix := "chstore-" + hex.EncodeToString(sum[:8]) + "-"
	if source == "" {
		prefix += w.s.id + "-"
	}
	return prefix
}
