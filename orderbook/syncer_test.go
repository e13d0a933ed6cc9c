package orderbook_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

func TestSyncerConfig(t *testing.T) {
	for name, cfg := range map[string]orderbook.SyncerConfig{
		"an unknown rule":      {Continuity: orderbook.Linked + 1},
		"an unbounded buffer":  {MaxBuffered: -1},
		"unbounded bytes":      {MaxBufferedBytes: -1},
		"a negative delay":     {RetryMin: -1},
		"bounds the wrong way": {RetryMin: time.Second, RetryMax: time.Millisecond},
		"a negative RetryMax":  {RetryMax: -1},
		"a promise too deep":   {RefreshDepth: 10, MaxDepth: 10},
	} {
		if s, err := orderbook.NewSyncer(cfg); err == nil || s != nil {
			t.Errorf("%s was accepted: %v", name, cfg)
		}
	}
	for name, cfg := range map[string]orderbook.SyncerConfig{
		"zero":              {},
		"everything off":    {SnapshotTimeout: -1, MaxStale: -1, MaxDepth: -1, RefreshDepth: -1, RefreshEvery: -1},
		"any depth kept":    {RefreshDepth: 1000},
		"a long RetryMin":   {RetryMin: time.Hour},
		"a short RetryMax":  {RetryMax: time.Millisecond},
		"a constant delay":  {RetryMin: time.Second, RetryMax: time.Second},
		"the least buffers": {MaxBuffered: 1, MaxBufferedBytes: 1},
	} {
		if s, err := orderbook.NewSyncer(cfg); err != nil || s.State() != orderbook.Offline {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The defaults are documented, so they are a promise: 20 s for an answer, 250 ms and 30 s for the
// delays, 4096 updates, 512 stale ones.
func TestSyncerDefaults(t *testing.T) {
	now := time.Unix(1000, 0)
	s, err := orderbook.NewSyncer(orderbook.SyncerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	out := s.Connected(now)
	if wait := s.Deadline().Sub(now); wait != 20*time.Second {
		t.Errorf("an answer is awaited for %v", wait)
	}
	var wait time.Duration
	for i := range 10 {
		s.SnapshotFailed(now, out.Fetch, errSim)
		wait = s.Deadline().Sub(now)
		if i == 0 && wait != 250*time.Millisecond {
			t.Errorf("the first delay is %v", wait)
		}
		now = s.Deadline()
		out = s.Tick(now)
	}
	if wait != 30*time.Second {
		t.Errorf("the longest delay is %v", wait)
	}
	for id := range int64(4096) {
		if out := s.Update(now, &orderbook.Update{FirstID: id, LastID: id}); len(out.Events) != 0 {
			t.Fatalf("update %d: %+v", id, out.Events)
		}
	}
	if out := s.Update(now, &orderbook.Update{FirstID: 4096, LastID: 4096}); len(out.Events) != 1 || out.Events[0].Gap == nil {
		t.Errorf("4097 updates wait, with %+v", out.Events)
	}
	if out := s.Snapshot(now, out.Fetch, &orderbook.Snapshot{LastID: 5000}); len(out.Events) != 1 || s.State() != orderbook.Synced {
		t.Fatalf("%v with %+v", s.State(), out.Events)
	}
	for i := range 512 {
		out = s.Update(now, &orderbook.Update{FirstID: 1, LastID: 1})
		if gap := len(out.Events) == 1; gap != (i == 511) {
			t.Fatalf("stale update %d: %+v", i+1, out.Events)
		}
	}
	if gap := out.Events[0].Gap; gap.Reason != orderbook.GapRegressed || gap.After != 5000 {
		t.Errorf("%+v", gap)
	}
}

func TestGapNamesItsCause(t *testing.T) {
	now := time.Unix(1000, 0)
	s, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: orderbook.Linked})
	if err != nil {
		t.Fatal(err)
	}
	s.Snapshot(now, s.Connected(now).Fetch, &orderbook.Snapshot{LastID: 10})
	gap := s.Update(now, &orderbook.Update{FirstID: 20, LastID: 21, PrevLastID: 15}).Events[0].Gap
	var sequence *orderbook.SequenceError
	if !errors.As(gap.Err, &sequence) || *sequence != (orderbook.SequenceError{Want: 10, Got: 15}) {
		t.Errorf("%+v", gap)
	}
	now = s.Deadline()
	s.Snapshot(now, s.Tick(now).Fetch, &orderbook.Snapshot{LastID: 15})
	if gap := s.Disconnected(now, errSim).Events[0].Gap; gap.Err != errSim || gap.Reason != orderbook.GapDisconnect {
		t.Errorf("%+v", gap)
	}
}

// An Output stays valid until the next call, also its updates that were pending.
func TestOutputKeepsUntilTheNextCall(t *testing.T) {
	now := time.Unix(1000, 0)
	s, err := orderbook.NewSyncer(orderbook.SyncerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	fetch := s.Connected(now).Fetch
	r := rand.New(rand.NewPCG(1, 1))
	var given []*orderbook.Update
	for id := int64(1); id <= 300; id++ {
		u := randomUpdate(r, id, 50)
		given = append(given, u.Clone())
		s.Update(now, u)
		spoil(u.Bids, u.Asks)
	}
	out := s.Snapshot(now, fetch, &orderbook.Snapshot{})
	if len(out.Events) != 301 {
		t.Fatalf("%d events", len(out.Events))
	}
	for i, e := range out.Events[1:] {
		want := formatOutput(orderbook.Output{Events: []orderbook.Event{{Update: given[i]}}})
		if got := formatOutput(orderbook.Output{Events: []orderbook.Event{e}}); got != want {
			t.Fatalf("event %d is\n%swant\n%s", i+1, got, want)
		}
	}
}

// The event of an update has its time of arrival, however long the update was pending.
func TestEventReceivedAt(t *testing.T) {
	t0 := time.Unix(1000, 0)
	s, err := orderbook.NewSyncer(orderbook.SyncerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	at := func(second int) time.Time { return t0.Add(time.Duration(second) * time.Second) }
	fetch := s.Connected(at(0)).Fetch
	update := func(id int64) *orderbook.Update { return &orderbook.Update{FirstID: id, LastID: id} }
	s.Update(at(1), update(1))
	s.UpdateReceived(at(3), at(2), update(2))
	s.Update(at(4), update(3))
	check := func(out orderbook.Output, want ...time.Time) {
		t.Helper()
		if len(out.Events) != len(want) {
			t.Fatalf("%d events, want %d", len(out.Events), len(want))
		}
		for i, ev := range out.Events {
			if !ev.ReceivedAt.Equal(want[i]) {
				t.Errorf("event %d was received at %v, want %v", i, ev.ReceivedAt, want[i])
			}
		}
	}
	check(s.Snapshot(at(5), fetch, &orderbook.Snapshot{LastID: 1}), time.Time{}, at(2), at(4))
	check(s.Update(at(6), update(4)), at(6))
	check(s.UpdateReceived(at(8), at(7), update(5)), at(7))
	out := s.Update(at(9), update(7)) // 6 is missing
	check(out, time.Time{})
	check(s.Snapshot(at(12), out.Fetch, &orderbook.Snapshot{LastID: 6}), time.Time{}, at(9))
}

func TestSyncerAllocatesNothing(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, cfg := range map[string]orderbook.SyncerConfig{
		"contiguous": {},
		"linked":     {Continuity: orderbook.Linked},
		"bounded":    {MaxDepth: 100, RefreshDepth: 20, RefreshEvery: time.Hour},
	} {
		s, err := orderbook.NewSyncer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		fetch := s.Connected(now).Fetch
		r := rand.New(rand.NewPCG(1, 1))
		var updates []*orderbook.Update
		for id := range int64(2000) {
			updates = append(updates, randomUpdate(r, id, 500))
		}
		next := int64(0)
		feed := func() {
			u := updates[next%int64(len(updates))]
			u.FirstID, u.LastID, u.PrevLastID = next+1, next+1, next
			s.Update(now, u)
			next++
		}
		s.Snapshot(now, fetch, &orderbook.Snapshot{})
		for range updates {
			feed()
		}
		if n := testing.AllocsPerRun(len(updates), feed); n != 0 {
			t.Errorf("%s: an update of a synced book allocates %v times", name, n)
		}
		old := &orderbook.Update{FirstID: 1, LastID: 1}
		if n := testing.AllocsPerRun(100, func() { s.Update(now, old) }); n != 0 {
			t.Errorf("%s: a duplicate allocates %v times", name, n)
		}
		if s.State() != orderbook.Synced {
			t.Errorf("%s: %v", name, s.State())
		}
	}
}

// A byteDice takes its numbers from bytes, and returns 0 after the last.
type byteDice struct{ data []byte }

func (d *byteDice) roll(n int) int {
	value := 0
	for limit := 1; limit < n && len(d.data) > 0; limit <<= 8 {
		value = value<<8 | int(d.data[0])
		d.data = d.data[1:]
	}
	return value % n
}

// FuzzSyncer calls a Syncer in any order, with ids and answers that no venue would send, and
// checks every Output against the contract. Time moves to a deadline or by a step.
func FuzzSyncer(f *testing.F) {
	f.Add(false, []byte("\x00\x00\x03\x05\x03\x02\x01\x01\x02\x01\x01\x02\x05\x01\x01"))
	f.Add(true, []byte("\x00\x00\x02\x01\x01\x01\x02\x01\x01\x01\x03\x05\x00\x02\x09\x01\x01\x02\x01\x01\x05\x06"))
	f.Add(false, []byte("connected, update, snapshot, failed, disconnected, resync, tick"))
	f.Fuzz(func(t *testing.T, linked bool, data []byte) {
		d := &byteDice{data: data[:min(len(data), 4000)]}
		cfg := orderbook.SyncerConfig{
			MaxBuffered: 1 + d.roll(8), MaxBufferedBytes: 200 + 100*d.roll(16), MaxStale: d.roll(6) - 1,
			MaxDepth: d.roll(4) - 1, RefreshEvery: time.Duration(d.roll(4)) * 300 * time.Millisecond, SnapshotTimeout: time.Second, RetryMin: 100 * time.Millisecond, RetryMax: 800 * time.Millisecond,
		}
		if cfg.RefreshDepth = d.roll(4) - 1; cfg.MaxDepth > 0 {
			cfg.RefreshDepth = min(cfg.RefreshDepth, cfg.MaxDepth-1)
		}
		if linked {
			cfg.Continuity = orderbook.Linked
		}
		c, err := newContract(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := &arbitrary{contract: c, byteDice: d, now: time.Unix(1000, 0), id: 50}
		for len(d.data) > 0 {
			if err := s.step(); err != nil {
				t.Fatalf("%d bytes before the end: %v", len(d.data), err)
			}
		}
	})
}

// arbitrary makes calls by the bytes. Ids stay close to each other, so that they meet.
type arbitrary struct {
	*contract
	*byteDice
	now time.Time
	id  int64 // the ids are near it
}

func (s *arbitrary) step() error {
	var err error
	switch s.roll(11) {
	case 0:
		_, err = s.connected(s.now)
	case 1:
		_, err = s.disconnected(s.now, errSim)
	case 2, 3, 4, 5:
		u := s.randomUpdate()
		_, err = s.update(s.now, u)
		spoil(u.Bids, u.Asks)
	case 6:
		snap := &orderbook.Snapshot{LastID: s.near(), Bids: s.levels(), Asks: s.levels()}
		snap.SetLimit(s.roll(4))
		_, err = s.snapshot(s.now, s.answered(), snap)
		spoil(snap.Bids, snap.Asks)
	case 7:
		_, err = s.snapshotFailed(s.now, s.answered(), errSim)
	case 8:
		_, err = s.resync(s.now, orderbook.Gap{Reason: orderbook.GapReason(1 + s.roll(7))})
	case 9:
		s.now = s.now.Add(time.Duration(s.roll(200)) * 10 * time.Millisecond)
		_, err = s.tick(s.now)
	case 10:
		_, err = s.refreshNow(s.now)
	}
	for err == nil && s.roll(3) == 1 && !s.syncer.Deadline().IsZero() && s.syncer.Deadline().After(s.now) {
		s.now = s.syncer.Deadline()
		_, err = s.tick(s.now)
	}
	return err
}

// answered returns mostly the request that is out.
func (s *arbitrary) answered() orderbook.FetchID {
	if s.roll(4) == 3 {
		return orderbook.FetchID(s.roll(8))
	}
	return s.out
}

func (s *arbitrary) near() int64 {
	if s.roll(32) == 31 {
		return []int64{-1, 0, 1<<63 - 1, -1 << 63}[s.roll(4)]
	}
	return s.id + int64(s.roll(16)) - 8
}

// randomUpdate mostly continues where the last one ended.
func (s *arbitrary) randomUpdate() *orderbook.Update {
	u := &orderbook.Update{PrevLastID: s.id, FirstID: s.id + 1, Bids: s.levels(), Asks: s.levels()}
	if s.roll(4) == 3 {
		u.FirstID, u.PrevLastID = s.near(), s.near()
	}
	u.LastID = u.FirstID + int64(s.roll(4))
	if s.roll(32) == 31 {
		u.LastID = s.near()
	}
	if u.LastID > -1000 && u.LastID < 1000 {
		s.id = u.LastID
	}
	return u
}

func (s *arbitrary) levels() []orderbook.Level {
	var out []orderbook.Level
	for range s.roll(4) {
		out = append(out, orderbook.Level{Price: orderbook.Fixed(s.roll(8)), Quantity: orderbook.Fixed(s.roll(3))})
	}
	return out
}

// FuzzSimulation is TestSimulation with the bytes for dice.
func FuzzSimulation(f *testing.F) {
	f.Add(false, []byte("the faults come first, then what they do: \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add(true, []byte("\xff\x03\xff\x02\xff\x01\xff\x00\xff\xff\xff\xff\x02\x02\x02\x02\x02\x03\x03\x03\x03\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, linked bool, data []byte) {
		continuity := orderbook.Contiguous
		if linked {
			continuity = orderbook.Linked
		}
		d := &byteDice{data: data[:min(len(data), 4000)]}
		s, err := newSim(continuity, d.roll)
		if err != nil {
			t.Fatal(err)
		}
		if s.run(5 * time.Second); s.err != nil {
			t.Fatal(s.err)
		}
	})
}

// A book that is detached stays as it is.
func TestDetach(t *testing.T) {
	now := time.Unix(0, 0)
	s, err := orderbook.NewSyncer(orderbook.SyncerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	j, err := orderbook.NewJoiner(orderbook.JoinerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	level := func(price orderbook.Fixed) []orderbook.Level {
		return []orderbook.Level{{Price: price * orderbook.One, Quantity: orderbook.One}}
	}
	snap := &orderbook.Snapshot{LastID: 5, Bids: level(1), Asks: level(3)}
	s.Snapshot(now, s.Connected(now).Fetch, snap)
	j.Join(orderbook.Event{Snapshot: snap})
	update := &orderbook.Update{FirstID: 6, LastID: 6, Bids: level(2)}
	for name, c := range map[string]struct {
		book   func() *orderbook.Book
		detach func()
		update func()
	}{
		"syncer": {s.Book, s.Detach, func() { s.Update(now, update) }},
		"joiner": {j.Book, j.Detach, func() { j.Join(orderbook.Event{Update: update}) }},
	} {
		old := c.book()
		c.detach()
		c.update()
		if old.LastID() != 5 || old.BidCount() != 1 || c.book().LastID() != 6 || c.book().BidCount() != 2 {
			t.Errorf("%s: the old book is at %d with %d bids, the new one at %d with %d", name, old.LastID(), old.BidCount(), c.book().LastID(), c.book().BidCount())
		}
	}
}
