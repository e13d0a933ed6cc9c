package orderbook_test

import (
	"container/heap"
	"errors"
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
// REST service that fail in every known way, and checks after every step what sim checks. The same
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

// simTotals shows that the runs covered every kind of event.
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
			tb.Errorf("the runs cover too little: %s is %d", name, n)
		}
	}
}

// A sim is one run. A contract checks every Output, and every book that the events make is compared with
// the venue's book at its id, within its known depth. No audit may find a difference. The Syncer is ticked
// at its deadlines and, but for the fault silly, at no other time.
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
	generation int               // of the connection; frames of earlier ones are lost
	overlap    bool              // a second connection delivers its own batches too
	arrival    time.Time         // of the last frame, since a connection keeps its order
	inFlight   int               // frames on their way
	held       *orderbook.Update // a frame that the next one overtakes

	err   error // the first promise that was broken; it ends the run
	log   bool
	trace []string
}

// newSim rolls the settings of a run.
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
	c.verify = s.venue.verify
	s.faults = rollFaults(roll)
	s.honest = s.faults.honest()
	return s, nil
}

// run lets the venue trade with faults for a while, then without until the book has caught up, and for
// a while longer.
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
	s.runUntil(s.now.Add(10 * time.Second)) // delayed frames arrive
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
		s.apply("refresh")(s.refreshNow(s.now))
		s.runUntil(s.now.Add(time.Second))
		if s.now.After(end) || s.stats.Gaps != before.Gaps {
			s.fail("no refresh succeeds: %+v, then %+v", before, s.stats)
		}
	}
	if s.book.bidBound.Price == orderbook.MaxFixed || s.book.askBound == (orderbook.Bound{Limited: true}) {
		s.fail("a refresh has left the book unknown")
	}
}

// current reports whether the book has everything that was sent.
func (s *sim) current() bool {
	id, sent := s.book.lastID, s.venue.sent()
	return s.synced && id >= sent && id < sent+simEpochIDs/2
}

// runUntil carries out the steps that are due, in order, and ticks the Syncer at its deadlines.
func (s *sim) runUntil(end time.Time) {
	for s.err == nil {
		next := end
		if len(s.queue) > 0 && s.queue[0].at.Before(end) {
			next = s.queue[0].at
		}
		switch deadline := s.syncer.Deadline(); {
		case !deadline.IsZero() && !deadline.After(next):
			s.now = deadline
			s.apply("tick")(s.tick(s.now))
		case next.Equal(end):
			s.now = end
			return
		default:
			s.now = next
			heap.Pop(&s.queue).(simStep).do()
		}
	}
}

// apply returns a function that checks a call of the Syncer and carries out its Output.
func (s *sim) apply(format string, args ...any) func(orderbook.Output, error) {
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

func (q simQueue) Len() int { return len(q) }

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

// simFaults are the chances of each fault, in a thousand.
type simFaults struct {
	loss, reported, duplicate, swap, invalid int // per frame; reported is a loss that the driver noticed
	fail, hang, late, stale, cut, twice      int // per snapshot
	disconnect, overlap, reset, silly        int // per second
	quiet, burst                             int // per change: a pause of seconds, many changes at once
	refresh                                  int // per second; no fault, but it may come at any moment
}

// honest reports whether no update is lost without the driver noticing.
func (f *simFaults) honest() bool {
	return f.loss == 0 && f.swap == 0 && f.stale == 0 && f.reset == 0
}

// rollFaults selects the faults of a run: few in each, so that every fault also occurs without most
// others, which could hide its effect.
func rollFaults(roll dice) simFaults {
	var f simFaults
	for _, chance := range []*int{
		&f.loss, &f.reported, &f.duplicate, &f.swap, &f.invalid, &f.fail, &f.hang, &f.late, &f.stale, &f.cut,
		&f.twice, &f.disconnect, &f.overlap, &f.reset, &f.silly, &f.quiet, &f.burst,
		&f.refresh,
	} {
		if roll(3) == 2 {
			*chance = []int{10, 40, 150, 400}[roll(4)]
		}
	}
	if roll(2) == 1 {
		f.loss, f.swap, f.stale, f.reset = 0, 0, 0, 0
	}
	return f
}

var errSim = errors.New("simulated fault")

// trade makes the venue's changes.
func (s *sim) trade() {
	pause := time.Duration(20+s.roll(150)) * time.Millisecond
	s.venue.change()
	switch {
	case s.roll.chance(s.faults.quiet / 8):
		pause = time.Duration(1+s.roll(8)) * time.Second
	case s.roll.chance(s.faults.burst / 4):
		for range s.roll(40) {
			s.transmit(0, s.venue.flush(0))
			s.venue.change()
		}
	}
	s.after(pause, s.trade)
}

// send ends a batch of a connection every period.
func (s *sim) send(connection int, period time.Duration) {
	s.transmit(connection, s.venue.flush(connection))
	s.after(period, func() { s.send(connection, period) })
}

// eachSecond rolls the faults of the connection, the ids and the driver.
func (s *sim) eachSecond() {
	s.after(time.Second, s.eachSecond)
	switch {
	case s.online && s.roll.chance(s.faults.disconnect):
		s.disconnect()
	case s.online && s.roll.chance(s.faults.overlap):
		s.overlap = !s.overlap
	case s.roll.chance(s.faults.reset) && s.venue.reset():
		s.logf("the ids go back to %d", s.venue.counter)
	case s.roll.chance(s.faults.silly):
		s.beSilly()
	}
	if s.roll.chance(s.faults.refresh) {
		s.after(time.Duration(s.roll(1000))*time.Millisecond, func() { s.apply("refresh")(s.refreshNow(s.now)) })
	}
	if s.honest && s.synced && s.inFlight == 0 && !s.current() {
		s.fail("a synced book at %d; all up to %d was sent, and no loss went unreported", s.book.lastID, s.venue.sent())
	}
}

func (s *sim) connect() {
	s.online = true
	s.apply("connected")(s.connected(s.now))
}

// disconnect loses the frames in flight, and connects again some time later.
func (s *sim) disconnect() {
	s.online, s.overlap, s.held, s.inFlight = false, false, nil, 0
	s.generation++
	s.apply("disconnected")(s.disconnected(s.now, errSim))
	s.after(time.Duration(s.roll(4000))*time.Millisecond, func() {
		if !s.online {
			s.connect()
		}
	})
}

// beSilly makes pointless calls, which must have no effect.
func (s *sim) beSilly() {
	if s.online {
		s.apply("connected again")(s.connected(s.now))
		s.apply("early tick")(s.tick(s.now))
		return
	}
	s.apply("disconnected again")(s.disconnected(s.now, errSim))
	s.apply("update without a connection")(s.update(s.now, &orderbook.Update{FirstID: 1, LastID: s.venue.counter + 5}))
	s.apply("resync without a connection")(s.resync(s.now, orderbook.Gap{Reason: orderbook.GapInvalid}))
}

// transmit sends a frame over the connection, which delays it and keeps the order.
func (s *sim) transmit(connection int, u *orderbook.Update) {
	if u == nil || !s.online || connection == 1 && !s.overlap {
		return
	}
	at := s.now.Add(time.Duration(1+s.roll(60)) * time.Millisecond)
	if at.Before(s.arrival) {
		at = s.arrival
	}
	s.arrival = at
	s.inFlight++
	generation := s.generation
	s.after(at.Sub(s.now), func() {
		if generation == s.generation {
			s.inFlight--
			s.receive(u)
		}
	})
}

// receive handles a frame's arrival, with its faults.
func (s *sim) receive(u *orderbook.Update) {
	f := &s.faults
	switch {
	case s.roll.chance(f.loss):
		s.logf("update %d-%d is lost", u.FirstID, u.LastID)
	case s.roll.chance(f.reported):
		s.apply("update %d-%d is lost and reported", u.FirstID, u.LastID)(
			s.resync(s.now, orderbook.Gap{Reason: orderbook.GapOverflow, Err: errSim}))
	case s.roll.chance(f.invalid / 4):
		s.deliver(&orderbook.Update{FirstID: u.LastID + 1, LastID: u.LastID, PrevLastID: u.PrevLastID, Bids: u.Bids, Asks: u.Asks})
	case s.held == nil && s.roll.chance(f.swap):
		s.held = u
	case s.roll.chance(f.duplicate):
		s.deliver(u)
		generation := s.generation
		s.after(time.Duration(s.roll(2000))*time.Millisecond, func() {
			if generation == s.generation {
				s.deliver(u)
			}
		})
	default:
		s.deliver(u)
		if held := s.held; held != nil {
			s.held = nil
			s.deliver(held)
		}
	}
}

// deliver gives the Syncer a copy and overwrites it afterwards, since the Syncer must not keep it.
func (s *sim) deliver(u *orderbook.Update) {
	u = u.Clone()
	s.apply("update %d-%d (pu %d) %s", u.FirstID, u.LastID, u.PrevLastID, sideCounts(u.Bids, u.Asks))(s.update(s.now, u))
	spoil(u.Bids, u.Asks)
}

// request is the REST service: it takes the snapshot after one delay and answers after another.
func (s *sim) request(id orderbook.FetchID) {
	f := &s.faults
	s.after(time.Duration(1+s.roll(40))*time.Millisecond, func() {
		delay := time.Duration(1+s.roll(40)) * time.Millisecond
		book := s.venue.snapshot(s.roll.chance(f.stale))
		depth := 0
		switch {
		case s.roll.chance(f.hang):
			s.logf("fetch %d hangs", id)
			return
		case s.roll.chance(f.fail):
			s.after(delay, func() { s.apply("fetch %d fails", id)(s.snapshotFailed(s.now, id, errSim)) })
			return
		case s.roll.chance(f.late):
			delay += time.Duration(s.roll(5000)) * time.Millisecond
		case s.roll.chance(f.cut):
			depth = 1 + s.roll(10)
		}
		s.after(delay, func() { s.answer(id, book, depth) })
		if s.roll.chance(f.twice) {
			s.after(delay+time.Duration(s.roll(3000))*time.Millisecond, func() { s.answer(id, book, depth) })
		}
	})
}

func (s *sim) answer(id orderbook.FetchID, book *oracleBook, depth int) {
	snap := book.snapshot(depth)
	s.apply("fetch %d: snapshot %d %s", id, snap.LastID, sideCounts(snap.Bids, snap.Asks))(s.snapshot(s.now, id, snap))
	spoil(snap.Bids, snap.Asks)
}

// spoil overwrites levels that must not have been kept.
func spoil(sides ...[]orderbook.Level) {
	for _, side := range sides {
		for i := range side {
			side[i] = orderbook.Level{Price: -7, Quantity: -7}
		}
	}
}

type sideCount struct{ bids, asks int }

func sideCounts(bids, asks []orderbook.Level) sideCount { return sideCount{len(bids), len(asks)} }

func (c sideCount) String() string { return fmt.Sprintf("with %d bids, %d asks", c.bids, c.asks) }

// Dice return a number from 0 to n-1. 0 always means the calm choice: no fault, the shortest delay.
type dice func(n int) int

// chance returns true n times in a thousand.
func (roll dice) chance(permille int) bool {
	return permille > 0 && roll(1000) >= 1000-permille
}

// A simVenue is an exchange with one symbol: its true book, now and at any past id, and the batches
// in which the changes are sent. With contiguous ids every change has the next one; with linked ids
// they jump, as if many symbols shared a counter.
type simVenue struct {
	roll       dice
	continuity orderbook.Continuity

	book    *oracleBook // the truth; its lastID is that of the last change
	counter int64       // the last id given out
	epochs  []*simEpoch
	batches [2]*simBatch // of two connections: the same changes, cut at different borders
	borders []int64      // ends of the batches of the first, where most snapshots are taken
}

// A simEpoch is the time between two resets of the ids. Each has a range of ids of its own.
type simEpoch struct {
	base  int64
	start *oracleBook
	log   []simChange

	cursor *oracleBook // the book after the first done entries of log
	done   int
}

type simChange struct {
	id    int64
	bid   bool
	level orderbook.Level
}

// A simBatch collects changes until they are sent as one Update.
type simBatch struct {
	next orderbook.Update // LastID 0 while empty
	prev int64            // LastID of the previous Update
}

const (
	simEpochIDs = 1_000_000_000 // ids per epoch
	simPrices   = 30            // prices per side
)

// newSimVenue returns a venue with a book or, if it is new, with an instrument that never had an update.
func newSimVenue(roll dice, continuity orderbook.Continuity, isNew bool) *simVenue {
	v := &simVenue{roll: roll, continuity: continuity, book: newOracleBook()}
	v.batches = [2]*simBatch{{}, {}}
	if isNew {
		v.book.lastID = -1
		v.epochs = []*simEpoch{{base: -1, start: v.book.clone()}}
		v.borders = []int64{-1}
	} else {
		v.begin(2 * simEpochIDs)
	}
	return v
}

// begin starts an epoch with ids above base and another book, which no update announces.
func (v *simVenue) begin(base int64) {
	prev := base
	if len(v.epochs) > 0 && v.roll(2) == 1 {
		prev = v.sent() // the first pu after a reset may be of the epoch before
	}
	v.counter = base
	v.book = newOracleBook()
	v.book.lastID = base
	for range v.roll(3 * simPrices) {
		change := v.randomChange()
		v.side(change.bid).set([]orderbook.Level{change.level})
	}
	v.epochs = append(v.epochs, &simEpoch{base: base, start: v.book.clone()})
	v.borders = []int64{base}
	for _, b := range v.batches {
		*b = simBatch{prev: prev}
	}
}

// reset makes the ids go back, while there are lower ones.
func (v *simVenue) reset() bool {
	base := v.epochs[len(v.epochs)-1].base
	if base <= 0 {
		return false
	}
	v.begin(base - simEpochIDs)
	return true
}

func (v *simVenue) side(bid bool) oracleSide {
	if bid {
		return v.book.bids
	}
	return v.book.asks
}

// randomChange sets or removes a level, at times the best or one that does not exist. Sides overlap a
// little: the Syncer does not care about a crossed book.
func (v *simVenue) randomChange() simChange {
	c := simChange{bid: v.roll(2) == 0}
	price := v.roll(simPrices)
	if v.roll(6) == 5 {
		price = simPrices - 1 // the best possible
	}
	if !c.bid {
		price = 2*simPrices - 3 - price
	}
	c.level.Price = orderbook.Fixed(1 + price)
	if v.roll(5) >= 2 {
		c.level.Quantity = orderbook.Fixed(1 + v.roll(200))
	}
	return c
}

// change changes no, one or two levels under one id.
func (v *simVenue) change() {
	v.counter++
	if v.continuity == orderbook.Linked {
		v.counter += int64(v.roll(50))
	}
	v.book.lastID = v.counter
	epoch := v.epochs[len(v.epochs)-1]
	for range v.roll(3) {
		c := v.randomChange()
		c.id = v.counter
		v.side(c.bid).set([]orderbook.Level{c.level})
		epoch.log = append(epoch.log, c)
		for _, b := range v.batches {
			b.add(c)
		}
	}
	for _, b := range v.batches {
		if b.next.LastID == 0 {
			b.next.FirstID = v.counter
		}
		b.next.LastID = v.counter
	}
}

// add merges a change into the batch: of several for one price the last one counts.
func (b *simBatch) add(c simChange) {
	side := &b.next.Asks
	if c.bid {
		side = &b.next.Bids
	}
	for i := range *side {
		if (*side)[i].Price == c.level.Price {
			(*side)[i] = c.level
			return
		}
	}
	*side = append(*side, c.level)
}

// flush ends the batch of a connection and returns it; nil if nothing happened since the last one.
func (v *simVenue) flush(connection int) *orderbook.Update {
	b := v.batches[connection]
	if b.next.LastID == 0 {
		return nil
	}
	u := b.next
	if v.continuity == orderbook.Linked {
		u.PrevLastID = b.prev
	}
	*b = simBatch{prev: u.LastID}
	if connection == 0 {
		v.borders = append(v.borders, u.LastID)
	}
	return &u
}

// sent is the id up to which a connection has sent everything.
func (v *simVenue) sent() int64 { return v.borders[len(v.borders)-1] }

// snapshot returns the answer of the REST service: at the border of a batch or in the middle of one and, if
// stale, at some border of the past.
func (v *simVenue) snapshot(stale bool) *oracleBook {
	id := v.sent()
	switch {
	case stale:
		id = v.borders[len(v.borders)-1-v.roll(min(len(v.borders), 30))]
	case v.roll(2) == 1 && v.book.lastID >= 0:
		id = v.book.lastID
		if v.continuity == orderbook.Linked { // ids of other symbols count too
			v.counter += int64(v.roll(20))
			id = v.counter
		}
	}
	book := v.at(id).clone()
	book.lastID = id
	return book
}

// at returns the true book at an id. It is valid until the next call.
func (v *simVenue) at(id int64) *oracleBook {
	for _, e := range v.epochs {
		if id < e.base || id >= e.base+simEpochIDs {
			continue
		}
		if e.cursor == nil || e.done > 0 && e.log[e.done-1].id > id {
			e.cursor, e.done = e.start.clone(), 0
		}
		for ; e.done < len(e.log) && e.log[e.done].id <= id; e.done++ {
			c := &e.log[e.done]
			side := e.cursor.asks
			if c.bid {
				side = e.cursor.bids
			}
			side.set([]orderbook.Level{c.level})
		}
		e.cursor.lastID = id
		return e.cursor
	}
	return nil
}

// verify compares a book with the truth at its id: every level it has is right, and none is missing
// within its bounds.
func (v *simVenue) verify(book *oracleBook) error {
	truth := v.at(book.lastID)
	if truth == nil {
		return fmt.Errorf("id %d never was", book.lastID)
	}
	floor, ceiling := orderbook.MinFixed, orderbook.MaxFixed
	if book.bidBound.Limited {
		floor = book.bidBound.Price
	}
	if book.askBound.Limited {
		ceiling = book.askBound.Price
	}
	if err := book.bids.verify(truth.bids, floor, orderbook.MaxFixed); err != nil {
		return fmt.Errorf("bids at id %d: %w", book.lastID, err)
	}
	if err := book.asks.verify(truth.asks, orderbook.MinFixed, ceiling); err != nil {
		return fmt.Errorf("asks at id %d: %w", book.lastID, err)
	}
	return nil
}

func (s oracleSide) verify(truth oracleSide, from, to orderbook.Fixed) error {
	for price, quantity := range s {
		if truth[price] != quantity {
			return fmt.Errorf("%d at price %d, in truth %d", quantity, price, truth[price])
		}
	}
	for price, quantity := range truth {
		if price >= from && price <= to && s[price] == 0 {
			return fmt.Errorf("nothing at price %d, in truth %d", price, quantity)
		}
	}
	return nil
}
