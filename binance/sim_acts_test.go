package binance_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// An act is something that the program does, or that the exchange does and RunChaos does not.
type act struct {
	name  string
	share int
	do    func(s *sim, ctx context.Context, symbol string) (what string)
}

func acts() []act {
	return []act{
		{"slow handler", 3, func(s *sim, ctx context.Context, _ string) string {
			s.slowness.Store(s.slow)
			time.AfterFunc(time.Duration(1+s.roll.IntN(3))*time.Second, func() { s.slowness.Store(0) })
			return "some records take up to 2 s"
		}},
		{"rotate", 2, func(s *sim, _ context.Context, _ string) string { s.syncer.Rotate(); return "Rotate()" }},
		{"refresh", 3, func(s *sim, _ context.Context, y string) string { return fmt.Sprint("Refresh: ", s.syncer.Refresh(y)) }},
		{"remove", 2, (*sim).remove},
		{"add", 3, (*sim).addAgain},
		{"list", 2, (*sim).list},
		{"delist", 1, (*sim).delist},
		{"malformed", 3, (*sim).malformed},
		{"shutdown", 1, func(s *sim, _ context.Context, _ string) string {
			s.srv.SendServerShutdown()
			s.count("F20")
			return "SendServerShutdown()"
		}},
		{"late snapshots", 2, func(s *sim, _ context.Context, _ string) string {
			n, delay := 1+s.roll.IntN(3), time.Duration(s.roll.Int64N(int64(4*time.Second)))
			s.srv.DelaySnapshots(n, delay)
			s.count("F5")
			return fmt.Sprintf("DelaySnapshots(%d, %v)", n, delay)
		}},
		{"trade ids", 1, func(s *sim, _ context.Context, y string) string {
			s.count("F39")
			return fmt.Sprint("SkipTradeIDs, BreakAggregate: ", s.srv.SkipTradeIDs(y, 1+s.roll.IntN(5)), s.srv.BreakAggregate(y))
		}},
		{"no pongs", 1, func(s *sim, _ context.Context, _ string) string {
			s.srv.IgnorePings(true)
			time.AfterFunc(5*time.Second, func() { s.srv.IgnorePings(false) })
			s.count("F17")
			return "IgnorePings for 5 s"
		}},
		{"huge event", 1, (*sim).huge},
		{"ids go back", 1, (*sim).goBack},
	}
}

// act does one thing.
func (s *sim) act(ctx context.Context) {
	listed := s.srv.Listed()
	if len(listed) == 0 {
		return
	}
	var all []act
	for _, a := range acts() {
		for range a.share {
			all = append(all, a)
		}
	}
	a := all[s.roll.IntN(len(all))]
	symbol := listed[s.roll.IntN(len(listed))]
	s.note(a.name + " " + symbol)
	if what := a.do(s, ctx, symbol); what != "" {
		s.note(what)
		s.did("act: " + a.name)
	}
}

func (s *sim) remove(_ context.Context, symbol string) string {
	if len(s.syncer.Symbols()) < 2 {
		return ""
	}
	s.gone(symbol)
	return fmt.Sprint("Remove: ", s.syncer.Remove(symbol))
}

// gone says that the book of a symbol may be another one from now on.
func (s *sim) gone(symbol string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at(symbol).gone = true
}

// addAgain follows a listed symbol that is not followed.
func (s *sim) addAgain(ctx context.Context, _ string) string {
	followed := s.syncer.Symbols()
	for _, symbol := range s.srv.Listed() {
		if !slices.Contains(followed, symbol) {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			return fmt.Sprintf("Add(%s): %v", symbol, s.syncer.Add(ctx, symbol))
		}
	}
	return ""
}

// list lists a symbol, which is sometimes a newborn.
func (s *sim) list(ctx context.Context, _ string) string {
	listed := s.srv.Listed()
	if len(listed) > 5 {
		return ""
	}
	s.listings++
	symbol := smallSymbol(s.roll, fmt.Sprintf("NEW%dUSDT", s.listings))
	if s.roll.IntN(2) == 0 {
		symbol.LastID = -1
		s.count("F15")
	}
	if err := s.srv.List(symbol); err != nil {
		s.fail("List: %v", err)
	}
	return fmt.Sprintf("List(%s, %d), %s", symbol.Name, symbol.LastID, s.addAgain(ctx, ""))
}

func (s *sim) delist(_ context.Context, symbol string) string {
	if len(s.srv.Listed()) < 2 {
		return ""
	}
	s.gone(symbol)
	s.mu.Lock()
	s.unlisted = true
	s.mu.Unlock()
	s.count("F30")
	return fmt.Sprint("Delist: ", s.srv.Delist(symbol))
}

// malformed sends something that makes no sense, in the name of a symbol's depth stream or of none.
func (s *sim) malformed(_ context.Context, symbol string) string {
	stream := binance.StreamName(symbol, "@depth@100ms")
	text := pick(s.roll,
		`{"stream":"`+stream+`","data":{"e":"depthUpdate","E":1,"s":"`+symbol+`","U":1,"u":`,
		`{"stream":"`+stream+`","data":{"e":"depthUpdate","E":1,"s":"`+symbol+`","U":1,"u":2,"b":[["x","1"]],"a":[]}}`,
		`{"stream":"`+stream+`","data":null}`, `{"stream":5}`, `null`, ``, `{}`, `[]`, "\x00\xff", `{"id":18446744073709551616,"result":null}`,
		`{"stream":"!somethingNew","data":{"e":"somethingNew","E":1}}`,
	)
	conns := s.srv.Connections()
	if len(conns) == 0 {
		return ""
	}
	s.srv.SendRawOne(conns[s.roll.IntN(len(conns))].ID, text)
	s.count("F24")
	return fmt.Sprintf("SendRawOne(%q)", text)
}

// huge makes an event of some ten thousand levels, in few runs since it takes its time.
func (s *sim) huge(_ context.Context, symbol string) string {
	if s.roll.IntN(8) != 0 {
		return ""
	}
	bids := make([]orderbook.Level, 10_000)
	for i := range bids {
		bids[i] = orderbook.Level{Price: orderbook.Fixed(i+1) * orderbook.One / 1000, Quantity: orderbook.One}
	}
	if _, err := s.srv.Apply(symbol, bids, nil); err != nil {
		return ""
	}
	time.Sleep(time.Second)
	_, err := s.srv.EmptyBook(symbol)
	s.count("F27")
	return fmt.Sprint("Apply of 10,000 levels, EmptyBook: ", err)
}

// goBack makes the exchange's ids begin again, once at most: after a second time an id could name three
// books.
func (s *sim) goBack(_ context.Context, symbol string) string {
	s.mu.Lock()
	again := s.restarted
	s.restarted = s.restarts
	s.mu.Unlock()
	switch {
	case again || !s.restarts:
		return ""
	case s.roll.IntN(2) == 0:
		s.count("F30")
		return fmt.Sprint("RestartIDs: ", s.srv.RestartIDs(symbol, 1000))
	}
	s.count("F31")
	return fmt.Sprint("Wipe: ", s.srv.Wipe())
}
