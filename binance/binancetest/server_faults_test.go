package binancetest_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// TestEveryFaultIsDocumented: the package documentation lists the faults in order, every linked name exists,
// every method for a fault is in the list, and RunChaos has no other numbers.
func TestEveryFaultIsDocumented(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	must(t, err)
	doc := file.Doc.Text()
	items := regexp.MustCompile(`(?m)^ +- F(\d+) (.*)$`).FindAllStringSubmatch(doc, -1)
	if len(items) != 41 {
		t.Fatalf("%d faults are listed, want 41", len(items))
	}
	for i, item := range items {
		if n, err := strconv.Atoi(item[1]); err != nil || n != i+1 {
			t.Errorf("fault %d of the list is F%s", i+1, item[1])
		}
	}
	linked := make(map[string]bool)
	for _, link := range regexp.MustCompile(`\[(Server|Config|Symbol)\.(\w+)\]`).FindAllStringSubmatch(doc, -1) {
		linked[link[2]] = true
		exists := false
		switch link[1] {
		case "Server":
			_, exists = reflect.TypeFor[*binancetest.Server]().MethodByName(link[2])
		case "Config":
			_, exists = reflect.TypeFor[binancetest.Config]().FieldByName(link[2])
		case "Symbol":
			_, exists = reflect.TypeFor[binancetest.Symbol]().FieldByName(link[2])
		}
		if !exists {
			t.Errorf("the documentation names %s, which does not exist", link[0])
		}
	}
	plain := []string{ // methods that are not faults
		"Close", "Connections", "Listed", "Played", "PlaybackErr", "Tick",
	}
	for m := range reflect.TypeFor[*binancetest.Server]().Methods() {
		if !linked[m.Name] && !slices.Contains(plain, m.Name) {
			t.Errorf("Server.%s is not in the package documentation", m.Name)
		}
	}
	tests := testComments(t)
	for n := 1; n <= 40; n++ {
		if !regexp.MustCompile(fmt.Sprintf(`\bF%d\b`, n)).MatchString(tests) {
			t.Errorf("no test says that it shows F%d", n)
		}
	}
	for _, name := range binancetest.ChaosFaults() {
		if !slices.ContainsFunc(items, func(item []string) bool { return fmt.Sprint("F", item[1]) == name }) {
			t.Errorf("chaos has %s, which is not documented", name)
		}
	}
}

// testComments returns the comments above the tests of this package.
func testComments(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	must(t, err)
	var all strings.Builder
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		must(t, err)
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				all.WriteString(f.Doc.Text())
			}
		}
	}
	return all.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDropAndDuplicateDepth is F1 and F3.
func TestDropAndDuplicateDepth(t *testing.T) {
	s := newServer(t, manual(t))
	must(t, s.DropDepth("BTCUSDT", 2))
	apply(t, s, "BTCUSDT", nil, nil)
	s.Tick() // no subscriber: this one is not dropped
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	must(t, s.DuplicateDepth("BTCUSDT", 1))
	for range 4 {
		apply(t, s, "BTCUSDT", nil, nil)
		s.Tick()
	}
	for _, want := range []int64{104, 104, 105} {
		equal(t, "U", c.next().First, want)
	}
}

// TestStaleSnapshots is F5.
func TestStaleSnapshots(t *testing.T) {
	s := newServer(t, manual(t))
	for i := range 5 {
		apply(t, s, "BTCUSDT", levels(t, fmt.Sprintf("10 %d", i+1)), nil)
		s.Tick()
	}
	must(t, s.StaleSnapshots("BTCUSDT", 2, 3))
	for _, want := range []int64{102, 102, 105} {
		snap := getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT")
		equal(t, "id", snap.ID, want)
		equal(t, "best bid", snap.Bids[0][1], fmt.Sprintf("%d.00000000", want-100))
	}
	must(t, s.StaleSnapshots("BTCUSDT", 1, 99))
	equal(t, "no further than the start", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 100)
}

// TestRejectREST is the errors of F16.
func TestRejectREST(t *testing.T) {
	s := newServer(t, manual(t))
	path := "/api/v3/depth?symbol=BTCUSDT"
	for status, want := range map[int]string{
		http.StatusTooManyRequests:    `{"code":-1003,"msg":"Too much request weight used;`,
		http.StatusTeapot:             `{"code":-1003,"msg":"Way too much request weight used; IP banned until `,
		http.StatusForbidden:          "<html>",
		http.StatusBadGateway:         "<html>",
		http.StatusServiceUnavailable: `{"code":-1008,`,
	} {
		s.RejectREST(2, status, 90*time.Second)
		for range 2 {
			r := get(t, s, path)
			equal(t, "status", r.status, status)
			equal(t, "Retry-After", r.header.Get("Retry-After"), "90")
			if !strings.HasPrefix(r.body, want) {
				t.Errorf("%d: %s", status, r.body)
			}
			equal(t, "content type", strings.HasPrefix(r.header.Get("Content-Type"), "text/html"), strings.HasPrefix(want, "<"))
		}
		equal(t, "afterwards", get(t, s, path).status, http.StatusOK)
	}
	s.RejectREST(1, 0, 0)
	equal(t, "no error status", get(t, s, path).status, http.StatusInternalServerError)
	s.RejectREST(1, http.StatusTooManyRequests, 0)
	equal(t, "no header", get(t, s, path).header.Get("Retry-After"), "")
	equal(t, "violations of the client", s.Stats().Violations(), 0)
}

// TestDelaySnapshots is F5 with late answers: each shows the book at the time of the request.
func TestDelaySnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		s.DelaySnapshots(1, 7*time.Second)
		start := time.Now()
		go func() {
			time.Sleep(time.Second)
			apply(t, s, "BTCUSDT", nil, nil)
		}()
		equal(t, "as of the request", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 1_000_000)
		equal(t, "delay", time.Since(start), 7*time.Second)
		equal(t, "next", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 1_000_001)
		equal(t, "no delay", time.Since(start), 7*time.Second)
	})
}

// TestDisconnect is F18.
func TestDisconnect(t *testing.T) {
	s := newServer(t, manual(t))
	a, b, c := dial(t, s, "/ws/x@trade"), dial(t, s, "/stream"), dial(t, s, "/ws")
	list := s.Connections()
	equal(t, "connections", len(list), 3)
	equal(t, "streams", fmt.Sprintf("%v %v", list[0].Streams, list[0].Path), "[x@trade] /ws/x@trade")
	equal(t, "combined", fmt.Sprint(list[0].Combined, list[1].Combined), "false true")

	s.SendRaw("last words")
	if !s.DisconnectOne(list[1].ID, binancetest.CloseGoingAway, "moving") {
		t.Error("connection not found")
	}
	equal(t, "what was sent before", b.text(), "last words")
	code, reason := b.closed()
	equal(t, "close", fmt.Sprint(code, reason), "1001moving")

	s.DisconnectOne(list[2].ID, 0, "")
	code, _ = c.closed()
	equal(t, "cut", code, websocket.CloseAbnormalClosure)

	s.Disconnect(binancetest.ClosePolicyViolation, "")
	code, _ = a.closed()
	equal(t, "code", code, 1008)
	if s.DisconnectOne(99, 0, "") {
		t.Error("a connection that is not there was found")
	}
	dial(t, s, "/ws") // new connections are accepted
}

// TestRejectStreams is F18: new connections are rejected.
func TestRejectStreams(t *testing.T) {
	s := newServer(t, manual(t))
	s.RejectStreams(1, http.StatusBadGateway)
	_, resp, err := tryDial(s, "/ws")
	if err == nil || resp == nil || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("%v, %v", resp, err)
	}
	dial(t, s, "/ws")
	equal(t, "opened", s.Stats().Connections, 1)
	s.RejectStreams(9, 0)
	if _, resp, _ = tryDial(s, "/ws"); resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%v", resp)
	}
	s.Calm()
	dial(t, s, "/ws")
}

// TestSilence is F19: nothing is sent, answered or closed.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws/btcusdt@depth@100ms")
		s.Silence()
		other := dial(t, s, "/ws/btcusdt@depth@100ms")
		apply(t, s, "BTCUSDT", nil, nil)
		c.send(`{"method":"LIST_SUBSCRIPTIONS","id":1}`)
		equal(t, "a new connection", other.next().First, 1_000_001)
		start := time.Now()
		must(t, c.ws.SetReadDeadline(start.Add(time.Hour)))
		_, reason := c.closed()
		equal(t, "ended by the client's own deadline", time.Since(start), time.Hour)
		if !strings.Contains(reason, "timeout") {
			t.Error(reason)
		}
	})
}

// TestServerShutdown is F20, the announcement.
func TestServerShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		raw, combined, micros := dial(t, s, "/ws"), dial(t, s, "/stream"), dial(t, s, "/ws?timeUnit=MICROSECOND")
		s.SendServerShutdown()
		now := time.Now().UnixMilli()
		event := fmt.Sprintf(`{"e":"serverShutdown","E":%d}`, now)
		equal(t, "raw", raw.text(), event)
		equal(t, "combined", combined.text(), `{"stream":"!serverShutdown","data":`+event+`}`)
		equal(t, "microseconds", micros.text(), fmt.Sprintf(`{"e":"serverShutdown","E":%d000}`, now))
	})
}

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

// TestGoAway is F20: connections are announced to end and then closed. One opened meanwhile stays.
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

// TestSkipPings is F17: missing pings.
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

// TestDelayUnsubscribes is F22: data continues after an acknowledged unsubscription. If the stream is subscribed
// again meanwhile, it continues and sends nothing twice.
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

// TestRejectedCommands is F23: a rejected control message, in both forms of the error.
func TestRejectedCommands(t *testing.T) {
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

// TestRefusedNames is F23 as well: a name that the exchange refuses, with all others of its message.
func TestRefusedNames(t *testing.T) {
	cfg := manual(t)
	cfg.MessageLimit = -1
	s := newServer(t, cfg)
	c := dial(t, s, "/ws")
	const refused = `{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":1}`
	ask := func(names string) string { return c.ask(`{"method":"SUBSCRIBE","params":[` + names + `],"id":1}`) }
	equal(t, "malformed", ask(`"btcusdt@trade","not asdfads"`), refused)
	equal(t, "unknown", ask(`"nope@trade"`), `{"result":null,"id":1}`)
	s.RefuseUnknownStreams(true)
	equal(t, "unknown and refused", ask(`"btcusdt@trade","nope2@trade"`), refused)
	equal(t, "known", ask(`"btcusdt@depth","!contractInfo"`), `{"result":null,"id":1}`)
	equal(t, "nothing of a refused message", c.ask(list), `{"result":["nope@trade","btcusdt@depth","!contractInfo"],"id":1}`)
	s.Calm()
	equal(t, "calm", ask(`"nope3@trade"`), `{"result":null,"id":1}`)
}

// TestFaultsForOneSymbol is the part of F16 that leaves the other symbols alone.
func TestFaultsForOneSymbol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT", "ETHUSDT"))
		must(t, s.RejectRESTFor("ETHUSDT", 1, http.StatusServiceUnavailable, 0))
		must(t, s.DelaySnapshotsFor("ETHUSDT", 1, time.Second))
		start := time.Now()
		equal(t, "another symbol", get(t, s, "/api/v3/depth?symbol=BTCUSDT").status, http.StatusOK)
		equal(t, "no symbol", get(t, s, "/api/v3/exchangeInfo").status, http.StatusOK)
		equal(t, "rejected", get(t, s, "/api/v3/depth?symbol=ETHUSDT").status, http.StatusServiceUnavailable)
		equal(t, "at once", time.Since(start), 0)
		equal(t, "then not", get(t, s, "/api/v3/depth?symbol=ETHUSDT").status, http.StatusOK)
		equal(t, "but late", time.Since(start), time.Second)
	})
}

// TestHangREST is the hanging request of F16: it is answered late, or never if the client leaves.
func TestHangREST(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		s.HangREST(2, 30*time.Second)
		start := time.Now()
		equal(t, "in the end", get(t, s, "/api/v3/ping").status, http.StatusOK)
		equal(t, "waited", time.Since(start), 30*time.Second)
		c := s.HTTPClient()
		c.Timeout = 10 * time.Second
		if _, err := c.Get(s.RESTURL() + "/api/v3/time"); err == nil {
			t.Error("an answer after the client's time-out")
		}
		equal(t, "gave up", time.Since(start), 40*time.Second)
		equal(t, "next", get(t, s, "/api/v3/ping").status, http.StatusOK)
	})
}

// TestTruncateREST is the broken body of F16.
func TestTruncateREST(t *testing.T) {
	s := newServer(t, manual(t))
	s.TruncateREST(1)
	c := s.HTTPClient()
	defer c.CloseIdleConnections()
	resp, err := c.Get(s.RESTURL() + "/api/v3/exchangeInfo")
	must(t, err)
	body, err := io.ReadAll(resp.Body)
	must(t, resp.Body.Close())
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 || int64(len(body)) >= resp.ContentLength {
		t.Errorf("%d of %d bytes: %v", len(body), resp.ContentLength, err)
	}
	equal(t, "next", get(t, s, "/api/v3/exchangeInfo").status, http.StatusOK)
}

// TestGzipREST is the compression of F16, for clients that accept it.
func TestGzipREST(t *testing.T) {
	s := newServer(t, manual(t))
	plain := get(t, s, "/api/v3/depth?symbol=BTCUSDT").body
	s.GzipREST(true)
	equal(t, "read by Go's client", get(t, s, "/api/v3/depth?symbol=BTCUSDT").body, plain)
	c := http.Client{Transport: &http.Transport{DialContext: s.DialContext, DisableCompression: true}}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.RESTURL()+"/api/v3/depth?symbol=BTCUSDT", nil)
	must(t, err)
	for accept, encoding := range map[string]string{"": "", "gzip, br": "gzip"} {
		req.Header.Set("Accept-Encoding", accept)
		resp, err := c.Do(req)
		must(t, err)
		equal(t, "encoding", resp.Header.Get("Content-Encoding"), encoding)
		var r io.Reader = resp.Body
		if encoding != "" {
			r, err = gzip.NewReader(resp.Body)
			must(t, err)
		}
		body, err := io.ReadAll(r)
		must(t, err)
		must(t, resp.Body.Close())
		equal(t, "body", string(body), plain)
	}
}

// TestHeadersOnTheWire: the exchange's headers in its spelling, and none from a firewall.
func TestHeadersOnTheWire(t *testing.T) {
	s := newServer(t, manual(t))
	ask := func() string {
		c, err := s.DialContext(t.Context(), "", "")
		must(t, err)
		defer func() { _ = c.Close() }()
		_, err = io.WriteString(c, "GET /api/v3/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		must(t, err)
		text, err := io.ReadAll(c)
		must(t, err)
		return string(text)
	}
	text := ask()
	for _, want := range []string{"\r\nX-MBX-USED-WEIGHT: 1\r\n", "\r\nX-MBX-USED-WEIGHT-1M: 1\r\n", "\r\nContent-Length: 2\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %s", want, text)
		}
	}
	s.RejectREST(1, http.StatusForbidden, 0)
	if text = ask(); strings.Contains(text, "MBX") {
		t.Error(text)
	}
}

// TestEarlyRequests: requests before the end of Retry-After count, except those already sent.
func TestEarlyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		s.RejectREST(1, http.StatusTeapot, 10*time.Second)
		ping := func() int { return get(t, s, "/api/v3/ping").status }
		equal(t, "banned", ping(), http.StatusTeapot)
		ping()
		equal(t, "on its way", s.Stats().EarlyRequests, 0)
		time.Sleep(9 * time.Second)
		ping()
		equal(t, "too early", s.Stats().Violations(), 1)
		time.Sleep(time.Second)
		s.RejectREST(1, http.StatusTooManyRequests, time.Second)
		ping() // in time, and the next window begins
		ping()
		equal(t, "in time", s.Stats().EarlyRequests, 1)
	})
}

// TestCalmREST: Calm cancels pending faults of requests.
func TestCalmREST(t *testing.T) {
	s := newServer(t, manual(t))
	s.RejectREST(9, http.StatusBadGateway, 0)
	must(t, s.RejectRESTFor("BTCUSDT", 9, http.StatusBadGateway, 0))
	s.TruncateREST(9)
	s.HangREST(9, time.Hour)
	s.DelaySnapshots(9, time.Hour)
	must(t, s.StaleSnapshots("BTCUSDT", 9, 9))
	s.Calm()
	equal(t, "status", get(t, s, "/api/v3/depth?symbol=BTCUSDT").status, http.StatusOK)
	var none binancetest.Stats
	equal(t, "violations", s.Stats().Violations(), none.Violations())
}

// TestUnknownFieldsAndEvents is F24.
func TestUnknownFieldsAndEvents(t *testing.T) {
	s := newServer(t, manual(t))
	raw, combined := dial(t, s, "/ws/btcusdt@depth@100ms"), dial(t, s, "/stream?streams=btcusdt@depth@100ms")
	s.ExtraFields(true)
	interval(t, s)
	for _, c := range []*client{raw, combined} {
		text := c.text()
		fields := decodeLoosely[map[string]any](t, text)
		if c == combined {
			fields = fields["data"].(map[string]any)
		}
		equal(t, "first fields", fields["u"].(float64), 101)
		if fields["zz"] == nil {
			t.Error(text)
		}
	}
	s.ExtraFields(false)
	must(t, s.SendEvent("btcusdt@depth@100ms", `{"e":"newest","x":1}`))
	equal(t, "raw", raw.text(), `{"e":"newest","x":1}`)
	equal(t, "combined", combined.text(), `{"stream":"btcusdt@depth@100ms","data":{"e":"newest","x":1}}`)
	for _, wrong := range []string{"", "null", "[]", "{"} {
		if err := s.SendEvent("x", wrong); !errors.Is(err, binancetest.ErrConfig) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// TestSetSteps is F29: futures write prices with more decimals from the next event on.
func TestSetSteps(t *testing.T) {
	s := newServer(t, binancetest.Config{Market: marketprism.COINM, Tick: -1, Symbols: []binancetest.Symbol{
		{Name: "BTCUSD_PERP", TickSize: fixed(t, "0.1"), StepSize: orderbook.One, Bids: levels(t, "10 1")},
	}})
	c := dial(t, s, "/ws/btcusd_perp@depth@100ms")
	change := func() string {
		apply(t, s, "BTCUSD_PERP", levels(t, "9.5 2"), nil)
		s.Tick()
		return fmt.Sprint(decodeLoosely[event](t, c.text()).Bids)
	}
	equal(t, "before", change(), "[[9.5 2]]")
	must(t, s.SetSteps("BTCUSD_PERP", fixed(t, "0.001"), fixed(t, "0.1")))
	equal(t, "after", change(), "[[9.500 2.0]]")
	info := get(t, s, "/dapi/v1/exchangeInfo").body
	if !strings.Contains(info, `"tickSize":"0.001"`) || !strings.Contains(info, `"pricePrecision":3`) {
		t.Error(info)
	}
	if err := s.SetSteps("BTCUSD_PERP", 0, 1); !errors.Is(err, binancetest.ErrConfig) {
		t.Error(err)
	}
}

// TestThirdElements is F32.
func TestThirdElements(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	s.ThirdElements(true)
	apply(t, s, "BTCUSDT", levels(t, "9 1"), nil)
	s.Tick()
	if text := c.text(); !strings.Contains(text, `"b":[["9.00000000","1.00000000",[]]]`) {
		t.Error(text)
	}
	if body := get(t, s, "/api/v3/depth?symbol=BTCUSDT&limit=1").body; !strings.Contains(body, `"asks":[["11.00000000","3.00000000",[]]]`) {
		t.Error(body)
	}
	s.Calm()
	equal(t, "calm", len(getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").Bids), 3)
}

// TestAllMarketStreams is F35: a stream of all symbols carries this market's, and with SendEvent the other's.
func TestAllMarketStreams(t *testing.T) {
	s := newServer(t, binancetest.Config{Market: marketprism.USDM, Symbols: binancetest.Symbols("BTCUSDT")})
	c, quotes := dial(t, s, "/market/ws/!contractInfo"), dial(t, s, "/public/ws/!bookTicker")
	must(t, s.SetStatus("BTCUSDT", "TRADING_HALT"))
	must(t, s.SendEvent("!contractInfo", `{"e":"contractInfo","s":"BTCUSD_PERP","st":2}`))
	must(t, s.SendEvent("!bookTicker", `{"e":"bookTicker","s":"BTCUSD_PERP","st":2}`))
	type contract struct {
		Type, Symbol, Pair, Status string
		Instrument                 int
	}
	read := func(c *client) contract {
		f := decodeLoosely[map[string]any](t, c.text())
		v := contract{Type: f["e"].(string), Symbol: f["s"].(string), Instrument: int(f["st"].(float64))}
		v.Pair, _ = f["ps"].(string)
		v.Status, _ = f["cs"].(string)
		return v
	}
	equal(t, "this market's", read(c), contract{"contractInfo", "BTCUSDT", "BTCUSDT", "TRADING_HALT", 1})
	equal(t, "the other's", read(c), contract{"contractInfo", "BTCUSD_PERP", "", "", 2})
	equal(t, "on its route", read(quotes).Type, "bookTicker")
}

// TestSetClock is F40: event times jump, and go backwards.
func TestSetClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws/btcusdt@depth@100ms")
		for _, offset := range []time.Duration{0, time.Hour, -7 * time.Millisecond} {
			s.SetClock(offset)
			apply(t, s, "BTCUSDT", nil, nil)
			equal(t, "E", c.next().Time, time.Now().Add(offset).UnixMilli())
			equal(t, "server time", get(t, s, "/api/v3/time").body, fmt.Sprintf(`{"serverTime":%d}`, time.Now().Add(offset).UnixMilli()))
		}
		equal(t, "the limits keep to the real clock", s.Stats().WeightUsed, 3)
	})
}

// TestIgnorePings is F17: a client's pings without an answer.
func TestIgnorePings(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws")
	pongs := 0
	c.ws.SetPongHandler(func(string) error { pongs++; return nil })
	ping := func() {
		must(t, c.ws.WriteControl(websocket.PingMessage, nil, time.Time{}))
		c.ask(list)
	}
	s.IgnorePings(true)
	ping()
	equal(t, "pongs", pongs, 0)
	s.Calm()
	ping()
	equal(t, "pongs", pongs, 1)
}

// TestDropDepthAtSnapshot is F2.
func TestDropDepthAtSnapshot(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	must(t, s.DropDepthAtSnapshot("BTCUSDT", 2))
	interval(t, s)
	equal(t, "snapshot", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 101)
	for range 3 {
		interval(t, s)
	}
	equal(t, "events", c.firsts(2), "[101 104]")
}

// TestSwapDepth is F4.
func TestSwapDepth(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	must(t, s.SwapDepth("BTCUSDT", 2))
	for range 5 {
		interval(t, s)
	}
	equal(t, "events", c.firsts(5), "[102 101 104 103 105]")
}

// TestHoldDepth is F8: while events are kept back, a snapshot is newer than all of them.
func TestHoldDepth(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	must(t, s.HoldDepth("BTCUSDT", 2))
	interval(t, s)
	interval(t, s)
	equal(t, "nothing came", c.ask(`{"method":"LIST_SUBSCRIPTIONS","id":1}`), `{"result":["btcusdt@depth@100ms"],"id":1}`)
	equal(t, "snapshot", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 102)
	interval(t, s)
	equal(t, "events", c.firsts(3), "[101 102 103]")

	must(t, s.HoldDepth("BTCUSDT", 9))
	interval(t, s)
	s.Calm()
	interval(t, s)
	equal(t, "after Calm", c.firsts(2), "[104 105]")
}

// TestSnapshotPlaces is F6 and F7: a snapshot at the end of an event, and one inside the next.
func TestSnapshotPlaces(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	interval(t, s)
	apply(t, s, "BTCUSDT", nil, nil)
	must(t, s.MidBatchSnapshots("BTCUSDT", 1))
	equal(t, "inside", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 102)
	equal(t, "at the end", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 101)
	interval(t, s)
	truth, err := s.BookAt("BTCUSDT", 102)
	must(t, err)
	equal(t, "the truth inside", truth.LastID, 102)
	equal(t, "the event before", c.next().Last, 101)
	e := c.next()
	equal(t, "the event around", fmt.Sprint(e.First, e.Last), "102 103")
}

// TestQuietSymbol is F9.
func TestQuietSymbol(t *testing.T) {
	s := newServer(t, manual(t))
	must(t, s.SetRate("BTCUSDT", 0))
	must(t, s.Walk())
	snap, err := s.Book("BTCUSDT")
	must(t, err)
	equal(t, "id", snap.LastID, 100)
	must(t, s.SetRate("BTCUSDT", 1000))
	must(t, s.Walk())
	if snap, err = s.Book("BTCUSDT"); err != nil || snap.LastID == 100 {
		t.Errorf("the symbol is still quiet: %v", err)
	}
}

// TestMisleadingListings is F41: the next answers to exchangeInfo are no listing, or a wrong one.
func TestMisleadingListings(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.COINM} {
		cfg := manual(t)
		cfg.Market, cfg.Symbols = market, binancetest.Symbols("AUSD", "BUSD", "CUSD")
		s := newServer(t, cfg)
		path := map[marketprism.Market]string{marketprism.Spot: "/api/v3/exchangeInfo", marketprism.COINM: "/dapi/v1/exchangeInfo"}[market]
		honest := string(get(t, s, path).body)
		seen := map[string]bool{honest: true}
		for _, way := range binancetest.ListingFaults() {
			must(t, s.MisleadListings(1, way))
			bad := get(t, s, path)
			if seen[string(bad.body)] || bad.status != 200 {
				t.Errorf("%s, %s: %d %s", market, way, bad.status, bad.body)
			}
			seen[string(bad.body)] = true
			if next := string(get(t, s, path).body); len(next) != len(honest) {
				t.Errorf("%s: the answer after it is %s", way, next)
			}
		}
		if err := s.MisleadListings(1, "nicely"); !errors.Is(err, binancetest.ErrConfig) {
			t.Error(err)
		}
	}
}
