package sink_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

const spillChild = "MARKETPRISM_SPILL_CHILD" // "folder run first last"

func TestMain(m *testing.M) {
	if args := os.Getenv(spillChild); args != "" {
		if err := runSpillChild(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// killRecords is the stream that the children write, one after the other.
func killRecords() []marketprism.Record { return sinktest.Records(11, 10_000) }

// runSpillChild writes records from first on to a Spill and says on standard output what happened:
// "A n" when Write has accepted all before n, "D n" when record n reached the destination. It ends
// after the record last, or when it is killed.
func runSpillChild(args string) error {
	var (
		dir         string
		run         uint64
		first, last int
	)
	if _, err := fmt.Sscan(args, &dir, &run, &first, &last); err != nil {
		return err
	}
	recs := killRecords()
	index := make(map[string]int, len(recs))
	for i := range recs {
		index[recs[i].Key()] = i
	}
	dst := sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		var lines []byte
		for i := range recs {
			lines = fmt.Appendf(lines, "D %d\n", index[recs[i].Key()])
		}
		_, err := os.Stdout.Write(lines)
		return err
	})
	var faults sinktest.Faults
	s, err := sink.NewSpill(faults.Wrap(dst), sink.SpillConfig{
		Dir: dir, Encode: encodeRecord, Decode: decodeRecord, SegmentBytes: 5000, MaxBatch: 30,
		DirectTimeout: time.Minute, RetryMin: time.Microsecond, RetryMax: time.Millisecond,
		SyncInterval: []time.Duration{0, -1, time.Millisecond}[run%3],
		Hooks:        &sink.SpillHooks{Corrupt: func(i sink.SpillCorruptInfo) { fmt.Fprintln(os.Stderr, i.Err) }}, // a kill is no damage
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	rng := rand.New(rand.NewPCG(run, 17))
	for first < last {
		if rng.IntN(3) == 0 {
			faults.FailAfter(rng.IntN(40), errDown)
		}
		n := min(1+rng.IntN(20), last-first)
		if err := s.Write(ctx, recs[first:first+n]); err != nil {
			return err
		}
		first += n
		fmt.Printf("A %d\n", first)
	}
	if err := s.Flush(ctx); err != nil {
		return err
	}
	cancel()
	if err := <-done; err != nil {
		return err
	}
	return s.Close()
}

// A killParent knows what its children said.
type killParent struct {
	accepted  int // records before it were accepted
	delivered []int
}

// hear takes what a child says, and calls kill after some lines.
func (p *killParent) hear(t *testing.T, from io.Reader, lines int, kill func()) {
	out := bufio.NewReader(from)
	for ; ; lines-- {
		if lines == 0 {
			kill()
		}
		line, err := out.ReadString('\n')
		if err != nil {
			return // what is left of a line was cut off by the kill
		}
		what, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(number)
		switch {
		case err == nil && what == "A":
			p.accepted = n
		case err == nil && what == "D":
			p.delivered = append(p.delivered, n)
		default:
			t.Fatalf("a child said %q", line)
		}
	}
}

// Whenever the process is killed, everything that Write had accepted reaches the destination, in order.
func TestSpillSurvivesKill(t *testing.T) {
	const kills = 20
	rng := rand.New(rand.NewPCG(2, 2))
	dir := t.TempDir()
	recs := killRecords()
	var p killParent
	queued := 0
	for run := range kills + 1 {
		last := len(recs)
		if run == kills {
			last = p.accepted + 100
		}
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %d", spillChild, dir, run, p.accepted, last))
		var stderr strings.Builder
		child.Stderr = &stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := 1 + rng.IntN(300)
		if run == kills {
			lines = -1
		}
		p.hear(t, out, lines, func() { child.Process.Kill() })
		if err := child.Wait(); (err == nil) != (run == kills) || stderr.Len() > 0 {
			t.Fatalf("child %d: %v\n%s", run, err, stderr.String())
		}
		if p.accepted > len(p.unique()) {
			queued++
		}
	}
	unique := p.unique()
	for i, n := range unique {
		if i != n {
			at := slices.Index(p.delivered, n)
			t.Fatalf("record %d arrived as number %d, among %v", n, i, p.delivered[max(0, at-40):min(len(p.delivered), at+40)])
		}
	}
	if len(unique) != p.accepted {
		t.Errorf("%d records arrived, %d were accepted", len(unique), p.accepted)
	}
	t.Logf("%d records, %d of them delivered again; %d of %d kills left accepted ones on disk only",
		len(unique), len(p.delivered)-len(unique), queued, kills)
	if queued < kills/4 {
		t.Errorf("only %d kills of %d came while the queue held records", queued, kills)
	}
}

// unique returns the first copy of everything delivered.
func (p *killParent) unique() []int {
	seen := make(map[int]bool)
	return slices.DeleteFunc(slices.Clone(p.delivered), func(n int) bool {
		again := seen[n]
		seen[n] = true
		return again
	})
}
