package binance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// A methodCall calls one method from inside a callback.
type methodCall struct {
	name string
	call func(ctx context.Context, c *callbacks) error
}

// methodCalls calls every method that a program can call while a DepthSyncer runs.
func methodCalls() []methodCall {
	const spare = "T0002USDT" // added and removed meanwhile
	stream := func(f func(*binance.Stream) error) func(context.Context, *callbacks) error {
		return func(ctx context.Context, c *callbacks) error {
			s, err := c.h.client.Dial(ctx, "t0002usdt@depth@100ms")
			if err != nil {
				return err
			}
			defer s.Close()                                      //nolint:errcheck // it may be closed already
			defer context.AfterFunc(ctx, func() { s.Close() })() //nolint:errcheck // the same
			return f(s)
		}
	}
	return []methodCall{
		{"DepthSyncer.Stats", func(_ context.Context, c *callbacks) error { c.h.syncer.Stats(); return nil }},
		{"DepthSyncer.Symbols", func(_ context.Context, c *callbacks) error { c.h.syncer.Symbols(); return nil }},
		{"DepthSyncer.Status", func(_ context.Context, c *callbacks) error { c.h.syncer.Status(victim); return nil }},
		{"DepthSyncer.Top", func(_ context.Context, c *callbacks) error { _, err := c.h.syncer.Top(victim); return err }},
		{"DepthSyncer.Best", func(_ context.Context, c *callbacks) error { _, _, err := c.h.syncer.Best(victim); return err }},
		{"DepthSyncer.Watch", func(ctx context.Context, c *callbacks) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			tops, err := c.h.syncer.Watch(ctx, victim)
			if err == nil {
				<-tops // the one of now
			}
			return err
		}},
		{"DepthSyncer.View", func(ctx context.Context, c *callbacks) error {
			return c.h.syncer.View(victim, func(b *orderbook.Book, s binance.Status) {
				if c.enter(ctx, "DepthSyncer.View"); b.LastID() != s.LastID {
					c.h.t.Error("a book changed during its View")
				}
			})
		}},
		{"DepthSyncer.Refresh", func(_ context.Context, c *callbacks) error { return c.h.syncer.Refresh(victim) }},
		{"DepthSyncer.Rotate", func(_ context.Context, c *callbacks) error { c.h.syncer.Rotate(); return nil }},
		{"DepthSyncer.Remove", func(_ context.Context, c *callbacks) error { return c.h.syncer.Remove(spare) }},
		{"DepthSyncer.Add", func(ctx context.Context, c *callbacks) error { return c.h.syncer.Add(ctx, spare) }},
		{"DepthSyncer.Ready", func(ctx context.Context, c *callbacks) error { return c.h.syncer.Ready(ctx) }},
		{"DepthSyncer.Run", func(ctx context.Context, c *callbacks) error { return c.h.syncer.Run(ctx) }},
		{"Client.Market", func(_ context.Context, c *callbacks) error { c.h.client.Market(); return nil }},
		{"Client.Instrument", func(_ context.Context, c *callbacks) error { c.h.client.Instrument(victim); return nil }},
		{"Client.Usage", func(_ context.Context, c *callbacks) error { c.h.client.Usage(); return nil }},
		{"Client.CloseIdleConnections", func(_ context.Context, c *callbacks) error { c.h.client.CloseIdleConnections(); return nil }},
		{"Client.Time", func(ctx context.Context, c *callbacks) error { _, err := c.h.client.Time(ctx); return err }},
		{"Client.Depth", func(ctx context.Context, c *callbacks) error { _, err := c.h.client.Depth(ctx, victim, 5); return err }},
		{"Client.ExchangeInfo", func(ctx context.Context, c *callbacks) error { _, err := c.h.client.ExchangeInfo(ctx); return err }},
		{"Client.Dial", stream(func(*binance.Stream) error { return nil })},
		{"Stream.Read", stream(func(s *binance.Stream) error { _, _, err := s.Read(nil); return err })},
		{"Stream.Next", stream(func(s *binance.Stream) error { return s.Next(new(binance.Message)) })},
		{"Stream.Subscribe", stream(func(s *binance.Stream) error {
			_, err := s.Subscribe(context.Background(), "t0001usdt@trade")
			return err
		})},
		{"Stream.Unsubscribe", stream(func(s *binance.Stream) error {
			_, err := s.Unsubscribe(context.Background(), "t0002usdt@depth@100ms")
			return err
		})},
		{"Stream.Close", stream((*binance.Stream).Close)},
		{"Budget.Usage", func(_ context.Context, c *callbacks) error { c.budget.Usage(); return nil }},
		{"Recorder.Stats", func(_ context.Context, c *callbacks) error { c.recorder.Stats(); return nil }},
		{"Recorder.Run", func(ctx context.Context, c *callbacks) error { return c.recorder.Run(ctx) }},
	}
}

// callbacks calls every method once from each callback.
type callbacks struct {
	h        *harness
	budget   *binance.Budget
	recorder *binance.Recorder

	mu      sync.Mutex
	entered map[string]bool
	running map[string]bool // "method in callback" that has not returned
	results map[string]error
}

// enter calls every method, the first time that a callback runs.
func (c *callbacks) enter(parent context.Context, callback string) {
	c.mu.Lock()
	again := c.entered[callback]
	c.entered[callback] = true
	c.mu.Unlock()
	if again {
		return
	}
	for _, m := range methodCalls() {
		if strings.HasPrefix(callback, "Config.") && m.requests() {
			continue // it is called inside a request
		}
		where := m.name + " in " + callback
		c.mu.Lock()
		c.running[where] = true
		c.mu.Unlock()
		ctx, cancel := context.WithTimeout(parent, 4*time.Minute)
		start := time.Now()
		err := m.call(ctx, c)
		cancel()
		took := time.Since(start)
		c.mu.Lock()
		delete(c.running, where)
		c.results[where] = err
		c.mu.Unlock()
		if took > m.within(callback) {
			c.h.t.Errorf("%s took %v: %v", where, took, err)
		}
	}
}

// requests reports whether a method needs a request or a connection, or waits for books that do.
func (m *methodCall) requests() bool {
	switch m.name {
	case "Client.Market", "Client.Instrument", "Client.Usage", "Client.CloseIdleConnections":
		return false
	case "DepthSyncer.Add", "DepthSyncer.Ready":
		return true
	}
	return strings.HasPrefix(m.name, "Client.") || strings.HasPrefix(m.name, "Stream.")
}

// within returns how long a call may take. Requests wait for the weight of the next minute, streams for their next
// frame, and View for what is called in it. Ready waits where the books do not need the goroutine.
func (m *methodCall) within(callback string) time.Duration {
	switch waits := callback == "Hooks.Throttled" || callback == "RecorderConfig.Lost" || callback == "DepthSyncer.View"; {
	case m.name == "DepthSyncer.Ready" && waits:
		return time.Minute
	case m.name == "DepthSyncer.View", m.requests() && m.name != "DepthSyncer.Ready":
		return 2 * time.Minute
	}
	return 0
}

// stuck lists the calls that have not returned.
func (c *callbacks) stuck() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for where := range c.running {
		all = append(all, where)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Every method works from every callback at once, but for Ready, which returns ErrReentrant where it would wait for
// the goroutine that calls it. The funcs of Config are called inside requests, and make none.
func TestMethodsFromCallbacks(t *testing.T) {
	short.Skip(t)
	c := &callbacks{
		budget:  newBudget(t, binance.BudgetConfig{Concurrent: 1}),
		entered: make(map[string]bool), running: make(map[string]bool), results: make(map[string]error),
	}
	tooLong := time.AfterFunc(time.Minute, func() { panic("not returned: " + c.stuck()) })
	defer tooLong.Stop()
	synctest.Test(t, c.run)
	for _, name := range callbackNames() {
		if !c.entered[name] {
			t.Errorf("%s was not called, or is not in this test", name)
		}
	}
	known := make(map[string]bool)
	for _, m := range methodCalls() {
		known[m.name] = true
	}
	for _, v := range []any{c.h.syncer, c.h.client, c.budget, c.recorder, &binance.Stream{}} {
		for i := range reflect.TypeOf(v).NumMethod() {
			if name := reflect.TypeOf(v).Elem().Name() + "." + reflect.TypeOf(v).Method(i).Name; !known[name] {
				t.Errorf("%s is not in this test", name)
			}
		}
	}
	for where, err := range c.results {
		switch method, callback, _ := strings.Cut(where, " in "); {
		case err == nil:
		case method == "DepthSyncer.Run" && errors.Is(err, binance.ErrRunning):
		case method == "Recorder.Run" && errors.Is(err, binance.ErrRunning):
		case method == "DepthSyncer.Ready" && errors.Is(err, binance.ErrReentrant) && callback != "DepthSyncer.View":
		case errors.Is(err, binance.ErrUnknownSymbol), errors.Is(err, binance.ErrNotSynced), errors.As(err, new(*binance.APIError)):
		default:
			t.Errorf("%s: %v", where, err)
		}
	}
}

// run makes every callback happen, inside a bubble.
func (c *callbacks) run(t *testing.T) {
	hooks := new(binance.Hooks)
	fields := reflect.ValueOf(hooks).Elem()
	for i := range fields.NumField() {
		name := "Hooks." + fields.Type().Field(i).Name
		fields.Field(i).Set(reflect.MakeFunc(fields.Field(i).Type(), func([]reflect.Value) []reflect.Value {
			c.enter(t.Context(), name)
			return nil
		}))
	}
	s := everyHook(hooks)
	s.server.Network = binancetest.InMemory()
	s.client.Budget = c.budget
	s.client.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c.enter(ctx, "Config.DialContext")
		return c.h.srv.DialContext(ctx, network, addr)
	}
	s.client.Proxy = func(r *http.Request) (*url.URL, error) {
		c.enter(r.Context(), "Config.Proxy")
		return nil, nil
	}
	s.depth.TopLevels = 3
	s.depth.Handler = func(ctx context.Context, _ *marketprism.Record) error {
		c.enter(ctx, "DepthConfig.Handler")
		return nil
	}
	s.depth.AllTrading.Keep = func(*binance.SymbolInfo) bool { c.enter(t.Context(), "SymbolFilter.Keep"); return true }
	recorder, err := binance.NewRecorder(binance.RecorderConfig{
		Dir: t.TempDir(), QueueBytes: 10_000,
		Lost: func() { c.enter(t.Context(), "RecorderConfig.Lost") },
		Compression: binance.Compression{Suffix: ".plain", NewWriter: func(w io.Writer) (binance.CompressionWriter, error) {
			c.enter(t.Context(), "Compression.NewWriter")
			return plainWriter{w}, nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.recorder, s.client.Recorder = recorder, recorder
	ctx, cancel := context.WithCancel(t.Context())
	recorded := make(chan error, 1)
	before := s.before
	s.before = func(h *harness) {
		c.h = h
		before(h)
		go func() { recorded <- recorder.Run(ctx) }()
		synctest.Wait()
	}

	h := newHarness(t, s)
	defer h.close()
	provokeHooks(t, h)
	if err := errors.Join(h.srv.SetStatus(victim, "TRADING"), h.srv.SetStatus(names(2)[1], "TRADING")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Minute)
	h.ready()
	h.live(names(3)...)
	cancel()
	if err := <-recorded; err != nil {
		t.Error(err)
	}
}

type plainWriter struct{ io.Writer }

func (plainWriter) Flush() error { return nil }
func (plainWriter) Close() error { return nil }

// callbackNames lists the fields and parameters of the package that are funcs of the program.
func callbackNames() (all []string) {
	for _, v := range []any{binance.Hooks{}, binance.Config{}, binance.DepthConfig{}, binance.SymbolFilter{}, binance.BudgetConfig{}, binance.RecorderConfig{}, binance.Compression{}} {
		for i := range reflect.TypeOf(v).NumField() {
			if f := reflect.TypeOf(v).Field(i); f.Type.Kind() == reflect.Func {
				all = append(all, fmt.Sprintf("%s.%s", reflect.TypeOf(v).Name(), f.Name))
			}
		}
	}
	for _, v := range []any{&binance.DepthSyncer{}, &binance.Client{}, &binance.Budget{}, &binance.Recorder{}, &binance.Stream{}} {
		for i := range reflect.TypeOf(v).NumMethod() {
			m := reflect.TypeOf(v).Method(i)
			for j := range m.Type.NumIn() {
				if m.Type.In(j).Kind() == reflect.Func {
					all = append(all, reflect.TypeOf(v).Elem().Name()+"."+m.Name)
				}
			}
		}
	}
	return all
}

// Goroutines call every method at random while Run begins, works and ends, and begins again. Afterwards nothing is
// left in the Budget, and a Run keeps every book.
func TestStormOfCalls(t *testing.T) {
	short.SkipWhole(t)
	for seed := range uint64(2) {
		synctest.Test(t, func(t *testing.T) { storm(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func storm(t *testing.T, roll *rand.Rand) {
	const callers = 6
	c := &callbacks{
		budget:  newBudget(t, binance.BudgetConfig{Concurrent: 2, Limit: -1, Connects: -1}),
		entered: map[string]bool{"DepthSyncer.View": true},
	}
	recorder, err := binance.NewRecorder(binance.RecorderConfig{Dir: t.TempDir(), Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	c.recorder = recorder
	s := setup{
		server: exchange(4), client: binance.Config{Budget: c.budget, Recorder: recorder},
		depth: binance.DepthConfig{
			Symbols: names(3), AllTrading: &binance.SymbolFilter{}, PollEvery: time.Second, RefreshEvery: time.Second,
			Trades: true, Tickers: true, TopLevels: 3, StreamsPerConn: 6, Redundancy: 1 + roll.IntN(2), RetryMax: time.Second,
		},
		before: func(h *harness) { h.prepare(names(4)...) },
	}
	s.server.Network, s.server.WeightLimit, s.server.ConnectLimit, s.server.MessageLimit = binancetest.InMemory(), -1, -1, -1
	h := newHarness(t, s)
	defer h.close()
	c.h = h

	h.stop() // the exchange runs on its own from here
	if err := h.end(); err != nil {
		t.Error(err)
	}
	serving, endServing := context.WithCancel(t.Context())
	defer endServing()
	go h.srv.Run(serving) //nolint:errcheck // ends with the context
	h.run()

	ctx, cancel := context.WithCancel(t.Context())
	var calling sync.WaitGroup
	for range callers {
		roll := rand.New(rand.NewPCG(roll.Uint64(), 2))
		calls := methodCalls()
		for _, symbol := range names(4) {
			calls = append(calls,
				methodCall{"Add", func(ctx context.Context, c *callbacks) error { return c.h.syncer.Add(ctx, symbol) }},
				methodCall{"Remove", func(_ context.Context, c *callbacks) error { return c.h.syncer.Remove(symbol) }},
				methodCall{"Refresh", func(_ context.Context, c *callbacks) error { return c.h.syncer.Refresh(symbol) }})
		}
		calling.Go(func() {
			for ctx.Err() == nil {
				ctx, cancel := context.WithTimeout(ctx, time.Duration(roll.Int64N(int64(time.Second))))
				calls[roll.IntN(len(calls))].call(ctx, c) //nolint:errcheck // any may fail in a storm
				cancel()
				time.Sleep(time.Duration(roll.Int64N(int64(50 * time.Millisecond))))
			}
		})
	}
	for range 8 {
		time.Sleep(time.Duration(roll.Int64N(int64(3 * time.Second))))
		h.stop()
		if err := h.end(); err != nil && !errors.Is(err, binance.ErrRunning) {
			t.Errorf("Run = %v", err)
		}
		h.run()
	}
	cancel()
	calling.Wait()
	h.stop()
	if err := h.end(); err != nil && !errors.Is(err, binance.ErrRunning) {
		t.Errorf("Run = %v", err)
	}
	synctest.Wait()
	if u := c.budget.Usage(); u.Sending != 0 || slices.Max(u.Queued) != 0 {
		t.Errorf("after Run the Budget has %+v", u)
	}
	h.run()
	synctest.Wait()
	if err := h.syncer.Add(t.Context(), names(4)...); err != nil {
		t.Error(err)
	}
	h.ready()
	h.live(names(4)...)
}
