//go:build linux || darwin

package sink_test

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"testing"

	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// On a full disk, which takes a part of a write, Write fails and leaves no bytes that
// would damage later ones. A child process limits the size of files.
func TestSpillOnAFullDisk(t *testing.T) {
	const env = "MARKETPRISM_SPILL_FULL_DISK"
	dir := os.Getenv(env)
	if dir == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), env+"="+t.TempDir())
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	var whole syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &whole); err != nil {
		t.Fatal(err)
	}
	limit := func(bytes uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: whole.Max}); err != nil {
			t.Fatal(err)
		}
	}
	var dst sinktest.Recorder
	cfg := sink.SpillConfig{Dir: dir, DirectTimeout: -1}
	s := openSpill(t, &dst, cfg)
	recs := sinktest.Records(1, 300)
	limit(6000)
	failed := 0
	for batch := range slices.Chunk(recs, 10) {
		for attempt := 0; ; attempt++ {
			if attempt == 3 { // too large even for a new file
				limit(whole.Cur)
			}
			err := s.Write(t.Context(), batch)
			if err == nil {
				break
			}
			var disk *sink.DiskError
			if !errors.As(err, &disk) || !errors.Is(err, syscall.EFBIG) {
				t.Fatal(err)
			}
			failed++
		}
		limit(6000)
	}
	if failed < 5 {
		t.Errorf("only %d Writes failed", failed)
	}
	limit(whole.Cur)
	if got := s.Stats(); got.Queued != len(recs) {
		t.Errorf("Stats %+v", got)
	}
	s.stop()
	s = openSpill(t, &dst, cfg)
	if got := s.Stats(); got.TornBytes != 0 || got.Queued != len(recs) {
		t.Errorf("after a restart Stats %+v", got)
	}
	s.run(t)
	s.flush(t)
	if got := s.Stats(); got.Corrupt != 0 {
		t.Errorf("Stats %+v", got)
	}
	wantSame(t, dst.Records(), recs)
}
