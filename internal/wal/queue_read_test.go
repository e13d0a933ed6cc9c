package wal

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/short"
)

// written returns the files of a queue with payloads after a crash.
func written(t testing.TB, segmentBytes int64, payloads [][]byte, save bool) map[string][]byte {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), SegmentBytes: segmentBytes}
	q, _ := open(t, cfg)
	appendAll(t, q, payloads)
	if save {
		require.NoError(t, q.Close())
	} else {
		crash(q)
	}
	files := make(map[string][]byte)
	entries, err := os.ReadDir(cfg.Dir)
	require.NoError(t, err)
	for _, e := range entries {
		if e.Name() != "lock" {
			files[e.Name()], err = os.ReadFile(filepath.Join(cfg.Dir, e.Name()))
			require.NoError(t, err)
		}
	}
	return files
}

// restore returns a folder with files.
func restore(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, os.Remove(filepath.Join(dir, e.Name())))
	}
	for name, data := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, filePerm))
	}
}

// At whichever byte the last Append was interrupted, payloads accepted before are there, and so
// are those appended after.
func TestTornEnd(t *testing.T) {
	short.Skip(t)
	accepted, torn := numbered(0, 4), numbered(4, 7)
	whole := written(t, 1<<20, append(numbered(0, 4), torn...), false)[segmentName(1)]
	end := len(written(t, 1<<20, accepted, false)[segmentName(1)])
	cfg := Config{Dir: t.TempDir()}
	for cut := 0; cut < len(whole); cut++ {
		for name, tail := range map[string][]byte{"short": nil, "zeros": make([]byte, len(whole)-cut), "page": make([]byte, 4096)} {
			restore(t, cfg.Dir, map[string][]byte{segmentName(1): append(bytes.Clone(whole[:cut]), tail...)})
			q, r := open(t, cfg)
			appendAll(t, q, numbered(100, 102))
			crash(q)
			q, again := open(t, cfg)
			require.Zero(t, again.TornBytes, "%s at %d", name, cut)
			got, damage := readAll(t, q)
			require.Empty(t, damage, "%s at %d", name, cut)
			n := len(got) - 2
			require.Equal(t, append(numbered(0, n), numbered(100, 102)...), got, "%s at %d", name, cut)
			if cut >= end {
				require.GreaterOrEqual(t, n, len(accepted), "%s at %d", name, cut)
			}
			frames := int64(segmentHeader)
			for _, p := range numbered(0, n) {
				frames += FrameSize(len(p))
			}
			if cut >= segmentHeader {
				require.Equal(t, int64(cut+len(tail))-frames, r.TornBytes, "%s at %d", name, cut)
			}
			require.NoError(t, q.Close())
			q, r = open(t, cfg)
			require.Equal(t, Recovery{}, r, "%s at %d", name, cut)
			require.NoError(t, q.Close())
		}
	}
}

// A flipped bit in any byte is noticed: as damage, as a torn end if no position says that the end was on disk,
// or as a lost position. Only the damaged payload is lost, and no wrong payload is read.
func TestFlippedBits(t *testing.T) {
	short.Skip(t)
	all := numbered(0, 12)
	for _, save := range []bool{false, true} {
		files := written(t, 150, all, save)
		require.Greater(t, len(files), 2)
		cfg := Config{Dir: t.TempDir()}
		for name, data := range files {
			for at := range data {
				flipped := bytes.Clone(data)
				flipped[at] ^= 1 << (at % 8)
				restore(t, cfg.Dir, files)
				require.NoError(t, os.WriteFile(filepath.Join(cfg.Dir, name), flipped, filePerm))
				q, r := open(t, cfg)
				got, damage := readAll(t, q)
				switch {
				case name == positionName:
					require.True(t, r.PositionLost, "byte %d", at)
					require.Equal(t, all, got)
				case save:
					require.Len(t, damage, 1, "%s byte %d", name, at)
					require.Zero(t, r.TornBytes)
				default:
					require.True(t, len(damage) == 1 || r.TornBytes > 0, "%s byte %d", name, at)
				}
				requireMissing(t, all, got, 1)
				for _, d := range damage {
					kept, err := os.ReadFile(d.Kept)
					require.NoError(t, err)
					require.Equal(t, flipped, kept)
				}
				require.Equal(t, len(damage), q.Stats().Bad)
				require.NoError(t, q.Close())
			}
		}
	}
}

// requireMissing requires that got has all but at most n of the payloads.
func requireMissing(t *testing.T, all, got [][]byte, n int) {
	t.Helper()
	for _, p := range all {
		if len(got) > 0 && bytes.Equal(p, got[0]) {
			got = got[1:]
		} else {
			n--
		}
	}
	require.Empty(t, got, "payloads that nobody wrote")
	require.GreaterOrEqual(t, n, 0, "too many are missing")
}

func TestMissingAndShortFiles(t *testing.T) {
	all := numbered(0, 12)
	files := written(t, 150, all, true)
	last := segmentName(uint64(len(files) - 1))
	for name, change := range map[string]func(map[string][]byte){
		"middle segment":     func(f map[string][]byte) { delete(f, segmentName(2)) },
		"all of the last":    func(f map[string][]byte) { f[last] = nil },
		"payload of last":    func(f map[string][]byte) { f[last] = f[last][:len(f[last])-1] },
		"frames of the last": func(f map[string][]byte) { f[last] = f[last][:segmentHeader] },
		"part of a segment":  func(f map[string][]byte) { f[segmentName(2)] = f[segmentName(2)][:40] },
	} {
		changed := make(map[string][]byte)
		for name, data := range files {
			changed[name] = data
		}
		change(changed)
		cfg := Config{Dir: t.TempDir()}
		restore(t, cfg.Dir, changed)
		q, r := open(t, cfg)
		require.Zero(t, r.TornBytes, name)
		got, damage := readAll(t, q)
		require.Len(t, damage, 1, name)
		require.Less(t, len(got), len(all), name)
		requireMissing(t, all, got, 6)
		require.NoError(t, q.Close())
	}
}

// Damage is remembered for the next process, until the queue is empty.
func TestDamageIsRemembered(t *testing.T) {
	files := written(t, 150, numbered(0, 12), true)
	files[segmentName(1)][36] ^= 1 // in the second frame
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 150}
	restore(t, cfg.Dir, files)
	q, r := open(t, cfg)
	require.False(t, r.Damaged)
	var b Batch
	for range 2 {
		require.NoError(t, q.Read(&b, 1, 1))
		require.NoError(t, q.Commit(&b))
	}
	crash(q)
	q, r = open(t, cfg)
	require.True(t, r.Damaged)
	require.Equal(t, 1, r.Bad)
	readAll(t, q)
	require.NoError(t, q.Close())
	_, r = open(t, cfg)
	require.False(t, r.Damaged)
}

// A payload that the caller cannot decode is damage too.
func TestRejectedPayload(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	q, _ := open(t, cfg)
	appendAll(t, q, numbered(0, 3))
	var b Batch
	require.NoError(t, q.Read(&b, 9, 1<<20))
	for i, payload := range numbered(0, 2) {
		d, err := q.Reject(&b, &b.Entries[i], os.ErrInvalid)
		require.NoError(t, err)
		require.ErrorIs(t, d.Reason, os.ErrInvalid)
		kept, err := os.ReadFile(d.Kept)
		require.NoError(t, err)
		require.Equal(t, payload, kept[d.From+frameHeader:d.To])
	}
	require.Equal(t, 1, q.Stats().Bad)
}

// No bytes make a scanner fail, hang, or return a payload without a checksum, and all of them are accounted for.
func FuzzScanner(f *testing.F) {
	whole := written(f, 1<<20, numbered(0, 5), false)[segmentName(1)]
	f.Add(whole, uint16(30), byte(0))
	f.Add(whole, uint16(25), byte(1))
	f.Add(whole[:len(whole)-1], uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, xor byte) {
		if int(at) < len(data) {
			data[at] ^= xor
		}
		s := &scanner{file: bytes.NewReader(data), number: 1, end: int64(len(data))}
		for offset := int64(0); ; offset = s.offset {
			payload, damage, err := s.next()
			switch {
			case err == io.EOF:
				if s.offset != s.end {
					t.Errorf("the end is at %d of %d", s.offset, s.end)
				}
				return
			case err != nil:
				t.Fatal(err)
			case damage != nil && (damage.To != s.offset || damage.To <= damage.From):
				t.Errorf("%v, and the next frame at %d", damage, s.offset)
			case damage == nil:
				from := max(offset, segmentHeader)
				if frame := appendFrame(nil, 1, from, payload); !bytes.Equal(frame, data[from:s.offset]) {
					t.Errorf("payload %q of the frame %x", payload, data[from:s.offset])
				}
			}
		}
	})
}

// No bytes make Open or Read fail, hang or return a payload without a checksum.
func FuzzSegment(f *testing.F) {
	files := written(f, 1<<20, numbered(0, 5), false)[segmentName(1)]
	f.Add(files, uint16(30), byte(0))
	f.Add(files, uint16(25), byte(1))
	f.Add(files[:len(files)-1], uint16(0), byte(0))
	f.Add([]byte{}, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, xor byte) {
		if int(at) < len(data) {
			data[at] ^= xor
		}
		cfg := Config{Dir: t.TempDir()}
		require.NoError(t, os.WriteFile(filepath.Join(cfg.Dir, segmentName(1)), data, filePerm))
		q, r := open(t, cfg)
		got, damage := readAll(t, q)
		size := int64(0)
		for _, p := range got {
			require.True(t, bytes.Contains(data, p))
			size += FrameSize(len(p))
		}
		for _, d := range damage {
			size += d.To - d.From
		}
		if total := size + r.TornBytes; total != int64(len(data)) && total != int64(len(data))-segmentHeader {
			t.Errorf("%d bytes are accounted for of %d", total, len(data))
		}
		require.LessOrEqual(t, r.Payloads, len(data)/frameHeader)
	})
}

// A file without its last bytes costs the payload that had them, not those read ahead with it.
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

// Missing segments, the first, the last or all, are damage, and nothing else is.
func TestMissingSegments(t *testing.T) {
	all := numbered(0, 40)
	files := written(t, 150, all, true)
	n := uint64(len(files) - 1) // without the position
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

// Read segments are not reported as missing, wherever the process dies.
func TestReadSegmentsAreNotMissed(t *testing.T) {
	short.Skip(t)
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

// SaveRead saves the position that Commit did not: after a crash those payloads are not read again.
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

// After Close the folder may belong to another process: no file is removed.
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
