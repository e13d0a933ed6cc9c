package sink_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// spilling is a Spill with Run running until stop.
type spilling struct {
	*sink.Spill
	dst    *sinktest.Recorder
	faults sinktest.Faults
	stop   func() // ends Run and closes
}

func openSpill(t testing.TB, dst *sinktest.Recorder, cfg sink.SpillConfig) *spilling {
	t.Helper()
	s := &spilling{dst: dst}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Encode, cfg.Decode, cfg.Peek = encodeRecord, decodeRecord, peekRecord
	cfg.DirectTimeout = cmp.Or(cfg.DirectTimeout, time.Minute)
	cfg.RetryMin, cfg.RetryMax = time.Microsecond, time.Millisecond
	var err error
	if s.Spill, err = sink.NewSpill(encodedSink{s.faults.Wrap(dst)}, cfg); err != nil {
		t.Fatal(err)
	}
	s.stop = func() { s.Close() }
	t.Cleanup(func() { s.stop() })
	return s
}

// An encodedSink decodes what it is given, and refuses what does not fit the record beside it.
type encodedSink struct{ sink.Sink }

func (e encodedSink) WriteEncoded(ctx context.Context, recs []marketprism.Record, bodies [][]byte) error {
	whole := make([]marketprism.Record, len(recs))
	for i := range recs {
		if whole[i] = recs[i]; bodies[i] == nil {
			continue
		}
		var peeked marketprism.Record
		err := errors.Join(decodeRecord(bodies[i], &whole[i]), peekRecord(bodies[i], &peeked))
		if d := sinktest.Diff(&peeked, &recs[i]); err != nil || d != "" {
			panic(fmt.Sprint("the body of ", recs[i].Key(), ": ", err, d))
		}
	}
	return e.Write(ctx, whole)
}

// peekRecord is decodeRecord without levels.
func peekRecord(data []byte, r *marketprism.Record) error {
	err := decodeRecord(data, r)
	if r.Update != nil {
		r.Update.Bids, r.Update.Asks = nil, nil
	}
	return err
}

// run starts Run.
func (s *spilling) run(t testing.TB) *spilling {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func (s *spilling) write(t testing.TB, recs []marketprism.Record) {
	t.Helper()
	if err := s.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
}

func (s *spilling) flush(t testing.TB) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// down makes the next n Writes of the destination fail, some with a part or all of them accepted.
func (s *spilling) down(rng *rand.Rand, n int) {
	for range n {
		s.faults.FailAfter([]int{0, 0, rng.IntN(20), 1 << 30}[rng.IntN(4)], errDown)
	}
}

func TestSpillIsASink(t *testing.T) {
	short.Skip(t)
	configs := map[string]sink.SpillConfig{
		"Default":    {},
		"Disk":       {DirectTimeout: -1},
		"Small":      {DirectTimeout: -1, SyncInterval: -1, MaxBytes: 1 << 20, SegmentBytes: 4096, MaxBatch: 7},
		"Interval":   {SyncInterval: time.Millisecond, DirectTimeout: -1},
		"Fail":       {Overflow: sink.Fail},
		"DropNewest": {Overflow: sink.DropNewest},
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
				s := openSpill(t, &sinktest.Recorder{}, cfg).run(t)
				s.down(rand.New(rand.NewPCG(1, 1)), 6)
				return s, func(t *testing.T) []marketprism.Record {
					s.flush(t)
					return s.dst.Unique()
				}
			})
		})
	}
}

func TestSpillGoesLiveAgain(t *testing.T) {
	spilled, live := make(chan sink.SpillingInfo, 9), make(chan struct{}, 9)
	s := openSpill(t, &sinktest.Recorder{}, sink.SpillConfig{Hooks: &sink.SpillHooks{
		Spilling: func(i sink.SpillingInfo) { spilled <- i },
		Live:     func(time.Duration) { live <- struct{}{} },
	}}).run(t)
	recs := sinktest.Records(1, 30)
	s.write(t, recs[:10])
	if got := s.Stats(); !reflect.DeepEqual(got, sink.SpillStats{Direct: 10}) {
		t.Errorf("Stats %+v", got)
	}
	s.faults.FailNext(3, errDown)
	s.write(t, recs[10:20])
	if i := <-spilled; i.Records != 10 || i.Err != errDown {
		t.Errorf("Spilling with %+v", i)
	}
	<-live
	s.write(t, recs[20:])
	got := s.Stats()
	if got.Retries != 2 {
		t.Errorf("%d retries", got.Retries)
	}
	if got.Retries = 0; !reflect.DeepEqual(got, sink.SpillStats{Direct: 20, Spilled: 10, Drained: 10}) {
		t.Errorf("Stats %+v", got)
	}
	wantSame(t, s.dst.Records(), recs)
}

// A destination that does not answer is unavailable.
func TestSpillDoesNotWaitForASlowDestination(t *testing.T) {
	s := openSpill(t, &sinktest.Recorder{}, sink.SpillConfig{DirectTimeout: time.Millisecond}).run(t)
	release := s.faults.Hold()
	recs := sinktest.Records(1, 30)
	s.write(t, recs[:10])
	s.write(t, recs[10:])
	if got := s.Stats(); !got.Spilling || got.Queued != 30 || got.QueuedBytes < 30*12 || got.Segments != 1 {
		t.Errorf("Stats %+v", got)
	}
	release()
	s.flush(t)
	wantSame(t, s.dst.Records(), recs)
}

// Whatever the destination does, and however often the process starts again, every record that Write
// accepted arrives, first copies in order.
func TestSpillKeepsOrder(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var dst sinktest.Recorder
		cfg := sink.SpillConfig{
			Dir: t.TempDir(), SegmentBytes: 300 + rng.Int64N(20_000), MaxBatch: 1 + rng.IntN(100), SyncInterval: -1,
		}
		if rng.IntN(3) == 0 {
			cfg.DirectTimeout = -1
		}
		recs := sinktest.Records(seed, 1000)
		s := openSpill(t, &dst, cfg).run(t)
		for rest := recs; len(rest) > 0; {
			n := min(len(rest), 1+rng.IntN(30))
			s.write(t, rest[:n])
			rest = rest[n:]
			switch p := rng.IntN(30); {
			case p < 8:
				s.down(rng, 1+rng.IntN(4))
			case p < 10:
				s.flush(t)
			case p == 10:
				s.stop()
				s = openSpill(t, &dst, cfg).run(t)
			}
		}
		s.flush(t)
		stats := s.Stats()
		s.stop()
		wantSame(t, dst.Unique(), recs)
		if stats.Queued != 0 || stats.QueuedBytes != 0 {
			t.Errorf("Stats %+v of an empty queue", stats)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestSpillKeepsTheQueueOverARestart(t *testing.T) {
	cfg := sink.SpillConfig{Dir: t.TempDir(), SegmentBytes: 5000}
	recs := sinktest.Records(1, 300)
	var dst sinktest.Recorder
	for part := range slices.Chunk(recs, 100) {
		s := openSpill(t, &dst, cfg)
		s.faults.FailNext(1, errDown)
		s.write(t, part) // Run is not running
		s.stop()
	}
	var opened sink.SpillOpenedInfo
	cfg.Hooks = &sink.SpillHooks{Opened: func(i sink.SpillOpenedInfo) { opened = i }}
	s := openSpill(t, &dst, cfg)
	if opened.Records != 300 || opened.Segments < 3 || opened.Bytes == 0 || opened.TornBytes != 0 || opened.PositionLost {
		t.Errorf("Opened %+v", opened)
	}
	if got := s.Stats(); !got.Spilling || got.Queued != 300 {
		t.Errorf("Stats %+v", got)
	}
	s.run(t).flush(t)
	wantSame(t, dst.Records(), recs)
	s.stop()
	if left := segments(t, cfg.Dir); len(left) > 1 {
		t.Errorf("files %q are left", left)
	}
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestSpillIsAloneInItsFolder(t *testing.T) {
	cfg := sink.SpillConfig{Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord}
	s := openSpill(t, &sinktest.Recorder{}, cfg)
	if _, err := sink.NewSpill(s.dst, cfg); !errors.Is(err, sink.ErrLocked) {
		t.Errorf("a second Spill: %v", err)
	}
	s.stop()
	again, err := sink.NewSpill(s.dst, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestSpillCloses(t *testing.T) {
	recs := sinktest.Records(1, 500)
	s, wrote := openBlocked(t, 20_000, recs)
	flushed := make(chan error, 1)
	go func() { flushed <- s.Flush(t.Context()) }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"waiting Write": <-wrote, "Flush": <-flushed, "Write": s.Write(t.Context(), recs), "Run": s.Run(t.Context()),
	} {
		if !errors.Is(err, sink.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.Run(t.Context()); err != sink.ErrStarted {
		t.Errorf("second Run: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// If the folder cannot be written, Write returns the error and accepts nothing.
func TestSpillTellsOfDiskErrors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := openSpill(t, &sinktest.Recorder{}, sink.SpillConfig{Dir: dir}).run(t)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	recs := sinktest.Records(1, 60)
	s.faults.FailNext(1, errDown)
	err := s.Write(t.Context(), recs[:30])
	var disk *sink.DiskError
	if !errors.As(err, &disk) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("Write: %v", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.faults.FailNext(1, errDown)
	s.write(t, recs)
	s.flush(t)
	wantSame(t, s.dst.Unique(), recs)

	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := sink.SpillConfig{Dir: filepath.Join(dir, "file"), Encode: encodeRecord, Decode: decodeRecord}
	if _, err := sink.NewSpill(s.dst, cfg); !errors.As(err, &disk) {
		t.Errorf("NewSpill: %v", err)
	}
}

func TestSpillConfigIsChecked(t *testing.T) {
	good := sink.SpillConfig{Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord}
	for name, change := range map[string]func(*sink.SpillConfig){
		"Dir":          func(c *sink.SpillConfig) { c.Dir = "" },
		"Encode":       func(c *sink.SpillConfig) { c.Encode = nil },
		"Decode":       func(c *sink.SpillConfig) { c.Decode = nil },
		"MaxBytes":     func(c *sink.SpillConfig) { c.MaxBytes = -1 },
		"SegmentBytes": func(c *sink.SpillConfig) { c.MaxBytes, c.SegmentBytes = 10, 11 },
		"Overflow":     func(c *sink.SpillConfig) { c.Overflow = sink.DropOldest },
		"MaxBatch":     func(c *sink.SpillConfig) { c.MaxBatch = -1 },
		"RetryMax":     func(c *sink.SpillConfig) { c.RetryMin, c.RetryMax = 2, 1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := sink.NewSpill(&sinktest.Recorder{}, cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("wrong %s: %v", name, err)
		}
	}
	peeking := good
	peeking.Peek = peekRecord
	if _, err := sink.NewSpill(&sinktest.Recorder{}, peeking); err == nil || !strings.Contains(err.Error(), "Peek") {
		t.Errorf("Peek for a destination that takes no encoded records: %v", err)
	}
	if _, err := sink.NewSpill(nil, good); err == nil {
		t.Error("no destination: no error")
	}
}

// encodeRecord and decodeRecord are a small binary codec for the Spill.

func encodeRecord(b []byte, r *marketprism.Record) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return b, err
	}
	w := codecWriter{b}
	w.b = append(w.b, byte(r.Kind()))
	w.text(r.Instrument.Exchange)
	w.text(string(r.Instrument.Market))
	w.text(r.Instrument.Symbol)
	w.times(r.EventTime, r.ReceivedAt)
	switch {
	case r.Update != nil:
		w.ints(r.Update.FirstID, r.Update.LastID, r.Update.PrevLastID)
		w.times(r.Update.EventTime, r.Update.TransactTime)
		w.levels(r.Update.Bids)
		w.levels(r.Update.Asks)
	case r.Snapshot != nil:
		w.ints(r.Snapshot.LastID)
		w.times(r.Snapshot.EventTime, r.Snapshot.TransactTime)
		w.levels(r.Snapshot.Bids)
		w.levels(r.Snapshot.Asks)
		for _, bound := range []orderbook.Bound{r.Snapshot.BidBound, r.Snapshot.AskBound} {
			w.ints(int64(bound.Price), number(bound.Limited))
		}
	case r.Gap != nil:
		w.ints(r.Gap.After, int64(r.Gap.Reason))
		text := ""
		if r.Gap.Err != nil {
			text = r.Gap.Err.Error()
		}
		w.text(text)
	case r.Trade != nil:
		t := r.Trade
		w.ints(t.ID, t.FirstID, t.LastID, int64(t.Price), int64(t.Quantity), number(t.BuyerMaker), number(t.BestMatch))
		w.times(t.TradeTime)
	case r.Ticker != nil:
		t := r.Ticker
		w.ints(t.UpdateID, int64(t.Bid.Price), int64(t.Bid.Quantity), int64(t.Ask.Price), int64(t.Ask.Quantity))
		w.times(t.TransactTime)
	}
	return w.b, nil
}

func decodeRecord(data []byte, r *marketprism.Record) error {
	if len(data) == 0 {
		return errCodec
	}
	d := codecReader{b: data[1:]}
	*r = marketprism.Record{Instrument: marketprism.Instrument{Exchange: d.text(), Market: marketprism.Market(d.text()), Symbol: d.text()}}
	r.EventTime, r.ReceivedAt = d.time(), d.time()
	switch kind := marketprism.Kind(data[0]); kind {
	case marketprism.KindUpdate:
		r.Update = &orderbook.Update{
			FirstID: d.int(), LastID: d.int(), PrevLastID: d.int(), EventTime: d.time(), TransactTime: d.time(),
			Bids: d.levels(), Asks: d.levels(),
		}
	case marketprism.KindSnapshot:
		r.Snapshot = &orderbook.Snapshot{
			LastID: d.int(), EventTime: d.time(), TransactTime: d.time(), Bids: d.levels(), Asks: d.levels(),
			BidBound: d.bound(), AskBound: d.bound(),
		}
	case marketprism.KindGap:
		r.Gap = &orderbook.Gap{After: d.int(), Reason: orderbook.GapReason(d.int())}
		if text := d.text(); text != "" {
			r.Gap.Err = errors.New(text)
		}
	case marketprism.KindTrade, marketprism.KindAggTrade:
		r.Trade = &marketprism.Trade{
			Aggregate: kind == marketprism.KindAggTrade,
			ID:        d.int(), FirstID: d.int(), LastID: d.int(), Price: orderbook.Fixed(d.int()), Quantity: orderbook.Fixed(d.int()),
			BuyerMaker: d.int() == 1, BestMatch: d.int() == 1, TradeTime: d.time(),
		}
	case marketprism.KindTicker:
		r.Ticker = &marketprism.Ticker{UpdateID: d.int(), Bid: d.level(), Ask: d.level(), TransactTime: d.time()}
	default:
		return errCodec
	}
	return d.err
}

var errCodec = errors.New("not a record of the test codec")

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

type codecWriter struct{ b []byte }

func (w *codecWriter) ints(values ...int64) {
	for _, v := range values {
		w.b = binary.AppendVarint(w.b, v)
	}
}

func (w *codecWriter) times(times ...time.Time) {
	for _, t := range times {
		w.ints(t.Unix(), int64(t.Nanosecond()))
	}
}

func (w *codecWriter) text(s string) {
	w.ints(int64(len(s)))
	w.b = append(w.b, s...)
}

func (w *codecWriter) levels(levels []orderbook.Level) {
	w.ints(int64(len(levels)))
	for _, l := range levels {
		w.ints(int64(l.Price), int64(l.Quantity))
	}
}

func (d *codecReader) bound() orderbook.Bound {
	return orderbook.Bound{Price: orderbook.Fixed(d.int()), Limited: d.int() == 1}
}

type codecReader struct {
	b   []byte
	err error
}

func (d *codecReader) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.b, d.err = nil, errCodec
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *codecReader) count() int {
	n := d.int()
	if n < 0 || n > int64(len(d.b)) {
		d.b, d.err = nil, errCodec
		return 0
	}
	return int(n)
}

func (d *codecReader) text() string {
	n := d.count()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *codecReader) time() time.Time {
	sec, nsec := d.int(), d.int()
	return time.Unix(sec, nsec).UTC()
}

func (d *codecReader) level() orderbook.Level {
	return orderbook.Level{Price: orderbook.Fixed(d.int()), Quantity: orderbook.Fixed(d.int())}
}

func (d *codecReader) levels() []orderbook.Level {
	levels := make([]orderbook.Level, d.count())
	for i := range levels {
		levels[i] = d.level()
	}
	return levels
}

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

// killRecords returns the records that the children write, one after the other: more than they can before they are killed.
func killRecords() []marketprism.Record { return sinktest.Records(11, 40_000) }

// runSpillChild writes records from first on to a Spill and reports on standard output:
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
		Hooks:        &sink.SpillHooks{Corrupt: func(err *sink.CorruptError) { fmt.Fprintln(os.Stderr, err) }}, // a kill is no damage
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

// A killParent collects the reports of its children.
type killParent struct {
	accepted  int // records before it were accepted
	delivered []int
}

// hear reads the reports of a child, and calls kill after some lines.
func (p *killParent) hear(t *testing.T, from io.Reader, lines int, kill func()) {
	out := bufio.NewReader(from)
	for ; ; lines-- {
		if lines == 0 {
			kill()
		}
		line, err := out.ReadString('\n')
		if err != nil {
			return // the kill cut the line off
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

// Whenever the process is killed, every record that Write accepted reaches the destination, in order.
func TestSpillSurvivesKill(t *testing.T) {
	short.Skip(t)
	const kills = 20
	rng := rand.New(rand.NewPCG(2, 2))
	dir := t.TempDir()
	recs := killRecords()
	var p killParent
	queued := 0
	for run := range kills + 1 {
		last := len(recs)
		if run == kills {
			last = min(p.accepted+100, len(recs))
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

// unique returns the first copy of each delivered record.
func (p *killParent) unique() []int {
	seen := make(map[int]bool)
	return slices.DeleteFunc(slices.Clone(p.delivered), func(n int) bool {
		again := seen[n]
		seen[n] = true
		return again
	})
}

func accept(context.Context, []marketprism.Record) error { return nil }

// BenchmarkSpillDirect measures a Spill whose destination is available.
func BenchmarkSpillDirect(b *testing.B) {
	for _, policy := range []sink.Overflow{sink.Block, sink.DropNewest} {
		b.Run(policy.String(), func(b *testing.B) {
			s := benchSpill(b, sink.Func(accept), sink.SpillConfig{Overflow: policy})
			writeBench(b, s, 100)
		})
	}
}

// BenchmarkSpillDisk measures Writes to disk, which nothing reads. The encoding is that of the test.
func BenchmarkSpillDisk(b *testing.B) {
	for name, sync := range map[string]time.Duration{"Sync": 0, "NoSync": -1} {
		for batch, size := range map[string]int{"1": 1, "100": 100} {
			b.Run(name+"/"+batch, func(b *testing.B) {
				s := benchSpill(b, sink.Func(accept), sink.SpillConfig{DirectTimeout: -1, SyncInterval: sync, MaxBytes: 1 << 40, SegmentBytes: 64 << 20})
				writeBench(b, s, size)
			})
		}
	}
}

// BenchmarkSpillThrough measures writing to disk and delivery from there.
func BenchmarkSpillThrough(b *testing.B) {
	s := benchSpill(b, sink.Func(accept), sink.SpillConfig{DirectTimeout: -1, SyncInterval: -1})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	writeBench(b, s, 100)
	if err := s.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func benchSpill(b *testing.B, dst sink.Sink, cfg sink.SpillConfig) *sink.Spill {
	b.Helper()
	cfg.Dir, cfg.Encode, cfg.Decode = b.TempDir(), encodeRecord, decodeRecord
	s, err := sink.NewSpill(dst, cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func writeBench(b *testing.B, s *sink.Spill, batch int) {
	b.Helper()
	recs := sinktest.Records(1, batch)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(b.Context(), recs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/record")
}
