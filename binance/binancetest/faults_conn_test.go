package binancetest_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

const (
	list      = `{"method":"LIST_SUBSCRIPTIONS","id":1}`
	subscribe = `{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":1}`
)

// TestOneConnection is the part of F19, F20 and F24 that leaves the other connections alone.
func TestOneConnection(t *testing.T) {
	s := newServer(t, manual(t))
	a, b := dial(t, s, "/ws/btcusdt@depth@100ms"), dial(t, s, "/ws/btcusdt@depth@100ms")
	id := s.Connections()[1].ID
	if !s.SendRawOne(id, "hello") || !s.SendServerShutdownOne(id) || !s.SilenceOne(id) {
		t.Error("connection not found")
	}
	if s.SendRawOne(9, "") || s.SendServerShutdownOne(9) || s.SilenceOne(9) {
		t.Error("a connection that is not there was found")
	}
	interval(t, s)
	equal(t, "the other", a.next().First, 101)
	equal(t, "raw", b.text(), "hello")
	equal(t, "announcement", decode[event](t, b.text()).Type, "serverShutdown")
	b.send(list)
	equal(t, "the other goes on", a.ask(list), `{"result":["btcusdt@depth@100ms"],"id":1}`)
	must(t, b.ws.SetReadDeadline(time.Now().Add(time.Millisecond)))
	if _, _, err := b.ws.ReadMessage(); err == nil {
		t.Error("the half-open one got something")
	}
}

// TestGoAway is F20: announced, and cut after a while. What is opened meanwhile stays.
func TestGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws")
		start := time.Now()
		s.GoAway(50 * time.Second)
		dial(t, s, "/ws")
		equal(t, "announcement", c.next().Type, "serverShutdown")
		equal(t, "at once", time.Since(start), 0)
		code, _ := c.closed()
		equal(t, "close", fmt.Sprint(code, " ", time.Since(start)), "1001 50s")
		synctest.Wait()
		equal(t, "open", s.Stats().Open, 1)
	})
}

// TestSkipPings is F17: pings that do not come.
func TestSkipPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws")
		start := time.Now()
		var pings []time.Duration
		c.ws.SetPingHandler(func(data string) error {
			if pings = append(pings, time.Since(start)); len(pings) == 2 {
				s.Disconnect(0, "")
			}
			return nil
		})
		s.SkipPings(3)
		c.closed()
		equal(t, "pings", fmt.Sprint(pings), "[1m20s 1m40s]")
	})
}

// TestDelayAcks is F22: data before the acknowledgement of its stream.
func TestDelayAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws")
		s.DelayAcks(1, time.Second)
		start := time.Now()
		c.send(subscribe)
		must(t, s.Subscribed(t.Context(), "btcusdt@depth@100ms"))
		apply(t, s, "BTCUSDT", nil, nil)
		equal(t, "data", c.next().First, 1_000_001)
		equal(t, "acknowledgement", c.text(), `{"result":null,"id":1}`)
		equal(t, "late", time.Since(start), time.Second)
		equal(t, "the next one", c.ask(list), `{"result":["btcusdt@depth@100ms"],"id":1}`)
	})
}

// TestDelayUnsubscribes is F22: data after the end of its stream was acknowledged, unless the stream is
// subscribed again meanwhile; then it never ends, and nothing comes twice.
func TestDelayUnsubscribes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws/btcusdt@depth@100ms")
		unsubscribe := `{"method":"UNSUBSCRIBE","params":["btcusdt@depth@100ms"],"id":2}`
		change := func() {
			apply(t, s, "BTCUSDT", nil, nil)
			time.Sleep(200 * time.Millisecond)
		}
		s.DelayUnsubscribes(2, time.Second)
		equal(t, "acknowledged", c.ask(unsubscribe), `{"result":null,"id":2}`)
		equal(t, "listed", c.ask(list), `{"result":[],"id":1}`)
		change()
		equal(t, "and yet", c.next().Last, 1_000_001)
		time.Sleep(time.Second)
		change()
		equal(t, "then not", c.ask(subscribe), `{"result":null,"id":1}`)

		c.ask(unsubscribe)
		c.ask(subscribe)
		change()
		equal(t, "again", c.next().Last, 1_000_003)
		time.Sleep(2 * time.Second)
		change()
		equal(t, "once each, without an end", c.next().Last, 1_000_004)
		equal(t, "nothing more", c.ask(list), `{"result":["btcusdt@depth@100ms"],"id":1}`)
	})
}

// TestRefusedCommands is F23: a control message that is refused, in both forms of the error.
func TestRefusedCommands(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws")
	s.RejectCommands(2, 2, "Invalid request: no")
	equal(t, "nested", c.ask(subscribe), `{"error":{"code":2,"msg":"Invalid request: no"},"id":1}`)
	s.FlatErrors(true)
	equal(t, "flat", c.ask(subscribe), `{"code":2,"msg":"Invalid request: no","id":1}`)
	equal(t, "without effect", c.ask(list), `{"result":[],"id":1}`)
	equal(t, "id", c.ask(`no JSON`), `{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1","id":null}`)
	s.Calm()
	equal(t, "calm", c.ask(`{}`), `{"error":{"code":2,"msg":"Invalid request: missing field `+"`method`"+` at line 1 column 2"},"id":null}`)
}
