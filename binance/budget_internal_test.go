package binance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
)

// A till is a Budget under test in virtual time, which begins with a minute. It notes which requests
// were granted.
type till struct {
	*Budget
	t     *testing.T
	by    *spender
	start time.Time

	mu        sync.Mutex // guards the rest
	granted   []string   // "name@seconds"
	throttled []ThrottleInfo
}

func newTill(t *testing.T, market marketprism.Market, cfg BudgetConfig) *till {
	t.Helper()
	b, err := NewBudget(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m, err := marketOf(market)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.join(m); err != nil {
		t.Fatal(err)
	}
	l := &till{Budget: b, t: t, start: time.Now()}
	l.by = &spender{throttled: func(i ThrottleInfo) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.throttled = append(l.throttled, i)
	}}
	return l
}

func (l *till) ask(name string, p Priority, weight int) *reservation {
	return l.enqueue(l.by, p, rank{}, weight, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.granted = append(l.granted, fmt.Sprintf("%s@%v", name, time.Since(l.start).Seconds()))
	})
}

// spend sends a request that is answered at once.
func (l *till) spend(weight int) {
	l.t.Helper()
	t, err := l.wait(l.t.Context(), l.by, PriorityCall, weight)
	if err != nil {
		l.t.Fatal(err)
	}
	t.close()
}

// learnUsed learns the exchange's count from an answer to a request without weight.
func (l *till) learnUsed(sent time.Time, count int) {
	(&reservation{budget: l.Budget}).learn(sent, count)
}

func (l *till) want(granted ...string) {
	l.t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.granted, granted) {
		l.t.Errorf("granted: %v, want %v", l.granted, granted)
	}
	l.granted = nil
}

func TestBudgetServesByPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{Limit: 100, Concurrent: 8})
		l.spend(95)
		for p := range Priority(priorities) {
			l.ask(fmt.Sprint(PriorityPoll-p), PriorityPoll-p, 10)
		}
		left := l.ask("left", PriorityGap, 10)
		l.ask("gap2", PriorityGap, 10)
		light := l.ask("light", PriorityPoll, 5) // fits into the rest of the minute and delays none of the others
		l.want("light@0")
		light.close()
		if u := l.Usage(); u.Used != 100 || !slices.Equal(u.Queued, []int{3, 1, 1, 1, 1, 1, 1}) || u.Sending != 0 {
			t.Errorf("usage: %+v", u)
		}
		if !left.leave() || left.leave() && l.Usage().Queued[PriorityGap] != 2 {
			t.Error("a reservation that left the queue is still in it")
		}
		time.Sleep(time.Minute)
		l.want("gap@60", "gap2@60", "call@60", "first@60", "trades@60", "deepen@60", "refresh@60", "poll@60")
		if len(l.throttled) != 1 || l.throttled[0].Status != 0 || !l.throttled[0].Until.Equal(l.start.Add(time.Minute)) {
			t.Errorf("throttled: %+v", l.throttled)
		}
	})
}

// Weight is kept for books that are not synced, as much as half of them need and no more than a share, until
// the end of the minute is near.
func TestBudgetKeepsWeightForBooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{Limit: 125, Reserve: 0.2})
		l.keepForBooks(60)
		if u := l.Usage(); u.Kept != 30 || u.Reserved != 25 {
			t.Errorf("usage: %+v", u)
		}
		for _, p := range []Priority{PriorityCall, PriorityTrades, PriorityDeepen, PriorityRefresh, PriorityPoll} {
			defer l.ask(p.String(), p, 20).close()
		}
		l.want("call@0", "trades@0", "deepen@0")
		defer l.ask("gap", PriorityGap, 5).close()
		defer l.ask("first", PriorityFirst, 5).close()
		l.want("gap@0", "first@0")
		time.Sleep(time.Minute - keptUntil)
		l.want("refresh@45")
		if u := l.Usage(); u.Kept != 4 || u.Used != 90 {
			t.Errorf("usage: %+v", u)
		}
		l.ask("urgent", callPriority(Urgent(t.Context())), 10).close()
		l.want("urgent@45")
		l.keepForBooks(1000)
		time.Sleep(keptUntil)
		l.want()
		if u := l.Usage(); u.Kept != 60 {
			t.Errorf("usage: %+v", u)
		}
		l.keepForBooks(-1060)
		if u := l.Usage(); u.Kept != 0 {
			t.Errorf("usage: %+v", u)
		}
	})
}

// Books that the program wants come first, then those that were added earlier.
func TestBudgetServesByRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{Limit: 10})
		l.spend(10)
		for i, r := range []rank{{true, 3}, {true, 1}, {false, 4}, {false, 2}, {true, 2}, {true, 1}} {
			l.enqueue(l.by, PriorityGap, r, 1, func() {
				l.granted = append(l.granted, fmt.Sprint(i))
			})
		}
		time.Sleep(time.Minute)
		l.want("3", "2", "1", "5", "4", "0")
	})
}

func TestBudgetBoundsConcurrentRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{Concurrent: 2})
		one, two := l.ask("1", PriorityFirst, 5), l.ask("2", PriorityFirst, 5)
		three, four := l.ask("3", PriorityFirst, 5), l.ask("4", PriorityGap, 5)
		l.want("1@0", "2@0")
		one.close()
		l.want("4@0")
		two.giveUp() // granted but not sent
		l.want("3@0")
		if u := l.Usage(); u.Used != 15 || u.Sending != 2 {
			t.Errorf("usage: %+v", u)
		}
		three.close()
		time.Sleep(61 * time.Second)
		// The exchange may count an unanswered request in either minute.
		if u := l.Usage(); u.Used != 5 || u.Sending != 1 {
			t.Errorf("usage: %+v", u)
		}
		four.close()
	})
}

func TestBudgetKeepsItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.USDM, BudgetConfig{Reserve: 0.25})
		if u := l.Usage(); u.Limit != 2400 || u.Reserved != 600 {
			t.Errorf("usage: %+v", u)
		}
		l.learnLimit(400)
		l.spend(500) // the first request of a minute passes however heavy it is
		l.ask("next", PriorityCall, 1).giveUp()
		time.Sleep(59 * time.Second)
		sent := time.Now()
		time.Sleep(2 * time.Second)
		l.learnUsed(sent, 299) // the old minute's count
		l.spend(100)
		l.learnUsed(time.Now(), 250) // including other programs
		l.ask("light", PriorityCall, 50).close()
		l.ask("heavy", PriorityCall, 51)
		l.want("light@61")
		time.Sleep(time.Minute)
		l.want("heavy@120")
	})
}

// The minute is that of the exchange's clock, here 10 s ahead, known to half a second.
func TestBudgetUsesTheExchangesMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{Limit: 10})
		sent := time.Now()
		time.Sleep(time.Second)
		l.learnClock(sent, time.Now(), sent.Add(10*time.Second+500*time.Millisecond))
		l.learnClock(sent.Add(-time.Second), time.Now(), sent.Add(11*time.Second)) // less precise
		l.spend(10)
		l.ask("next", PriorityCall, 10).close()
		time.Sleep(time.Minute)
		l.want("next@50.5")
		l.learnClock(time.Now(), time.Now(), time.Now()) // a clock was set
		if at := l.window.next(); !at.Equal(l.start.Add(2 * time.Minute)) {
			t.Errorf("the minute ends at %v", at)
		}
	})
}

func TestBudgetWaitsAfterRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{Limit: -1})
		at := func(seconds int) time.Time { return l.start.UTC().Add(time.Duration(seconds) * time.Second) }
		l.spend(1_000_000)
		time.Sleep(10 * time.Second)
		l.refused(l.by, http.StatusTooManyRequests, 0) // ends with the minute
		l.ask("a", PriorityCall, 1).close()
		l.ask("b", PriorityCall, 0).close()
		l.refused(l.by, http.StatusTeapot, 0)                      // a ban is at least two minutes
		l.refused(l.by, http.StatusTooManyRequests, 3*time.Second) // ends before it
		if u := l.Usage(); !u.BlockedUntil.Equal(at(130)) || u.Limit != 0 {
			t.Errorf("usage: %+v", u)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.waitConnect(ctx, l.by); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connected during a ban: %v", err)
		}
		l.want()
		time.Sleep(time.Minute)
		l.want("a@130", "b@130")
		for i, want := range []ThrottleInfo{{429, at(60), 0}, {418, at(130), 0}, {418, at(130), 0}} {
			if i >= len(l.throttled) || l.throttled[i] != want {
				t.Fatalf("throttled: %+v", l.throttled)
			}
		}
	})
}

func TestBudgetBoundsConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{})
		var at []time.Time
		for range 650 {
			if err := l.waitConnect(t.Context(), l.by); err != nil {
				t.Fatal(err)
			}
			at = append(at, time.Now())
			time.Sleep(100 * time.Millisecond)
		}
		for i := maxConnects; i < len(at); i++ {
			if d := at[i].Sub(at[i-maxConnects]); d <= 5*time.Minute {
				t.Fatalf("301 connects within %v", d)
			}
		}
		if d := at[649].Sub(at[0]); d > 11*time.Minute || l.Usage().Connects > maxConnects {
			t.Errorf("650 connects took %v", d)
		}
	})
}

func TestBudgetHasOneFamily(t *testing.T) {
	b, err := NewBudget(BudgetConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []marketprism.Market{marketprism.USDM, marketprism.COINM} {
		if _, err := NewClient(Config{Market: m, Budget: b}); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewClient(Config{Budget: b}); !errors.Is(err, errOtherFamily) {
		t.Errorf("err = %v", err)
	}
	for _, cfg := range []BudgetConfig{{Reserve: -0.1}, {Reserve: 1}, {Concurrent: -1}, {BookReserve: 1}} {
		if _, err := NewBudget(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	if got := fmt.Sprint(PriorityRefresh, Priority(99)); got != "refresh unknown" {
		t.Error(got)
	}
}

// Learning the exchange's clock begins no new count.
func TestBudgetLearningTheClockKeepsTheCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{})
		time.Sleep(5 * time.Second) // 00:00:05 here, 23:59:45 there
		for range 24 {
			l.spend(250)
		}
		now := time.Now()
		l.learnUsed(now, 6000) // the header of the answer that has the time
		l.learnClock(now, now, now.Add(-20*time.Second))
		if u := l.Usage(); u.Used < 6000 {
			t.Errorf("the exchange counts 6000 for its minute; Used = %d", u.Used)
		}
	})
}

// Giving back a grant does not lower the count below the exchange's own.
func TestBudgetGiveBackKeepsTheExchangesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{})
		a := l.ask("a", PriorityCall, 250)
		b := l.ask("b", PriorityRefresh, 250)
		a.learn(time.Now(), 5750) // it does not include b, which was not sent
		a.close()
		b.giveUp()
		if u := l.Usage(); u.Used < 5750 {
			t.Errorf("the exchange counts 5750; Used = %d", u.Used)
		}
	})
}

// Where others share the IP address, the exchange's count in one answer lacks the requests that are still on
// their way. Here seven of them weigh 250 each.
func TestBudgetCountsWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{})
		first := l.ask("first", PriorityCall, 5)
		var sent []*reservation
		for range 7 {
			sent = append(sent, l.ask("sent", PriorityGap, 250))
		}
		l.want("first@0", "sent@0", "sent@0", "sent@0", "sent@0", "sent@0", "sent@0", "sent@0")
		first.learn(time.Now(), 4005) // 4000 of others
		first.close()
		if u := l.Usage(); u.Used != 4005+7*250 {
			t.Errorf("the exchange will have counted %d; Used = %d", 4005+7*250, u.Used)
		}
		l.ask("fits", PriorityGap, 245)
		l.ask("next", PriorityGap, 250)
		l.want("fits@0") // 6000
		// Each answer has the count in which it is included: nothing is counted twice, and nothing stays counted twice.
		for i, r := range sent {
			r.learn(time.Now(), 4005+250*(i+1))
			r.close()
		}
		if u := l.Usage(); u.Used != 6000 {
			t.Errorf("Used = %d, want 6000", u.Used)
		}
		l.want()
	})
}

// A request that ended without the exchange's count may have been counted all the same.
func TestBudgetCountsRequestsWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{})
		lost, other := l.ask("lost", PriorityCall, 250), l.ask("other", PriorityCall, 5)
		lost.close()
		other.learn(time.Now(), 5) // the lost one is not included, and may be counted yet
		other.close()
		if u := l.Usage(); u.Used < 250 {
			t.Errorf("Used = %d, want at least 250", u.Used)
		}
	})
}

// Requests that were on their way find one ban. One that comes long after the last begins with the shortest again.
func TestBudgetCountsBans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTill(t, marketprism.Spot, BudgetConfig{})
		ban := func(want, given time.Duration) {
			t.Helper()
			for range 8 {
				l.refused(l.by, http.StatusTeapot, given)
			}
			if d := time.Until(l.Usage().BlockedUntil); d != want {
				t.Errorf("blocked for %v, want %v", d, want)
			}
			time.Sleep(want)
		}
		ban(2*time.Minute, 0)
		ban(4*time.Minute, 0)
		ban(9*time.Second, 9*time.Second)
		ban(16*time.Minute, 0)
		for range 9 {
			l.refused(l.by, http.StatusTeapot, 0)
			time.Sleep(time.Until(l.Usage().BlockedUntil))
		}
		ban(72*time.Hour, 0)
		time.Sleep(73 * time.Hour)
		ban(2*time.Minute, 0)
	})
}
