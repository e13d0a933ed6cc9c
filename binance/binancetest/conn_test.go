package binancetest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
)

func TestCommands(t *testing.T) {
	cfg := manual(t)
	cfg.MessageLimit = -1
	s := newServer(t, cfg)
	c := dial(t, s, "/ws")
	const variants = "expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
	for _, step := range [][2]string{
		{`{"method":"LIST_SUBSCRIPTIONS","id":3}`, `{"result":[],"id":3}`},
		{`{"method":"SUBSCRIBE","params":["btcusdt@depth","BTCUSDT@trade","foo"],"id":"abc9"}`, `{"result":null,"id":"abc9"}`},
		{`{"method":"SUBSCRIBE","params":["btcusdt@depth"],"id":-9223372036854775808}`, `{"result":null,"id":-9223372036854775808}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":null}`, `{"result":["btcusdt@depth","BTCUSDT@trade","foo"],"id":null}`},
		{`{"method":"UNSUBSCRIBE","params":["foo","never"],"id":1}`, `{"result":null,"id":1}`},
		{`{"method":"LIST_SUBSCRIPTIONS"}`, `{"result":["btcusdt@depth","BTCUSDT@trade"],"id":null}`},
		{`{"method":"GET_PROPERTY","params":["combined"],"id":2}`, `{"result":false,"id":2}`},
		{`{"method":"SET_PROPERTY","params":["combined",true],"id":5}`, `{"result":null,"id":5}`},
		{`{"method":"GET_PROPERTY","params":["combined"],"id":2}`, `{"result":true,"id":2}`},
		{`{"method":"SET_PROPERTY","params":["combined",1],"id":5}`, `{"error":{"code":1,"msg":"Invalid value type: expected Boolean"},"id":5}`},
		{`{"method":"SET_PROPERTY","params":["combined"],"id":5}`, `{"error":{"code":1,"msg":"Invalid value type: expected Boolean"},"id":5}`},
		{`{"method":"SET_PROPERTY","params":["other",true],"id":5}`, `{"error":{"code":0,"msg":"Unknown property"},"id":5}`},
		{`{"method":"SET_PROPERTY","params":[1,true],"id":5}`, `{"error":{"code":2,"msg":"Invalid request: property name must be a string"},"id":5}`},
		{`{"method":"GET_PROPERTY","params":["combined",true],"id":5}`, `{"error":{"code":2,"msg":"Invalid request: too many parameters"},"id":5}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":1.5}`, `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"},"id":null}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":"a b"}`, `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"},"id":null}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":"` + strings.Repeat("a", 37) + `"}`, `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"},"id":null}`},
		{`{"method":"X","params":[],"id":7}`, `{"error":{"code":2,"msg":"Invalid request: unknown variant ` + "`X`, " + variants + ` at line 1 column 13"},"id":7}`},
		{`{"params":[],"id":7}`, `{"error":{"code":2,"msg":"Invalid request: missing field ` + "`method`" + ` at line 1 column 20"},"id":null}`},
		{`{"method":"SUBSCRIBE","id":7}`, `{"error":{"code":2,"msg":"Invalid request: missing field ` + "`params`" + ` at line 1 column 29"},"id":7}`},
		{`hello`, `{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"},"id":null}`},
	} {
		equal(t, step[0], c.ask(step[0]), step[1])
	}
	equal(t, "messages", s.Stats().Messages, 21)
}

// TestUpperCaseStreamIsSilent is F25: it is acknowledged, listed and silent.
func TestUpperCaseStreamIsSilent(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/BTCUSDT@depth@100ms")
	apply(t, s, "BTCUSDT", nil, nil)
	s.Tick()
	equal(t, "first frame", c.ask(`{"method":"LIST_SUBSCRIPTIONS","id":1}`), `{"result":["BTCUSDT@depth@100ms"],"id":1}`)
}

func TestUnsubscribe(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth@100ms/btcusdt@depth@100ms")
	apply(t, s, "BTCUSDT", nil, nil)
	s.Tick()
	equal(t, "one copy", c.next().First, 101)
	equal(t, "ack", c.ask(`{"method":"UNSUBSCRIBE","params":["btcusdt@depth@100ms"],"id":1}`), `{"result":null,"id":1}`)
	apply(t, s, "BTCUSDT", nil, nil)
	s.Tick()
	equal(t, "ack", c.ask(`{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":2}`), `{"result":null,"id":2}`)
	apply(t, s, "BTCUSDT", nil, nil)
	s.Tick()
	equal(t, "after the pause", c.next().First, 103)
}

// TestFuturesCloseOnBadJSON is F23 with a null id: spot answers, futures answer and close.
func TestFuturesCloseOnBadJSON(t *testing.T) {
	s := newServer(t, binancetest.Config{Market: marketprism.COINM, Symbols: binancetest.Symbols("BTCUSD_PERP")})
	c := dial(t, s, "/ws")
	equal(t, "error", c.ask(`{`), `{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"},"id":null}`)
	code, _ := c.closed()
	equal(t, "code", code, 1008)
}

func TestMessageLimit(t *testing.T) {
	list := `{"method":"LIST_SUBSCRIPTIONS","id":1}`
	for market, limit := range map[marketprism.Market]int{marketprism.Spot: 5, marketprism.USDM: 10} {
		t.Run(string(market), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := inMemory("BTCUSDT")
				cfg.Market = market
				s := newServer(t, cfg)
				c := dial(t, s, "/ws")
				// The window slides: one message each 1/limit of a second is not too much, at any phase.
				for range 3 * limit {
					c.ask(list)
					time.Sleep(time.Second / time.Duration(limit))
				}
				time.Sleep(time.Second)
				for range limit - 2 {
					c.ask(list)
				}
				if err := c.ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(900 * time.Millisecond)
				if err := c.ws.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				equal(t, "violations so far", s.Stats().Violations(), 0)
				c.send(list)
				code, reason := c.closed()
				equal(t, "close", fmt.Sprint(code, " ", reason), "1008 Too many requests")
				equal(t, "violations", s.Stats().MessageViolations, 1)
			})
		})
	}
}

func TestOversizedMessageStallsUntilThePing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws")
		longest := `{"method":"LIST_SUBSCRIPTIONS","id":0}`
		longest += strings.Repeat(" ", 4088-len(longest))
		equal(t, "the longest message", c.ask(longest), `{"result":[],"id":0}`)
		start := time.Now()
		c.send(`{"method":"SUBSCRIBE","params":["` + strings.Repeat("x", 4088) + `"],"id":1}`)
		c.send(`{"method":"LIST_SUBSCRIPTIONS","id":2}`)
		go func() {
			time.Sleep(21 * time.Second)
			c.send(`{"method":"LIST_SUBSCRIPTIONS","id":3}`)
		}()
		equal(t, "first answer", c.text(), `{"result":[],"id":3}`)
		equal(t, "waited", time.Since(start), 21*time.Second)
		equal(t, "stalled", s.Stats().StalledMessages, 1)
	})
}

func TestStreamLimit(t *testing.T) {
	for _, tc := range []struct {
		market     marketprism.Market
		set, limit int
	}{{marketprism.Spot, 0, 1024}, {marketprism.COINM, 0, 200}, {marketprism.COINM, 1024, 1024}} {
		s := newServer(t, binancetest.Config{Market: tc.market, StreamLimit: tc.set, Symbols: binancetest.Symbols("BTCUSDT")})
		names := make([]string, tc.limit)
		for i := range names {
			names[i] = fmt.Sprintf("s%d@trade", i)
		}
		c := dial(t, s, "/ws/"+strings.Join(names, "/"))
		equal(t, "at the limit", c.ask(`{"method":"SUBSCRIBE","params":["s0@trade"],"id":1}`), `{"result":null,"id":1}`)
		c.send(`{"method":"SUBSCRIBE","params":["more"],"id":1}`)
		code, _ := c.closed()
		equal(t, "beyond", code, 1008)
		equal(t, "violations", s.Stats().StreamViolations, 1)
	}
}

func TestConnectLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := inMemory("BTCUSDT")
		cfg.ConnectLimit = 3
		s := newServer(t, cfg)
		for range 3 {
			_ = dial(t, s, "/ws").ws.Close()
			time.Sleep(time.Minute)
		}
		_, resp, err := tryDial(s, "/ws")
		if err == nil || resp == nil || resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("fourth connection in 5 minutes: %v, %v", resp, err)
		}
		time.Sleep(2 * time.Minute)
		dial(t, s, "/ws")
		equal(t, "violations", s.Stats().ConnectViolations, 1)
		equal(t, "connections", s.Stats().Connections, 4)
		equal(t, "open", s.Stats().Open, 1)
	})
}

// TestPings is F17: the server pings every 20 seconds, and closes a client a minute after the first ping
// without a pong.
func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws")
		start := time.Now()
		var pings []time.Duration
		answer := true
		c.ws.SetPingHandler(func(data string) error {
			pings = append(pings, time.Since(start))
			if !answer {
				data = "not this one"
			}
			answer = len(pings) < 5
			return c.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
		})
		code, reason := c.closed()
		equal(t, "close", fmt.Sprint(code, " ", reason), "1008 Pong timeout")
		equal(t, "closed after", time.Since(start), (6*20+60)*time.Second)
		for i, at := range pings {
			equal(t, "ping", at, time.Duration(i+1)*20*time.Second)
		}
		equal(t, "timeouts", s.Stats().PongTimeouts, 1)
	})
}

// TestConnectionLivesADay is F21.
func TestConnectionLivesADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws")
		start := time.Now()
		code, _ := c.closed() // answers pings meanwhile
		equal(t, "code", code, websocket.CloseGoingAway)
		equal(t, "lived", time.Since(start), 24*time.Hour)
		equal(t, "violations", s.Stats().Violations(), 0)
	})
}

func TestClientCloseIsEchoed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws")
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		if err := c.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		code, _ := c.closed()
		equal(t, "code", code, websocket.CloseNormalClosure)
		synctest.Wait()
		equal(t, "open", s.Stats().Open, 0)
	})
}

// TestSlowConsumerIsCut is F36: a client that does not read loses its connection when its queue is full.
func TestSlowConsumerIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := inMemory("BTCUSDT")
		cfg.SendBuffer = 1 << 20
		s := newServer(t, cfg)
		slow, quick := dial(t, s, "/ws"), dial(t, s, "/ws")
		go func() {
			for {
				if _, _, err := quick.ws.ReadMessage(); err != nil {
					return
				}
			}
		}()
		frame := `"` + strings.Repeat("x", 10_000) + `"`
		for range 200 { // 2 MB: more than a connection and its buffer hold
			s.SendRaw(frame)
			synctest.Wait()
		}
		equal(t, "cut", s.Stats().SlowConsumers, 1)
		equal(t, "open", s.Stats().Open, 1)
		code, _ := slow.closed()
		equal(t, "code", code, websocket.CloseAbnormalClosure)
	})
}
