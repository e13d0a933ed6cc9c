package wal

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
	inMemory(t)
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
	inMemory(t)
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
					require.Equal(t, flipped[d.From:d.To], kept)
				}
				require.Equal(t, len(damage), q.Stats().Kept.Files)
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

// Whatever is cut off or zeroed, at any offset of any segment: payloads are missing only where damage is reported, at the
// very end of a queue whose position was not saved as torn bytes, and nothing that was not appended is read. Every change
// of a segment is reported, except for whole payloads cut off that end.
func TestDamageAnywhere(t *testing.T) {
	short.Skip(t)
	inMemory(t)
	all := numbered(0, 8)
	cfg := Config{Dir: t.TempDir()}
	for _, save := range []bool{false, true} {
		files := written(t, 120, all, save)
		segments := uint64(len(files))
		if save {
			segments--
		}
		require.Greater(t, segments, uint64(2))
		for number := uint64(1); number <= segments; number++ {
			name, uncertain := segmentName(number), number == segments && !save
			whole := files[name]
			for at := range whole {
				for what, change := range map[string][]byte{
					"cut":            whole[:at],
					"zeroed":         slices.Concat(whole[:at], make([]byte, min(16, len(whole)-at)), whole[min(at+16, len(whole)):]),
					"zeroed to end":  slices.Concat(whole[:at], make([]byte, len(whole)-at)),
					"cut and longer": slices.Concat(whole[:at], make([]byte, len(whole)-at+40)),
				} {
					if bytes.Equal(change, whole) {
						continue
					}
					restore(t, cfg.Dir, files)
					require.NoError(t, os.WriteFile(filepath.Join(cfg.Dir, name), change, filePerm))
					q, r := open(t, cfg)
					got, damage := readAll(t, q)
					requireMissing(t, all, got, len(all))
					if len(damage) == 0 && r.TornBytes == 0 {
						require.True(t, uncertain && what == "cut", "%s %s at %d: %d payloads are missing in silence", name, what, at, len(all)-len(got))
					}
					if !uncertain {
						require.NotEmpty(t, damage, "%s %s at %d", name, what, at)
					}
					require.NoError(t, q.Close())
					if at%8 == 0 {
						again, r := open(t, cfg)
						require.Empty(t, r.Payloads, "it was reported, and is over")
						require.True(t, again.Empty())
						require.NoError(t, again.Close())
					}
				}
			}
		}
	}
}

// Damage of two segments that follow each other hides neither.
func TestDamageOfNeighbours(t *testing.T) {
	inMemory(t)
	all := numbered(0, 20)
	files := written(t, 150, all, true)
	cfg := Config{Dir: t.TempDir()}
	for number := uint64(1); number < uint64(len(files)-1); number++ {
		first, second := segmentName(number), segmentName(number+1)
		for _, cut := range []int{0, 10, segmentHeader, len(files[first]) - 1} {
			for _, change := range [][]byte{nil, files[second][:20], slices.Concat(make([]byte, segmentHeader), files[second][segmentHeader:])} {
				changed := maps.Clone(files)
				changed[first], changed[second] = files[first][:cut], change
				restore(t, cfg.Dir, changed)
				q, _ := open(t, cfg)
				got, damage := readAll(t, q)
				require.NotEmpty(t, damage)
				requireMissing(t, all, got, len(all))
				require.Less(t, len(got), len(all))
				require.Equal(t, second, filepath.Base(damage[len(damage)-1].Segment))
				require.NoError(t, q.Close())
			}
		}
	}
}

// Without a position nothing was read: the first segment must be there.
func TestMissingBeginning(t *testing.T) {
	files := written(t, 150, numbered(0, 12), false)
	delete(files, segmentName(1))
	cfg := Config{Dir: t.TempDir()}
	restore(t, cfg.Dir, files)
	q, _ := open(t, cfg)
	_, damage := readAll(t, q)
	require.Len(t, damage, 1)
	require.ErrorIs(t, damage[0].Reason, ErrMissing)
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
	require.Equal(t, 1, r.Kept.Files)
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
		require.Equal(t, payload, kept)
		require.Equal(t, FrameSize(len(payload)), d.To-d.From)
	}
	require.Equal(t, Kept{Files: 2, Bytes: 2 * 4096}, q.Stats().Kept)
}

// Damaged and refused bytes are kept alone, up to a bound, and counted: those that had no room as well. They are there
// for the next process, and the same bytes are kept once.
func TestKeptBytesAreBounded(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), KeepBytes: 3 * 4096}
	q, _ := open(t, cfg)
	all := append(numbered(0, 9), bytes.Repeat([]byte{'y'}, 5000))
	appendAll(t, q, all)
	var b Batch
	require.NoError(t, q.Read(&b, 99, 1<<20))
	for range 2 {
		for i, entry := range []int{2, 7} {
			path, err := q.Refuse(&b, &b.Entries[entry])
			require.NoError(t, err)
			kept, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, all[entry], kept)
			require.LessOrEqual(t, i+1, q.Stats().Kept.Files)
		}
	}
	require.Equal(t, Kept{Files: 2, Bytes: 2 * 4096}, q.Stats().Kept)
	path, err := q.Refuse(&b, &b.Entries[9]) // two blocks, and there is room for one
	require.NoError(t, err)
	require.Empty(t, path)
	d, err := q.Reject(&b, &b.Entries[0], os.ErrInvalid)
	require.NoError(t, err)
	require.NotEmpty(t, d.Kept)
	d, err = q.Reject(&b, &b.Entries[1], os.ErrInvalid)
	require.NoError(t, err)
	require.Empty(t, d.Kept)
	require.Equal(t, Kept{Files: 3, Bytes: 3 * 4096, Unkept: 2}, q.Stats().Kept)
	require.NoError(t, q.Commit(&b))
	require.NoError(t, q.Close())
	_, r := open(t, cfg)
	require.Equal(t, Kept{Files: 3, Bytes: 3 * 4096}, r.Kept)
	files, err := os.ReadDir(cfg.Dir)
	require.NoError(t, err)
	require.LessOrEqual(t, len(files), 3+2, "with the lock and the position")
}

// A batch can be read while those before it are not committed, across segments and up to the end.
func TestReadAfter(t *testing.T) {
	all := numbered(0, 60)
	q, _ := open(t, Config{Dir: t.TempDir(), SegmentBytes: 150})
	appendAll(t, q, all[:50])
	var batches [3]Batch
	var got [][]byte
	require.NoError(t, q.Read(&batches[0], 4, 1<<20))
	for i := 0; len(got) < len(all); i++ {
		current, ahead, further := &batches[i%3], &batches[(i+1)%3], &batches[(i+2)%3]
		if i == 2 {
			appendAll(t, q, all[50:])
		}
		require.NoError(t, q.ReadAfter(current, ahead, 4, 1<<20))
		require.NoError(t, q.ReadAfter(ahead, further, 4, 1<<20))
		for _, e := range current.Entries {
			require.Nil(t, e.Damage)
			got = append(got, bytes.Clone(e.Payload))
		}
		require.NoError(t, q.Commit(current))
	}
	require.Equal(t, all, got)
	require.True(t, q.Empty())
	require.NoError(t, q.Read(&batches[0], 4, 1<<20))
	require.Empty(t, batches[0].Entries)
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
	inMemory(t)
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
	inMemory(t)
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

// SaveProgress saves the position that Commit did not: after a crash those payloads are not read again.
func TestSaveProgress(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	q, _ := open(t, cfg)
	appendAll(t, q, numbered(0, 3))
	var b Batch
	for range 2 { // the second within a second
		require.NoError(t, q.Read(&b, 1, 1<<20))
		require.NoError(t, q.Commit(&b))
	}
	require.NoError(t, q.SaveProgress())
	crash(q)
	q, r := open(t, cfg)
	require.Equal(t, 1, r.Payloads)
	require.NoError(t, q.Close())
	require.NoError(t, q.SaveProgress(), "Close has saved it")
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
	_, err := q.Refuse(&b, &b.Entries[0])
	require.ErrorIs(t, err, ErrClosed)
	got, damage := readAll(t, next)
	require.Empty(t, damage)
	require.Equal(t, numbered(0, 3), got)
}
