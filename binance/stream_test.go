package binance_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
)

// onExchange runs test in a bubble with a fake exchange on which the test makes the events.
func onExchange(t *testing.T, cfg binancetest.Config, test func(t *testing.T, srv *binancetest.Server, c *binance.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Network, cfg.Tick = binancetest.InMemory(), -1
		srv, err := binancetest.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		test(t, srv, dial(t, srv, binance.Config{Market: cfg.Market}))
	})
}

func TestStreamByURL(t *testing.T) {
	onExchange(t, binancetest.Config{Symbols: binancetest.Symbols("AUSDT", "币安USDT")}, func(t *testing.T, srv *binancetest.Server, c *binance.Client) {
		s, err := c.Dial(t.Context(), binance.StreamName("AUSDT", "@depth@100ms"), binance.StreamName("币安USDT", "@depth@100ms"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var m binance.Message
		for _, symbol := range srv.Listed() {
			if _, err := srv.Apply(symbol, nil, nil); err != nil {
				t.Fatal(err)
			}
			srv.Tick()
			if err := s.Next(&m); err != nil || m.Type != binance.MessageDepth || m.Symbol != symbol {
				t.Errorf("%+v, %v", m, err)
			}
		}
		srv.SendRaw("{")
		var undecoded *binance.DecodeError
		if err := s.Next(&m); !errors.As(err, &undecoded) {
			t.Errorf("err = %v", err)
		}
		srv.SendServerShutdown()
		if err := s.Next(&m); err != nil || m.Type != binance.MessageShutdown {
			t.Errorf("%v, %v", m.Type, err)
		}
	})
}

func TestSubscribeAndUnsubscribe(t *testing.T) {
	onExchange(t, binancetest.Config{Symbols: binancetest.Symbols(names(1000)...)}, func(t *testing.T, srv *binancetest.Server, c *binance.Client) {
		s, err := c.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var streams []string
		for _, n := range srv.Listed() {
			streams = append(streams, binance.StreamName(n, "@depth@100ms"))
		}
		acked := make(chan int64, 100)
		go func() {
			var m binance.Message
			for s.Next(&m) == nil {
				if m.Type == binance.MessageAck {
					acked <- m.RequestID.Number
				}
			}
		}()
		start := time.Now()
		ids, err := s.Subscribe(t.Context(), streams...)
		if err != nil {
			t.Fatal(err)
		}
		// 1,000 names of 23 bytes are seven frames, sent four in a little more than a second.
		if took := time.Since(start); len(ids) != 7 || took < time.Second || took > 2*time.Second {
			t.Errorf("%d requests in %v", len(ids), took)
		}
		for _, id := range ids {
			if got := <-acked; got != id {
				t.Errorf("ack of %d, want %d", got, id)
			}
		}
		if conn := srv.Connections()[0]; len(conn.Streams) != 1000 {
			t.Errorf("%d streams", len(conn.Streams))
		}

		more := make([]string, 25)
		if _, err := s.Subscribe(t.Context(), more...); !errors.Is(err, binance.ErrTooManyStreams) {
			t.Errorf("1,025 streams: %v", err)
		}
		if _, err := s.Subscribe(t.Context(), strings.Repeat("x", 5000)); err == nil {
			t.Error("a name of 5,000 bytes was accepted")
		}

		// Streams that the connection does not have make no room.
		if ids, err = s.Unsubscribe(t.Context(), "x", "y"); err != nil || len(ids) != 1 || <-acked != ids[0] {
			t.Errorf("ids %v, %v", ids, err)
		}
		if _, err := s.Subscribe(t.Context(), more...); !errors.Is(err, binance.ErrTooManyStreams) {
			t.Errorf("1,025 streams: %v", err)
		}

		ids, err = s.Unsubscribe(t.Context(), streams[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		for range ids {
			<-acked
		}
		if conn := srv.Connections()[0]; !slices.Equal(conn.Streams, streams[:1]) {
			t.Errorf("streams left: %v", conn.Streams)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Subscribe(ctx, streams[1]); !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
		if v := srv.Stats().Violations(); v != 0 {
			t.Errorf("%d limits broken", v)
		}
	})
}

func TestStreamEnds(t *testing.T) {
	one := binancetest.Config{Symbols: binancetest.Symbols("AUSDT")}
	t.Run("closed", func(t *testing.T) {
		onExchange(t, one, func(t *testing.T, srv *binancetest.Server, c *binance.Client) {
			s, err := c.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, func() { s.Close() })
			var m binance.Message
			if err := s.Next(&m); err != binance.ErrClosed {
				t.Errorf("err = %v", err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("closing again: %v", err)
			}
		})
	})
}

// A half-open connection is noticed within a minute: by the missing pings of spot, which are frequent, or
// by missing answers to the Stream's own pings, if the exchange answers them.
func TestHalfOpenConnectionIsNoticed(t *testing.T) {
	for _, c := range []struct {
		market         marketprism.Market
		mute           bool // the exchange does not answer pings
		atLeast, after time.Duration
	}{
		{marketprism.Spot, false, 40 * time.Second, time.Minute},
		{marketprism.USDM, false, 40 * time.Second, time.Minute},
		{marketprism.COINM, false, 40 * time.Second, time.Minute},
		{marketprism.USDM, true, 7 * time.Minute, 10 * time.Minute},
	} {
		t.Run(fmt.Sprintf("%s, mute %t", c.market, c.mute), func(t *testing.T) {
			cfg := binancetest.Config{Market: c.market, Symbols: binancetest.Symbols("AUSDT")}
			onExchange(t, cfg, func(t *testing.T, srv *binancetest.Server, client *binance.Client) {
				srv.IgnorePings(c.mute)
				s, err := client.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				time.AfterFunc(time.Hour, srv.Silence) // until then pings alone keep it
				start := time.Now()
				var m binance.Message
				if err := s.Next(&m); !errors.Is(err, binance.ErrSilent) {
					t.Errorf("err = %v", err)
				}
				if d := time.Since(start) - time.Hour; d < c.atLeast || d > c.after {
					t.Errorf("given up after %v", d)
				}
				if st := srv.Stats(); st.Violations() != 0 {
					t.Errorf("limits were broken: %+v", st)
				}
			})
		})
	}
}

// A busy connection sends only the first ping.
func TestBusyStreamSendsNoPings(t *testing.T) {
	cfg := binancetest.Config{Market: marketprism.USDM, Symbols: binancetest.Symbols("AUSDT")}
	onExchange(t, cfg, func(t *testing.T, srv *binancetest.Server, client *binance.Client) {
		var walking sync.WaitGroup
		defer walking.Wait()
		defer srv.Close()
		walking.Go(func() {
			for srv.Walk() == nil { // until the server is closed
				srv.Tick()
				time.Sleep(time.Second)
			}
		})
		s, err := client.Dial(t.Context(), "ausdt@depth@100ms")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var m binance.Message
		for begun := time.Now(); time.Since(begun) < 2*time.Minute; {
			if err := s.Next(&m); err != nil {
				t.Fatal(err)
			}
		}
		if n := srv.Stats().Messages; n != 1 {
			t.Errorf("%d messages were sent", n)
		}
	})
}

func TestDialFails(t *testing.T) {
	onExchange(t, binancetest.Config{Symbols: binancetest.Symbols("AUSDT"), ConnectLimit: 1}, func(t *testing.T, srv *binancetest.Server, c *binance.Client) {
		long := slices.Repeat([]string{strings.Repeat("x", 20)}, 400)
		if _, err := c.Dial(t.Context(), long...); !errors.Is(err, binance.ErrTooManyStreams) {
			t.Errorf("a URL of 8,400 bytes: %v", err)
		}
		if _, err := c.Dial(t.Context(), make([]string, 1025)...); !errors.Is(err, binance.ErrTooManyStreams) {
			t.Errorf("1,025 streams: %v", err)
		}
		s, err := c.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var refused *binance.APIError
		if _, err := c.Dial(t.Context()); !errors.As(err, &refused) || refused.Status != 429 {
			t.Errorf("the 2nd of 1 connection: %v", err)
		}
		srv.Close()
		if _, err := c.Dial(t.Context()); !errors.Is(err, binancetest.ErrClosed) {
			t.Errorf("a closed exchange: %v", err)
		}
	})
}

// The end of the context ends a handshake that the peer does not answer.
func TestDialEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		go func() {
			for buf := make([]byte, 1024); ; {
				if _, err := there.Read(buf); err != nil {
					return
				}
			}
		}()
		c, err := binance.NewClient(binance.Config{
			Endpoints:   binance.Endpoints{Stream: "ws://nowhere"},
			DialContext: func(context.Context, string, string) (net.Conn, error) { return here, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if _, err := c.Dial(ctx); err != context.Canceled {
			t.Errorf("err = %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("after %v", d)
		}
	})
}

func TestFuturesRoutes(t *testing.T) {
	onExchange(t, binancetest.Config{Market: marketprism.USDM, Symbols: binancetest.Symbols("AUSDT")}, func(t *testing.T, srv *binancetest.Server, c *binance.Client) {
		for i, stream := range []string{"ausdt@depth@100ms", "ausdt@bookTicker", "ausdt@trade", "ausdt@rpiDepth@500ms", "!bookTicker", "ausdt@aggTrade", "ausdt@markPrice", "tradingSession"} {
			s, err := c.Dial(t.Context(), stream)
			if err != nil {
				t.Fatal(err)
			}
			want := "/public/stream"
			if i > 4 {
				want = "/market/stream"
			}
			if got := srv.Connections()[0].Path; got != want {
				t.Errorf("%s is served at %s, want %s", stream, got, want)
			}
			s.Close()
			synctest.Wait()
		}
	})
}

// Pings that were waiting to be read are answered by one pong, beside requests, without breaking the limit on
// messages.
func TestPingsThatWaitedAreAnsweredTogether(t *testing.T) {
	onExchange(t, binancetest.Config{Symbols: binancetest.Symbols(names(8)...)}, func(t *testing.T, srv *binancetest.Server, c *binance.Client) {
		s, err := c.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		time.Sleep(59 * time.Second)
		go func() {
			for _, n := range srv.Listed()[:6] {
				if _, err := s.Subscribe(t.Context(), binance.StreamName(n, "@depth@100ms")); err != nil {
					t.Error(err)
				}
			}
		}()
		time.Sleep(time.Second / 2)
		time.AfterFunc(2*time.Minute, func() { s.Close() })
		var m binance.Message
		for err = s.Next(&m); err == nil; {
			err = s.Next(&m)
		}
		if st := srv.Stats(); !errors.Is(err, binance.ErrClosed) || st.Violations() != 0 {
			t.Errorf("%v, %+v", err, st)
		}
	})
}
