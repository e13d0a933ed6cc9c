package orderbook_test

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

var (
	firstSeed = flag.Uint64("seed", 1, "the first seed of TestSimulation; without -seeds only that one is run, and -v shows its steps")
	seedCount = flag.Uint64("seeds", 1000, "how many seeds TestSimulation runs for each rule of ids")
)

// TestSimulation runs a Syncer against a simulated venue, in virtual time, over connections and a
// REST service that fail in every way known, and asserts after every step what sim asserts. The same
// seed gives the same run.
func TestSimulation(t *testing.T) {
	count := *seedCount
	if testing.Short() {
		count = min(count, 100)
	}
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	replay := given["seed"] && !given["seeds"]
	if replay {
		count = 1
	}
	for _, continuity := range []orderbook.Continuity{orderbook.Contiguous, orderbook.Linked} {
		t.Run(continuity.String(), func(t *testing.T) {
			t.Parallel()
			var total simTotals
			for seed := *firstSeed; seed < *firstSeed+count; seed++ {
				s := simulate(t, continuity, seed, replay)
				if replay {
					t.Log(strings.Join(s.trace, "\n"))
				}
				if s.err != nil {
					again := simulate(t, continuity, seed, true)
					t.Fatalf("%v\n%s\nreplay: go test ./orderbook -run TestSimulation/%v -seed %d -v",
						s.err, strings.Join(again.trace[max(0, len(again.trace)-30):], "\n"), continuity, seed)
				}
				total.add(s.syncer.Stats())
			}
			t.Logf("%d seeds: %+v", count, total.SyncerStats)
			if count >= 100 {
				total.check(t, count)
			}
		})
	}
}

func simulate(t *testing.T, continuity orderbook.Continuity, seed uint64, log bool) *sim {
	random := rand.New(rand.NewPCG(seed, uint64(continuity)))
	s, err := newSim(continuity, random.IntN)
	if err != nil {
		t.Fatal(err)
	}
	s.log = log
	s.run(25 * time.Second)
	return s
}

// simTotals shows that the runs went everywhere.
type simTotals struct {
	orderbook.SyncerStats
}

func (t *simTotals) add(s orderbook.SyncerStats) {
	t.Received += s.Received
	t.Applied += s.Applied
	t.Dropped += s.Dropped
	t.Gaps += s.Gaps
	t.Fetches += s.Fetches
	t.Snapshots += s.Snapshots
	t.TooOld += s.TooOld
	t.Discarded += s.Discarded
	t.Refreshes += s.Refreshes
	t.Audits += s.Audits
	t.Abandoned += s.Abandoned
	t.Swaps += s.Swaps
}

func (t *simTotals) check(tb testing.TB, seeds uint64) {
	tb.Helper()
	for name, n := range map[string]uint64{
		"Applied": t.Applied, "Dropped": t.Dropped, "Gaps": t.Gaps, "Fetches": t.Fetches,
		"Snapshots": t.Snapshots, "TooOld": t.TooOld, "Discarded": t.Discarded,
		"Audits": t.Audits, "Abandoned": t.Abandoned, "Swaps": t.Swaps,
	} {
		if n < seeds/10 {
			tb.Errorf("the runs show next to nothing: %s is %d", name, n)
		}
	}
}

// A sim is one run. A contract watches every Output, and every book that the events make is held
// against the venue's truth at its id, within its known range. No audit may find a difference. The Syncer is ticked at its deadlines and, if nobody is being
// silly, at no other time.
type sim struct {
	*contract
	roll   dice
	faults simFaults
	honest bool // every loss is reported to the Syncer: a synced book is then also up to date
	venue  *simVenue

	now   time.Time
	queue simQueue
	steps int

	online     bool
	generation int               // of the connection; what an earlier one still carries is lost
	overlap    bool              // a second connection brings its own batches too
	arrival    time.Time         // of the last frame, since a connection keeps its order
	inFlight   int               // frames on their way
	held       *orderbook.Update // a frame that the next one overtakes

	err   error // the first promise that was broken; it ends the run
	log   bool
	trace []string
}

// newSim decides all that is fixed from the start of a run.
func newSim(continuity orderbook.Continuity, roll dice) (*sim, error) {
	cfg := orderbook.SyncerConfig{
		Continuity: continuity, MaxBuffered: 4096, MaxBufferedBytes: 1 << 20, MaxStale: 20,
		SnapshotTimeout: 3 * time.Second, RetryMin: 250 * time.Millisecond, RetryMax: 4 * time.Second,
	}
	if roll(4) == 3 {
		cfg.MaxBuffered = 3 + roll(8)
	}
	if roll(4) == 3 {
		cfg.MaxBufferedBytes = 600 + roll(3000)
	}
	if roll(4) == 3 {
		cfg.MaxDepth = 1 + roll(20)
		cfg.RefreshDepth = roll(cfg.MaxDepth)
	} else if roll(4) == 3 {
		cfg.RefreshDepth = 1 + roll(20)
	}
	if roll(4) == 3 {
		cfg.RefreshEvery = time.Duration(1+roll(8000)) * time.Millisecond
	}
	c, err := newContract(cfg)
	if err != nil {
		return nil, err
	}
	isNew := roll(8) == 7
	s := &sim{contract: c, roll: roll, venue: newSimVenue(roll, continuity, isNew), now: time.Unix(1_700_000_000, 0)}
	c.known = s.venue.verify
	faults := rollFaults(roll)
	s.honest = faults.honest()
	if isNew {
		s.whenKnown(faults)
	} else {
		s.faults = faults
	}
	return s, nil
}

// whenKnown lets the faults begin once a new instrument has its first update: the ids cannot tell
// whether what follows the snapshot -1 is the first there ever was.
func (s *sim) whenKnown(faults simFaults) {
	if s.synced && s.book.lastID > 0 {
		s.faults = faults
		return
	}
	s.after(100*time.Millisecond, func() { s.whenKnown(faults) })
}

// run lets the venue trade with faults for a while, then without until the book has caught up and for
// a while after.
func (s *sim) run(faulty time.Duration) {
	s.connect()
	s.after(0, s.trade)
	s.after(50*time.Millisecond, func() { s.send(0, 100*time.Millisecond) })
	s.after(70*time.Millisecond, func() { s.send(1, 130*time.Millisecond) })
	s.after(time.Second, s.eachSecond)
	s.runUntil(s.now.Add(faulty))

	s.logf("the faults are over")
	s.faults = simFaults{}
	if !s.online {
		s.connect()
	}
	s.runUntil(s.now.Add(10 * time.Second)) // what the faults delayed comes through
	const patience = 60 * time.Second
	for end := s.now.Add(patience); s.err == nil && !s.current(); {
		s.runUntil(s.now.Add(500 * time.Millisecond))
		if s.now.After(end) {
			s.fail("not in sync %v after the last fault", patience)
		}
	}
	before := s.stats
	s.runUntil(s.now.Add(2 * time.Second))
	if s.stats.Gaps != before.Gaps || s.stats.Applied == before.Applied {
		s.fail("the book does not stay in sync: %+v, then %+v", before, s.stats)
	}
	for end := s.now.Add(patience); s.err == nil && s.stats.Audits == before.Audits; {
		s.obey("refresh")(s.refreshNow(s.now))
		s.runUntil(s.now.Add(time.Second))
		if s.now.After(end) || s.stats.Gaps != before.Gaps {
			s.fail("no refresh succeeds: %+v, then %+v", before, s.stats)
		}
	}
}

// current tells whether the book has everything that was sent.
func (s *sim) current() bool {
	id, sent := s.book.lastID, s.venue.sent()
	return s.synced && id >= sent && id < sent+simEpochIDs/2
}

// runUntil carries out what is due, in order, and ticks the Syncer at its deadlines.
func (s *sim) runUntil(end time.Time) {
	for s.err == nil {
		next := end
		if len(s.queue) > 0 && s.queue[0].at.Before(end) {
			next = s.queue[0].at
		}
		switch deadline := s.syncer.Deadline(); {
		case !deadline.IsZero() && !deadline.After(next):
			s.now = deadline
			s.obey("tick")(s.tick(s.now))
		case next.Equal(end):
			s.now = end
			return
		default:
			s.now = next
			heap.Pop(&s.queue).(simStep).do()
		}
	}
}

// obey returns a function that checks a call of the Syncer and does what its Output says.
func (s *sim) obey(format string, args ...any) func(orderbook.Output, error) {
	return func(out orderbook.Output, err error) {
		if s.log {
			s.logf(format, args...)
			s.trace = append(s.trace, formatOutput(out)+fmt.Sprintf("  %v at %d", s.syncer.State(), s.syncer.Book().LastID()))
		}
		if err != nil {
			s.fail("%s: %w", fmt.Sprintf(format, args...), err)
		}
		if out.Audit != nil && out.Audit.Different > 0 {
			s.fail("%s: two true books differ: %+v", fmt.Sprintf(format, args...), out.Audit)
		}
		if out.Fetch != 0 {
			s.request(out.Fetch)
		}
	}
}

func (s *sim) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

func (s *sim) logf(format string, args ...any) {
	if s.log {
		s.trace = append(s.trace, fmt.Sprintf("%s  ", s.now.UTC().Format("04:05.000"))+fmt.Sprintf(format, args...))
	}
}

// after schedules a step.
func (s *sim) after(d time.Duration, do func()) {
	s.steps++
	heap.Push(&s.queue, simStep{at: s.now.Add(d), order: s.steps, do: do})
}

type simStep struct {
	at    time.Time
	order int // steps of one moment come in the order in which they were scheduled
	do    func()
}

type simQueue []simStep

func (q simQueue) Len() int      { return len(q) }
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q simQueue) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].order < q[j].order
}
func (q *simQueue) Push(x any) { *q = append(*q, x.(simStep)) }
func (q *simQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
