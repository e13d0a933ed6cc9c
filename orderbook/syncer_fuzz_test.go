package orderbook_test

import (
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A byteDice takes its throws from bytes, and throws 0 when they are used up.
type byteDice struct{ data []byte }

func (d *byteDice) roll(n int) int {
	value := 0
	for limit := 1; limit < n && len(d.data) > 0; limit <<= 8 {
		value = value<<8 | int(d.data[0])
		d.data = d.data[1:]
	}
	return value % n
}

// FuzzSyncer makes a Syncer's calls in any order, with ids and answers that no venue would send, and
// holds every Output against the contract. Time moves to a deadline or by a step.
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

// arbitrary makes calls as the bytes say. Ids stay near each other, so that they meet.
type arbitrary struct {
	*contract
	*byteDice
	now time.Time
	id  int64 // about where the ids are
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

// answered is mostly the request that is out.
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
