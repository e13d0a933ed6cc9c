package binance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// arbitration runs a script on an arbiter and records the events that are used:
//
//	join 1, leave 1, skip 1   a connection begins, ends, has lost something
//	1:5-9                     connection 1 brings ids 5 to 9
//	book 9                    the book is at id 9, and so is the sequence
//	+3s                       time passes
//	give-up                   pending events may wait no longer
type arbitration struct {
	arbiter
	now time.Time
	out []string
}

func (m *arbitration) run(t *testing.T, script string) string {
	t.Helper()
	for _, step := range strings.Split(script, ", ") {
		var i int
		var first, last int64
		switch {
		case parseWords(step, "join %d", &i):
			m.addLeg(i, m.now)
		case parseWords(step, "leave %d", &i):
			m.removeLeg(i)
			m.release(false)
		case parseWords(step, "skip %d", &i):
			m.legLost(i, m.now)
		case parseWords(step, "book %d", &last):
			m.advance(last)
		case parseWords(step, "%d:%d-%d", &i, &first, &last):
			m.bring(i, first, last)
		case step == "give-up":
			m.release(true)
		case step[0] == '+':
			d, err := time.ParseDuration(step[1:])
			if err != nil {
				t.Fatal(err)
			}
			m.now = m.now.Add(d)
		default:
			t.Fatalf("%q", step)
		}
	}
	return strings.Join(m.out, " ")
}

func parseWords(step, format string, into ...any) bool {
	n, err := fmt.Sscanf(step, format, into...)
	return err == nil && n == len(into)
}

func (m *arbitration) bring(i int, first, last int64) {
	e := idRange{first - 1, last}
	switch m.decide(i, e, m.now) {
	case decisionUse:
		m.pass(e)
		m.release(false)
	case decisionPend:
		room := m.pend(pendingEvent{idRange: e, receivedAt: m.now})
		m.release(!room)
	}
}

func (m *arbitration) pass(e idRange) {
	missing := ""
	if m.started && e.after > m.lastID {
		missing = "!"
	}
	m.advance(e.last)
	m.out = append(m.out, fmt.Sprintf("%s%d-%d", missing, e.after+1, e.last))
}

func (m *arbitration) release(force bool) {
	for {
		h, ok := m.next(force)
		if !ok {
			return
		}
		m.pass(h.idRange)
	}
}

func TestArbiter(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"one connection": {
			"join 0, 0:5-9, 0:10-12, 0:14-15, 0:14-15", "5-9 10-12 !14-15 14-15"},
		"two in step": {
			"join 0, join 1, 0:5-9, 1:5-9, 1:10-12, 0:10-12, 0:13-13", "5-9 10-12 13-13"},
		"the new one is ahead of the old one": {
			"join 0, 0:5-9, join 1, 1:13-14, 1:15-16, 0:10-12, 0:13-14, 0:15-16, 0:17-17", "5-9 10-12 13-14 15-16 17-17"},
		"the new one is behind": {
			"join 0, 0:5-9, join 1, 1:4-6, 1:7-9, 1:10-10", "5-9 10-10"},
		"other borders": {
			"join 0, 0:5-9, join 1, 1:8-14, 0:10-12, 0:13-15, 1:15-20", "5-9 8-14 13-15 15-20"},
		"both have passed the missing range": {
			"join 0, join 1, 0:5-9, 1:5-9, 0:12-13, 1:12-13, 1:14-14", "5-9 !12-13 14-14"},
		"both have passed it, one later": {
			"join 0, join 1, 0:5-9, 1:5-9, 0:12-13, 0:14-15, 1:14-15", "5-9 !12-13 14-15"},
		"the one that might fill it ends": {
			"join 0, join 1, 0:5-9, 1:12-13, 1:14-14, leave 0", "5-9 !12-13 14-14"},
		"the one that might fill it says nothing": {
			"join 0, join 1, 0:5-9, 1:12-13, +3s, give-up, 0:10-11, 1:14-14", "5-9 !12-13 14-14"},
		"three": {
			"join 0, join 1, join 2, 0:5-9, 2:20-21, 1:15-19, 0:10-14, 0:15-19, 0:20-21", "5-9 10-14 15-19 20-21"},
		"ids go back": {
			"join 0, join 1, 0:5-9, 1:5-9, 1:1-2, 0:1-2, 0:3-3", "5-9 1-2 1-2 3-3"},
		"ids go back and stay below the book's": {
			"join 0, join 1, 0:5-9, 1:5-9, 1:1-2, book 9, 1:3-4, book 9, 1:5-5, book 9, 0:1-2, book 9, 0:3-4", "5-9 1-2 3-4 5-5 1-2 3-4"},
		"ids went back and have come up again": {
			"join 0, join 1, 0:5-9, 1:5-9, 1:1-2, book 9, 1:9-10, 0:10-10, 0:11-11, 1:11-11", "5-9 1-2 9-10 11-11"},
	} {
		m := &arbitration{now: time.Unix(1000, 0)}
		if got := m.run(t, c.script); got != c.want {
			t.Errorf("%s: %s\n got %s\nwant %s", name, c.script, got, c.want)
		}
	}
}

func TestArbiterKnowsWhoCarriesAStream(t *testing.T) {
	for script, want := range map[string]string{
		"join 0":                                           "[0] continued false",
		"join 0, +10s":                                     "[0] continued true",
		"join 0, 0:5-9":                                    "[0] continued true",
		"join 0, 0:5-9, join 1":                            "[0 1] continued true",
		"join 0, 0:5-9, join 1, leave 0":                   "[1] continued false",
		"join 0, 0:5-9, join 1, +9s, leave 0":              "[1] continued false",
		"join 0, 0:5-9, join 1, +10s, leave 0":             "[1] continued true",
		"join 0, 0:5-9, join 1, 1:5-9, leave 0":            "[1] continued true",
		"join 0, 0:5-9, join 1, 1:8-9, skip 0":             "[0 1] continued true",
		"join 0, 0:5-9, skip 0":                            "[0] continued false",
		"join 0, 0:5-9, join 1, 1:20-21":                   "[0 1] continued true",
		"join 0, 0:5-9, join 1, 1:20-21, skip 0":           "[0 1] continued false",
		"join 0, 0:5-9, leave 0":                           "[] continued false",
		"join 0, 0:5-9, join 1, 1:10-10, leave 0, 1:11-11": "[1] continued true",
	} {
		m := &arbitration{now: time.Unix(1000, 0)}
		m.run(t, script)
		var legs []int
		for i := range m.legs {
			if m.legs[i].acked {
				legs = append(legs, i)
			}
		}
		if got := fmt.Sprintf("%v continued %v", legs, m.continued(m.now)); got != want || m.carried() != (legs != nil) {
			t.Errorf("%s: %s, want %s", script, got, want)
		}
	}
}

func TestCanReplace(t *testing.T) {
	for script, want := range map[string]bool{
		"join 0, 0:5-9":                                     false, // nothing is subscribed
		"join 0, 0:5-9, join 1":                             false,
		"join 0, +20s":                                      false, // 1 is not subscribed, silent as 0 is
		"join 0, 0:5-9, +3s, join 1, 1:8-9":                 true,
		"join 0, 0:5-9, +3s, join 1, 1:12-13":               false, // ahead
		"join 0, 0:5-9, +3s, join 1, 1:12-13, 0:10-13":      true,
		"join 0, 0:5-9, +3s, join 1, +9s":                   false,
		"join 0, 0:5-9, +3s, join 1, +10s":                  true, // silent on both
		"join 0, join 1, +10s":                              true,
		"join 0, 0:5-9, join 1, +1s, 0:10-10, +9s":          true, // it was on its way when 1 joined
		"join 0, 0:5-9, join 1, +3s, 0:10-10, +9s":          false,
		"join 0, 0:5-9, join 1, +3s, 0:10-10, +9s, 1:11-11": true,
	} {
		m := &arbitration{now: time.Unix(1000, 0)}
		m.run(t, script)
		if got := m.canReplace(0, 1, m.now); got != want {
			t.Errorf("%s: %v", script, got)
		}
	}
}

// Pending events are bounded; reaching the bound releases them.
func TestPendingEventsAreBounded(t *testing.T) {
	m := &arbitration{now: time.Unix(1000, 0)}
	m.run(t, "join 0, join 1, 0:1-1")
	for id := int64(10); len(m.out) == 1; id++ {
		m.bring(1, id, id)
		if len(m.pending) > maxPending {
			t.Fatalf("%d events are pending", len(m.pending))
		}
	}
	if len(m.out) != 1+maxPending || m.out[1] != "!10-10" || len(m.pending) != 0 {
		t.Errorf("%d events came out, %s first; %d are pending", len(m.out), m.out[1], len(m.pending))
	}
}

// With any delays of three connections, each of which carries everything, and whichever of them ends and
// starts again, each id is used once and in order.
func TestArbiterOfConnectionsWithAnyDelay(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := &arbitration{now: time.Unix(1000, 0)}
		const end = 200
		var at [3]int64 // the next id each connection brings
		m.addLeg(0, m.now)
		m.bring(0, 0, 0)
		at[0], at[1], at[2] = 1, -1, -1
		for slices.Max(at[:]) <= end {
			i := rng.IntN(3)
			switch carried := at[i] >= 0; {
			case !carried && rng.IntN(4) == 0:
				// It starts near the sequence, also ahead of it while another one follows.
				at[i] = max(0, slices.Max(at[:])-int64(rng.IntN(20)))
				m.addLeg(i, m.now)
			case carried && rng.IntN(30) == 0 && m.continues(0, m.now) && m.continues(1, m.now) && m.continues(2, m.now):
				at[i] = -1
				m.removeLeg(i)
				m.release(false)
			case carried:
				last := min(at[i]+int64(rng.IntN(5)), end)
				m.bring(i, at[i], last)
				at[i] = last + 1
			}
		}
		next := int64(0)
		for _, text := range m.out {
			var first, last int64
			if !parseWords(text, "%d-%d", &first, &last) || first > next || last < next {
				t.Fatalf("seed %d: %s after %d", seed, text, next-1)
			}
			next = last + 1
		}
		if next != end+1 {
			t.Fatalf("seed %d: the sequence ends at %d", seed, next-1)
		}
	}
}

// Two connections end, the exchange is wiped, and both are back before the first event: neither was heard, and what they
// bring has lower ids than what came before. It is no duplicate, but once.
func TestBothConnectionsBringLowerIDs(t *testing.T) {
	ticker := func(id int64) string {
		return fmt.Sprintf(`{"stream":"btcusdt@bookTicker","data":{"u":%d,"s":"BTCUSDT","b":"5","B":"1","a":"6","A":"1"}}`, id)
	}
	trade := func(id int64) string {
		millis := 1770000000000 + (id+100_000)%101_000 // later for ids after the wipe
		return fmt.Sprintf(`{"stream":"btcusdt@trade","data":{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"5","q":"1","T":%d,"X":"MARKET","m":true,"M":true}}`, millis, id, millis)
	}
	for name, frame := range map[string]func(int64) string{"btcusdt@bookTicker": ticker, "btcusdt@trade": trade} {
		var got []int64
		s := syncedShard(t, func(_ context.Context, rec *marketprism.Record) error {
			if rec.Ticker != nil {
				got = append(got, rec.Ticker.UpdateID)
			} else if rec.Trade != nil {
				got = append(got, rec.Trade.ID)
			}
			return nil
		})
		s.life = t.Context()
		second := *s.conns.conns[0]
		second.index = 1
		s.conns.conns[1] = &second
		sub, now := s.streams.byName[name], time.Now()
		sub.arbiter.addLeg(1, now)
		bring := func(ids ...int64) {
			for _, id := range ids {
				for i := range 2 {
					if err := s.step(t.Context(), now, s.conns.conns[i], []byte(frame(id)), now.UTC()); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		bring(1000, 1001)
		for i := range 2 {
			sub.arbiter.removeLeg(i)
			if err := s.streamLost(t.Context(), now, sub, orderbook.Gap{Reason: orderbook.GapDisconnect}); err != nil {
				t.Fatal(err)
			}
		}
		sub.arbiter.addLeg(0, now)
		sub.arbiter.addLeg(1, now)
		bring(1, 2, 3)
		if !slices.Equal(got, []int64{1000, 1001, 1, 2, 3}) {
			t.Errorf("%s: records of %v", name, got)
		}
	}
}
