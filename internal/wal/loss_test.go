package wal

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file that lacks some bytes at its end costs the payload that had them, not those read ahead with it.
func TestShortFileCostsOnlyItsEnd(t *testing.T) {
	all := numbered(0, 1000)
	files := written(t, 1<<20, all, true)
	segment := files[segmentName(1)]
	cfg := Config{Dir: t.TempDir()}
	for _, lost := range []int{1, 9, 100} {
		files[segmentName(1)] = segment[:len(segment)-lost]
		restore(t, cfg.Dir, files)
		q, _ := open(t, cfg)
		got, damage := readAll(t, q)
		require.Len(t, damage, 1)
		require.ErrorIs(t, damage[0].Reason, ErrShort)
		size := len(segment)
		n := len(all)
		for ; size > len(segment)-lost; n-- {
			size -= int(FrameSize(len(all[n-1])))
		}
		require.Equal(t, all[:n], got, "%d bytes lost", lost)
		require.NoError(t, q.Close())
	}
}

// Whichever segments are gone, the first, the last or all, that is damage, and nothing else is.
func TestMissingSegments(t *testing.T) {
	all := numbered(0, 40)
	files := written(t, 150, all, true)
	n := uint64(len(files) - 1) // beside the position
	require.Greater(t, n, uint64(5))
	cfg := Config{Dir: t.TempDir()}
	for from := uint64(1); from <= n; from++ {
		for to := from; to <= n; to++ {
			restore(t, cfg.Dir, files)
			for number := from; number <= to; number++ {
				require.NoError(t, os.Remove(filepath.Join(cfg.Dir, segmentName(number))))
			}
			q, _ := open(t, cfg)
			got, damage := readAll(t, q)
			require.Len(t, damage, int(to-from+1))
			for i, d := range damage {
				require.ErrorIs(t, d.Reason, ErrMissing)
				require.Equal(t, segmentName(from+uint64(i)), filepath.Base(d.Segment))
			}
			requireMissing(t, all, got, len(all))
			require.Less(t, len(got), len(all))
			require.NoError(t, q.Close())
		}
	}
}

// Segments that were read are not missed, wherever the process dies.
func TestReadSegmentsAreNotMissed(t *testing.T) {
	all := numbered(0, 40)
	for commits := range 15 {
		for more := range 3 {
			cfg := Config{Dir: t.TempDir(), SegmentBytes: 150, SyncAppends: true}
			q, _ := open(t, cfg)
			appendAll(t, q, all)
			var b Batch
			read := 0
			for range commits {
				require.NoError(t, q.Read(&b, 3, 1<<20))
				read += len(b.Entries)
				require.NoError(t, q.Commit(&b))
			}
			appendAll(t, q, all[:more])
			crash(q)
			q, _ = open(t, cfg)
			got, damage := readAll(t, q)
			require.Empty(t, damage, "%d commits", commits)
			want := append(all[read:len(all):len(all)], all[:more]...)
			require.GreaterOrEqual(t, len(got), len(want))
			require.Equal(t, want, got[len(got)-len(want):])
			require.NoError(t, q.Close())
		}
	}
}

// SaveRead saves what Commit has not: after a crash that is not read again.
func TestSaveRead(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	q, _ := open(t, cfg)
	appendAll(t, q, numbered(0, 3))
	var b Batch
	for range 2 { // the second within a second
		require.NoError(t, q.Read(&b, 1, 1<<20))
		require.NoError(t, q.Commit(&b))
	}
	require.NoError(t, q.SaveRead())
	crash(q)
	q, r := open(t, cfg)
	require.Equal(t, 1, r.Payloads)
	require.NoError(t, q.Close())
	require.NoError(t, q.SaveRead(), "Close has saved it")
}

// After Close the folder may be somebody else's: nothing of it is removed any more.
func TestCommitAfterClose(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	q, _ := open(t, cfg)
	appendAll(t, q, numbered(0, 3))
	var b Batch
	require.NoError(t, q.Read(&b, 9, 1<<20))
	require.NoError(t, q.Close())
	next, _ := open(t, cfg)
	require.ErrorIs(t, q.Commit(&b), ErrClosed)
	_, err := q.Keep(&b)
	require.ErrorIs(t, err, ErrClosed)
	got, damage := readAll(t, next)
	require.Empty(t, damage)
	require.Equal(t, numbered(0, 3), got)
}
