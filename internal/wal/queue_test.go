package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// numbered returns payloads of different lengths with their number.
func numbered(from, to int) (payloads [][]byte) {
	for i := from; i < to; i++ {
		payloads = append(payloads, fmt.Appendf(nil, "%d:%s", i, bytes.Repeat([]byte{'x'}, i*7%23)))
	}
	return payloads
}

// inMemory makes t.TempDir return folders in memory where the system has a place for them, for a test of thousands of
// queues.
func inMemory(t *testing.T) {
	t.Helper()
	const dir = "/dev/shm" // of Linux
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", dir)
	}
}

func open(t testing.TB, cfg Config) (*Queue, Recovery) {
	t.Helper()
	if cfg.SegmentBytes == 0 {
		cfg.SegmentBytes = 1 << 20
	}
	if cfg.KeepBytes == 0 {
		cfg.KeepBytes = 1 << 20
	}
	q, r, err := Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { q.Close() })
	return q, r
}

func appendAll(t testing.TB, q *Queue, payloads [][]byte) {
	t.Helper()
	n, err := q.Append(payloads)
	require.NoError(t, err)
	require.Len(t, payloads, n)
}

// readAll reads and commits everything.
func readAll(t testing.TB, q *Queue) (payloads [][]byte, damage []*Damage) {
	t.Helper()
	var b Batch
	for {
		require.NoError(t, q.Read(&b, 3, 1<<20))
		if len(b.Entries) == 0 {
			require.True(t, q.Empty())
			return payloads, damage
		}
		for _, e := range b.Entries {
			if e.Damage != nil {
				damage = append(damage, e.Damage)
			} else {
				payloads = append(payloads, bytes.Clone(e.Payload))
			}
		}
		require.NoError(t, q.Commit(&b))
	}
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	require.NoError(t, err)
	return files
}

// crash leaves the folder as if the process had died.
func crash(q *Queue) { q.lock.Close() }

func TestQueueIsReadInOrder(t *testing.T) {
	for _, segmentBytes := range []int64{1, 100, 1000, 1 << 20} {
		for _, syncAppends := range []bool{false, true} {
			cfg := Config{Dir: filepath.Join(t.TempDir(), "a", "b"), SegmentBytes: segmentBytes, SyncAppends: syncAppends}
			rng := rand.New(rand.NewPCG(uint64(segmentBytes), 1))
			q, _ := open(t, cfg)
			all := numbered(0, 100)
			var got [][]byte
			var b Batch
			for sent := 0; len(got) < len(all); {
				if n := min(rng.IntN(20), len(all)-sent); n > 0 {
					appendAll(t, q, all[sent:sent+n])
					sent += n
				}
				require.NoError(t, q.Read(&b, 1+rng.IntN(20), 1+rng.IntN(300)))
				if rng.IntN(5) > 0 { // otherwise the next Read returns the same
					for _, e := range b.Entries {
						require.Nil(t, e.Damage)
						got = append(got, bytes.Clone(e.Payload))
					}
					require.NoError(t, q.Commit(&b))
				}
				require.Equal(t, sent-len(got), q.Stats().Payloads)
				if rng.IntN(30) == 0 {
					require.NoError(t, q.Sync())
					require.NoError(t, q.Close())
					q, _ = open(t, cfg)
					require.Equal(t, sent-len(got), q.Stats().Payloads)
				}
			}
			require.Equal(t, all, got)
			require.True(t, q.Empty())
			require.Equal(t, Stats{}, q.Stats())
			require.LessOrEqual(t, len(segmentFiles(t, cfg.Dir)), 1)
		}
	}
}

func TestReadKeepsItsBounds(t *testing.T) {
	q, _ := open(t, Config{Dir: t.TempDir()})
	appendAll(t, q, [][]byte{make([]byte, 50), make([]byte, 50), make([]byte, 50)})
	var b Batch
	for _, test := range []struct{ payloads, bytes, want int }{{9, 1, 1}, {9, 99, 1}, {9, 100, 2}, {9, 1000, 3}, {2, 1000, 2}} {
		require.NoError(t, q.Read(&b, test.payloads, test.bytes))
		require.Len(t, b.Entries, test.want, "%+v", test)
	}
}

func TestAppendRefusesInvalidPayloads(t *testing.T) {
	q, _ := open(t, Config{Dir: t.TempDir()})
	n, err := q.Append([][]byte{{1}, {}})
	require.Error(t, err)
	require.Zero(t, n)
	require.True(t, q.Empty())
}

// After a crash at most the payloads read since the last save of the position are read again.
func TestCrashForgetsNothing(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 200}
	all := numbered(0, 100)
	q, _ := open(t, cfg)
	appendAll(t, q, all)
	var b Batch
	read := 0
	for read < 50 {
		require.NoError(t, q.Read(&b, 3, 1<<20))
		read += len(b.Entries)
		require.NoError(t, q.Commit(&b))
	}
	crash(q)
	q, r := open(t, cfg)
	require.False(t, r.PositionLost)
	got, damage := readAll(t, q)
	require.Empty(t, damage)
	require.GreaterOrEqual(t, len(got), len(all)-read)
	require.Equal(t, all[len(all)-len(got):], got)
	require.Less(t, len(got), len(all)-read+15, "what was in removed segments is not read again")
}

func TestEmptyQueueStaysEmptyAfterACrash(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	q, _ := open(t, cfg)
	appendAll(t, q, numbered(0, 10))
	readAll(t, q)
	crash(q)
	q, r := open(t, cfg)
	require.Equal(t, Recovery{}, r)
	appendAll(t, q, numbered(10, 20))
	got, _ := readAll(t, q)
	require.Equal(t, numbered(10, 20), got)
}

func TestLargeSegmentIsRemovedOnceRead(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 100 << 20}
	q, _ := open(t, cfg)
	appendAll(t, q, [][]byte{make([]byte, trimBytes)})
	require.Len(t, segmentFiles(t, cfg.Dir), 1)
	readAll(t, q)
	require.Empty(t, segmentFiles(t, cfg.Dir))
	appendAll(t, q, numbered(0, 3))
	got, _ := readAll(t, q)
	require.Equal(t, numbered(0, 3), got)
}

func TestFolderIsLocked(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	q, _ := open(t, cfg)
	_, _, err := Open(cfg)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, q.Close())
	_, _ = open(t, cfg)
}

func TestClosedQueueRefuses(t *testing.T) {
	q, _ := open(t, Config{Dir: t.TempDir()})
	appendAll(t, q, numbered(0, 3))
	require.NoError(t, q.Close())
	_, err := q.Append(numbered(0, 1))
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, q.Read(&Batch{}, 1, 1), ErrClosed)
	require.ErrorIs(t, q.Close(), ErrClosed)
}

// A failed Append leaves no bytes, for this process or the next one.
func TestFailedAppendLeavesNoBytes(t *testing.T) {
	for _, syncAppends := range []bool{false, true} {
		cfg := Config{Dir: t.TempDir(), SyncAppends: syncAppends}
		q, _ := open(t, cfg)
		appendAll(t, q, numbered(0, 5))
		path := segmentFiles(t, cfg.Dir)[0]

		// Half a frame is written, and then the file fails.
		junk, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		_, err = junk.Write(appendFrame(nil, 1, q.segments[0].size, make([]byte, 50))[:40])
		require.NoError(t, errors.Join(err, junk.Close()))
		q.breakActive(t)
		n, err := q.Append(numbered(5, 8))
		require.Error(t, err)
		require.Zero(t, n)

		appendAll(t, q, numbered(5, 10))
		require.Len(t, segmentFiles(t, cfg.Dir), 2)
		crash(q)
		q, r := open(t, cfg)
		require.Zero(t, r.TornBytes)
		require.Equal(t, 10, r.Payloads)
		got, damage := readAll(t, q)
		require.Equal(t, numbered(0, 10), got)
		require.Empty(t, damage)
	}
}

// breakActive makes the next access to the active segment fail.
func (q *Queue) breakActive(t *testing.T) {
	readOnly, err := os.Open(q.active.Name())
	require.NoError(t, err)
	require.NoError(t, q.active.Close())
	q.active = readOnly
}

// Append fails until the bytes of a failed one are removed.
func TestAppendFailsUntilTheEndIsClean(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	q, _ := open(t, cfg)
	appendAll(t, q, numbered(0, 5))
	path := segmentFiles(t, cfg.Dir)[0]
	require.NoError(t, os.Rename(path, path+".away"))
	require.NoError(t, q.active.Close())
	for range 2 {
		_, err := q.Append(numbered(5, 8))
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	require.NoError(t, os.Rename(path+".away", path))
	appendAll(t, q, numbered(5, 8))
	got, _ := readAll(t, q)
	require.Equal(t, numbered(0, 8), got)
}

// The accepted position moves with every Append, whatever is synced.
func TestAcceptedEnd(t *testing.T) {
	for _, syncAppends := range []bool{false, true} {
		cfg := Config{Dir: t.TempDir(), SegmentBytes: 100, SyncAppends: syncAppends}
		q, _ := open(t, cfg)
		for i := range 9 { // in several segments
			appendAll(t, q, numbered(i, i+1))
			require.Equal(t, q.Tail().position, q.progress.accepted)
		}
		crash(q) // before it was saved
		q, _ = open(t, cfg)
		require.Equal(t, q.Tail().position, q.progress.accepted)
	}
}

// What was accepted and saved as such is noticed if it is missing, also if nothing was synced.
func TestMissingEndWithoutSync(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 1 << 20, KeepBytes: 1 << 20}
	q, _ := open(t, cfg)
	appendAll(t, q, numbered(0, 1000))
	require.NoError(t, q.SaveProgress())
	crash(q)
	require.NoError(t, os.Truncate(q.path(1), segmentHeader))
	q, r := open(t, cfg)
	require.Zero(t, r.TornBytes)
	got, damage := readAll(t, q)
	require.Empty(t, got)
	require.Len(t, damage, 1)
}

// After a failed sync the content of the disk is unknown: the error is returned once, and a new segment begins.
func TestFailedSync(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	q, _ := open(t, cfg)
	appendAll(t, q, numbered(0, 2))
	require.NoError(t, q.active.Close())
	require.Error(t, q.Sync())
	require.NoError(t, q.Sync())
	appendAll(t, q, numbered(2, 4))
	require.Len(t, segmentFiles(t, cfg.Dir), 2)
	got, damage := readAll(t, q)
	require.Equal(t, numbered(0, 4), got)
	require.Empty(t, damage)
}

// A segment without payloads is no damage, however many crashes follow.
func TestCrashAfterBeginningASegment(t *testing.T) {
	size := int64(segmentHeader)
	for _, p := range numbered(0, 3) {
		size += FrameSize(len(p))
	}
	for _, begun := range []string{"", segmentMagic, string(appendSegmentHeader(nil, 2, size))} {
		cfg := Config{Dir: t.TempDir()}
		q, _ := open(t, cfg)
		appendAll(t, q, numbered(0, 3))
		crash(q)
		require.NoError(t, os.WriteFile(q.path(2), []byte(begun), filePerm))
		for range 2 {
			q, r := open(t, cfg)
			require.Equal(t, 1, r.Segments)
			crash(q)
		}
		q, _ = open(t, cfg)
		appendAll(t, q, numbered(3, 5))
		crash(q)
		q, _ = open(t, cfg)
		got, damage := readAll(t, q)
		require.Empty(t, damage)
		require.Equal(t, numbered(0, 5), got)
	}
}
