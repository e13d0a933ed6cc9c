package binance

import (
	"testing"
	"time"
)

// A shard that gets to a tick late was kept from it; what is silent since then only is not dead.
func TestWatchdogForgivesPauses(t *testing.T) {
	s := syncedShard(t, nil)
	c := s.conns.conns[0]
	var paused []time.Duration
	s.client.hooks.Paused = func(late time.Duration) { paused = append(paused, late) }
	start := time.Now()
	c.stream.opened, c.stream.market, c.heardAt = start, s.client.market, start
	s.watchdog.beat = start.Add(beatEvery)
	for _, sub := range s.streams.ordered {
		sub.arbiter.legs[0].since = start
	}
	look := func(after time.Duration) []finding {
		t.Helper()
		now := start.Add(after)
		s.watchdog.tick(now)
		s.watchdog.at = now
		return s.watchdog.look(now, &s.conns, &s.streams)
	}
	if err := s.tick(t.Context(), t.Context(), start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if st := s.count.pauses.Load(); st != 1 || len(paused) != 1 || paused[0] != time.Hour-beatEvery || s.count.watchdogs.Load() != 0 {
		t.Errorf("%d pauses, hook: %v, %d watchdogs", st, paused, s.count.watchdogs.Load())
	}
	c.slot.rotateAt = time.Time{}
	after := time.Hour
	for range 55 {
		after += time.Second
		if found := look(after); found != nil {
			t.Fatalf("%v after the pause: %+v", after-time.Hour, found)
		}
	}
	c.stream.hold()
	for range 100 {
		after += time.Second
		if found := look(after); found != nil {
			t.Fatalf("while the reader waits: %+v", found)
		}
	}
	c.stream.keep.held.Store(false)
	after += time.Second
	if found := look(after); len(found) != 1 || found[0].reason != WatchNoPing || found[0].silent < time.Minute {
		t.Errorf("a minute without a ping: %+v", found)
	}
}

// A connection is silent only if two looks find it so, with time to read what has come between them.
func TestSilenceIsNotThatOfAStoppedProcess(t *testing.T) {
	s := &Stream{market: spotMarket(), opened: time.Now().Add(-time.Hour), closed: ErrClosed}
	s.keep.watch = time.AfterFunc(time.Hour, func() {})
	look := func(heard time.Duration) (suspect bool) {
		s.keep.heard.Store(int64(time.Hour - heard))
		s.watch()
		return s.keep.suspect.Load()
	}
	if look(time.Second) || look(57*time.Second) {
		t.Error("it was heard within a minute")
	}
	if !look(70*time.Second) || look(time.Second) {
		t.Error("a silence that ends before the second look is none")
	}
	if s.keep.held.Store(true); look(time.Hour) {
		t.Error("the reader waits")
	}
}
