package binancetest_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/recording"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// record writes a recording of the lines and returns its path.
func record(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.ndjson")
	must(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return path
}

// at returns the start of a line recorded this many milliseconds after the first.
func at(ms int) string {
	return fmt.Sprintf(`{"ts":%d,"kind":`, 1_633_998_512_000_000_000+int64(ms)*1e6)
}

func depthLine(ms int, symbol string, first, last int64, bids string) string {
	return at(ms) + fmt.Sprintf(`"ws","frame":{"stream":"%s@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"%s","U":%d,"u":%d,"b":[%s],"a":[]}}}`,
		strings.ToLower(symbol), symbol, first, last, bids)
}

func snapshotLine(ms int, symbol string, id int64, bids string) string {
	return at(ms) + fmt.Sprintf(`"rest","path":"/api/v3/depth?symbol=%s&limit=1000","body":{"lastUpdateId":%d,"bids":[%s],"asks":[["9.0","1.00"]]}}`, symbol, id, bids)
}

func played(t *testing.T, s *binancetest.Server) {
	t.Helper()
	<-s.Played()
	if err := s.PlaybackErr(); err != nil {
		t.Fatal(err)
	}
}

// TestPlayback replays one small recording with every feature of a playback.
func TestPlayback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := record(t,
			depthLine(0, "AUSDT", 5, 6, `["1.0","1.00"]`),
			at(50)+`"ws","frame":{"stream":"ausdt@bookTicker","data":{"u":7}}}`,
			depthLine(100, "AUSDT", 7, 9, `["2.0","2.00"]`),
			snapshotLine(250, "AUSDT", 8, `["2.0","2.00"],["1.0","1.00"],["0.5","3.00"]`),
			depthLine(1300, "AUSDT", 10, 12, `["2.0","0.00"],["1.5","7.00"]`),
			depthLine(1400, "AUSDT", 13, 13, `["1.6","7.00"]`),
		)
		s := newServer(t, binancetest.Config{Network: binancetest.InMemory(), Playback: &binancetest.Playback{Path: path, Speed: 2}})
		equal(t, "listed", fmt.Sprint(s.Listed()), "[AUSDT]")
		info := decodeLoosely[struct{ Symbols []struct{ Symbol string } }](t, get(t, s, "/api/v3/exchangeInfo").body)
		equal(t, "exchangeInfo", fmt.Sprint(info.Symbols), "[{AUSDT}]")
		if _, err := s.Book("AUSDT"); !errors.Is(err, binancetest.ErrNoBook) {
			t.Error("book before the snapshot:", err)
		}
		if _, err := s.Apply("AUSDT", nil, nil); !errors.Is(err, binancetest.ErrPlayback) {
			t.Error(err)
		}
		if err := s.Walk(); !errors.Is(err, binancetest.ErrPlayback) {
			t.Error(err)
		}

		time.Sleep(time.Hour) // nothing is replayed before there is a subscriber
		early := make(chan snapshot)
		go func() { early <- getSnapshot(t, s, "/api/v3/depth?symbol=AUSDT&limit=2") }()
		synctest.Wait()
		raw := dial(t, s, "/ws/ausdt@bookTicker")
		start := time.Now()
		combined := dial(t, s, "/stream?streams=ausdt@depth@100ms")
		equal(t, "verbatim", combined.text(), `{"stream":"ausdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"AUSDT","U":5,"u":6,"b":[["1.0","1.00"]],"a":[]}}`)
		equal(t, "at once", time.Since(start), 0)
		equal(t, "raw", raw.text(), `{"u":7}`)
		equal(t, "twice as fast", time.Since(start), 25*time.Millisecond)
		next := func() event {
			return decodeLoosely[struct{ Data event }](t, combined.text()).Data
		}
		equal(t, "u", next().Last, 9)

		snap := <-early
		equal(t, "the held snapshot", time.Since(start), 125*time.Millisecond)
		equal(t, "its id", snap.ID, 8)
		equal(t, "cut to the limit", fmt.Sprint(snap.Bids), "[[2.0 2.00] [1.0 1.00]]")
		snap = getSnapshot(t, s, "/api/v3/depth?symbol=AUSDT")
		equal(t, "the true book, with the straddling event", snap.ID, 9)
		equal(t, "its bids", fmt.Sprint(snap.Bids), "[[2.00000000 2.00000000] [1.00000000 1.00000000] [0.50000000 3.00000000]]")

		// The playback pauses until a client reconnects.
		must(t, combined.ws.Close())
		time.Sleep(time.Hour)
		combined = dial(t, s, "/stream?streams=ausdt@depth@100ms")
		resumed := time.Now()
		equal(t, "U", next().First, 10)
		equal(t, "U", next().First, 13)
		equal(t, "in step again", time.Since(resumed), 50*time.Millisecond)
		played(t, s)
		truth, err := s.Book("AUSDT")
		must(t, err)
		equal(t, "book", fmt.Sprint(truth.LastID, truth.Bids), "13 [{1.6 7} {1.5 7} {1 1} {0.5 3}]")
		equal(t, "clock-free", truth.EventTime.IsZero(), true)
	})
}

// TestPlaybackOfAGap: after events that the recorder missed, the true book is not synced until the next
// recorded snapshot.
func TestPlaybackOfAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := record(t,
			snapshotLine(0, "AUSDT", 8, `["1.0","1.00"]`),
			depthLine(100, "AUSDT", 9, 9, `["2.0","2.00"]`),
			depthLine(200, "AUSDT", 20, 21, `["3.0","2.00"]`),
			snapshotLine(1000, "AUSDT", 20, `["4.0","1.00"]`),
			depthLine(1500, "AUSDT", 30, 30, ``),
		)
		s := newServer(t, binancetest.Config{Network: binancetest.InMemory(), Playback: &binancetest.Playback{Path: path, Speed: 1}})
		c := dial(t, s, "/ws/ausdt@depth@100ms")
		start := time.Now()
		equal(t, "first", getSnapshot(t, s, "/api/v3/depth?symbol=AUSDT").ID, 8)
		for range 2 {
			c.next()
		}
		if _, err := s.Book("AUSDT"); !errors.Is(err, binancetest.ErrNoBook) {
			t.Error("book in the gap:", err)
		}
		equal(t, "second", getSnapshot(t, s, "/api/v3/depth?symbol=AUSDT").ID, 20)
		equal(t, "held", time.Since(start), time.Second)
		truth, err := s.Book("AUSDT")
		must(t, err)
		equal(t, "joined", fmt.Sprint(truth.LastID, truth.Bids), "21 [{4 1} {3 2}]")
		c.next()
		played(t, s)
		equal(t, "no snapshot is left", get(t, s, "/api/v3/depth?symbol=AUSDT").status, http.StatusServiceUnavailable)
	})
}

func TestPlaybackFaults(t *testing.T) {
	path := record(t, snapshotLine(0, "AUSDT", 8, ``), depthLine(1, "AUSDT", 9, 9, ``), depthLine(2, "AUSDT", 10, 10, ``))
	s := newServer(t, binancetest.Config{Playback: &binancetest.Playback{Path: path}})
	must(t, s.DropDepth("AUSDT", 1))
	c := dial(t, s, "/ws/ausdt@depth@100ms")
	equal(t, "U", c.next().First, 10)
}

func TestBrokenRecordings(t *testing.T) {
	good := depthLine(0, "AUSDT", 1, 1, ``)
	for name, tc := range map[string]struct {
		lines []string
		want  error
	}{
		"no depth":             {[]string{at(0) + `"ws","frame":{"stream":"a@trade","data":{}}}`}, binancetest.ErrRecording},
		"other market":         {[]string{good, strings.Replace(snapshotLine(0, "AUSDT", 1, ``), "/api/v3", "/fapi/v1", 1)}, binancetest.ErrRecording},
		"bad number":           {[]string{depthLine(0, "AUSDT", 1, 1, `["x","1"]`)}, orderbook.ErrSyntax},
		"bad number in a book": {[]string{good, snapshotLine(0, "AUSDT", 1, `["1","1.000000001"]`)}, orderbook.ErrPrecision},
		"short level":          {[]string{depthLine(0, "AUSDT", 1, 1, `["1"]`)}, binancetest.ErrRecording},
		"no ids":               {[]string{at(0) + `"ws","frame":{"stream":"a@depth","data":{}}}`}, binancetest.ErrRecording},
		"no id":                {[]string{good, at(0) + `"rest","path":"/api/v3/depth?symbol=A","body":{}}`}, binancetest.ErrRecording},
		"raw frame":            {[]string{at(0) + `"ws","frame":{}}`}, recording.ErrFrame},
		"unknown kind":         {[]string{good, at(0) + `"x"}`}, recording.ErrKind},
		"truncated":            {[]string{good, good[:30]}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := record(t, tc.lines...)
			_, err := binancetest.New(binancetest.Config{Playback: &binancetest.Playback{Path: path}})
			if !errors.Is(err, binancetest.ErrRecording) || tc.want != nil && !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			var at *recording.LineError
			if name != "no depth" && (!errors.As(err, &at) || at.Line != len(tc.lines)) {
				t.Errorf("%v does not name line %d", err, len(tc.lines))
			}
		})
	}
	if _, err := binancetest.New(binancetest.Config{Playback: &binancetest.Playback{Path: "no such file"}}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestPlaybackOfRealRecordings applies the recorded snapshots and events as received over the wire, and
// compares each book with the server's after every event, and at the end with the result of an independent
// program.
func TestPlaybackOfRealRecordings(t *testing.T) {
	short.Skip(t)
	for name, market := range map[string]marketprism.Market{
		"binance-spot-20211012": marketprism.Spot,
		"binance-usdm-20210722": marketprism.USDM,
		"binance-usdm-20240808": marketprism.USDM,
	} {
		t.Run(name, func(t *testing.T) {
			if name == "binance-usdm-20240808" {
				short.SkipWhole(t) // compares its books after each of fifteen thousand events
			}
			dir := "../../../shared/recordings/"
			text, err := os.ReadFile(dir + name + ".expected.json")
			if errors.Is(err, os.ErrNotExist) {
				t.Skip("no recordings beside the repository (../shared/recordings)")
			}
			must(t, err)
			type result struct {
				FinalUpdateID        int64  `json:"finalUpdateId"`
				SnapshotLastUpdateID int64  `json:"snapshotLastUpdateId"`
				Events               int    `json:"events"`
				BookTickers          int    `json:"bookTickers"`
				SHA256               string `json:"sha256"`
			}
			want := decodeLoosely[map[string]result](t, string(text))
			s := newServer(t, binancetest.Config{Market: market, Playback: &binancetest.Playback{
				Path: playable(t, dir+name+".ndjson.gz"), WaitFor: []string{"depth", "bookTicker"},
			}})
			f := &follower{t: t, server: s, market: market, books: map[string]*clientBook{}}
			f.follow(slices.Sorted(maps.Keys(want)))
			for symbol, w := range want {
				b := f.books[symbol]
				truth, err := s.Book(symbol)
				must(t, err)
				equal(t, symbol, result{b.id, b.snapshotID, b.events, b.tickers, b.hash()}, w)
				equal(t, symbol+" truth", hash(truth), w.SHA256)
			}
		})
	}
}

// playable returns a copy of a recording in which the fastest depth stream of futures has the name that
// the server serves it under: what was recorded as @depth@0ms is sent as @depth@100ms.
func playable(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	must(t, err)
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	must(t, err)
	text, err := io.ReadAll(unzipped)
	must(t, err)
	renamed := filepath.Join(t.TempDir(), "recording.ndjson")
	must(t, os.WriteFile(renamed, bytes.ReplaceAll(text, []byte(`@depth@0ms"`), []byte(`@depth@100ms"`)), 0o600))
	return renamed
}

// A follower is a plain client of all symbols of a recording.
type follower struct {
	t      *testing.T
	server *binancetest.Server
	market marketprism.Market
	books  map[string]*clientBook
}

type clientBook struct {
	bids, asks      map[orderbook.Fixed]orderbook.Fixed
	id, snapshotID  int64
	buffer          []event
	events, tickers int
}

func (f *follower) follow(symbols []string) {
	var streams []string
	type answer struct {
		symbol string
		snapshot
	}
	answers := make(chan answer, len(symbols))
	prefix := map[marketprism.Market]string{marketprism.Spot: "/api/v3", marketprism.USDM: "/fapi/v1"}[f.market]
	for _, symbol := range symbols {
		f.books[symbol] = &clientBook{bids: map[orderbook.Fixed]orderbook.Fixed{}, asks: map[orderbook.Fixed]orderbook.Fixed{}}
		streams = append(streams, lower(symbol)+"@depth@100ms", lower(symbol)+"@bookTicker")
		go func() {
			answers <- answer{symbol, getSnapshot(f.t, f.server, prefix+"/depth?symbol="+symbol+"&limit=1000")}
		}()
	}
	paths := map[marketprism.Market]string{marketprism.Spot: "/stream?streams=", marketprism.USDM: "/public/stream?streams="}
	c := dial(f.t, f.server, paths[f.market]+strings.Join(streams, "/"))
	go func() {
		<-f.server.Played()
		f.server.SendRaw(`{"stream":"end","data":{}}`)
	}()
	for {
		frame := decodeLoosely[struct {
			Stream string          `json:"stream"`
			Data   json.RawMessage `json:"data"`
		}](f.t, c.text())
		if frame.Stream == "end" {
			break
		}
		symbol, kind, _ := strings.Cut(frame.Stream, "@")
		b := f.books[strings.ToUpper(symbol)]
		if kind == "bookTicker" {
			b.tickers++
			continue
		}
		b.events++
		b.buffer = append(b.buffer, decodeLoosely[event](f.t, string(frame.Data)))
	}
	for range symbols {
		a := <-answers
		f.join(a.symbol, a.snapshot)
	}
}

// join loads a snapshot into a book and applies the buffered events, and compares with the true book after
// each event that the server's history still has.
func (f *follower) join(symbol string, snap snapshot) {
	b := f.books[symbol]
	b.id, b.snapshotID = snap.ID, snap.ID
	b.set(f.t, snap.Bids, snap.Asks)
	compared := 0
	for _, e := range b.buffer {
		switch {
		case e.Last <= b.id:
			continue
		case e.Prev == nil && e.First > b.id+1, e.Prev != nil && *e.Prev > b.id:
			f.t.Errorf("%s: gap after %d", symbol, b.id)
		}
		b.set(f.t, e.Bids, e.Asks)
		b.id = e.Last
		if truth, err := f.server.BookAt(symbol, b.id); err == nil {
			equal(f.t, fmt.Sprintf("%s at %d is true", symbol, b.id), b.equals(truth), true)
			compared++
		}
	}
	if len(b.buffer) > 1 && compared == 0 {
		f.t.Errorf("%s: nothing compared", symbol)
	}
}

func (b *clientBook) set(t *testing.T, bids, asks [][2]string) {
	setLevels(t, b.bids, bids)
	setLevels(t, b.asks, asks)
}

func setLevels(t *testing.T, side map[orderbook.Fixed]orderbook.Fixed, changes [][2]string) {
	for _, l := range changes {
		price, quantity := fixed(t, l[0]), fixed(t, l[1])
		side[price] = quantity
		if quantity == 0 {
			delete(side, price)
		}
	}
}

func (b *clientBook) equals(truth orderbook.Snapshot) bool {
	differs := func(side map[orderbook.Fixed]orderbook.Fixed) func(orderbook.Level) bool {
		return func(l orderbook.Level) bool { return side[l.Price] != l.Quantity }
	}
	return len(b.bids) == len(truth.Bids) && len(b.asks) == len(truth.Asks) &&
		!slices.ContainsFunc(truth.Bids, differs(b.bids)) && !slices.ContainsFunc(truth.Asks, differs(b.asks))
}

func (b *clientBook) hash() string {
	snap := orderbook.Snapshot{}
	for _, p := range slices.Backward(slices.Sorted(maps.Keys(b.bids))) {
		snap.Bids = append(snap.Bids, orderbook.Level{Price: p, Quantity: b.bids[p]})
	}
	for _, p := range slices.Sorted(maps.Keys(b.asks)) {
		snap.Asks = append(snap.Asks, orderbook.Level{Price: p, Quantity: b.asks[p]})
	}
	return hash(snap)
}

// hash returns the sha256 of a book in the format of the recordings' expected results.
func hash(s orderbook.Snapshot) string {
	h := sha256.New()
	for _, side := range [][]orderbook.Level{s.Bids, s.Asks} {
		for _, l := range side {
			_, _ = fmt.Fprintf(h, "%s %s\n", l.Price, l.Quantity)
		}
		_, _ = io.WriteString(h, "-\n")
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestPlaybackWaitsForItsReader: a client that reads slowly loses nothing and is not cut.
func TestPlaybackWaitsForItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		bids := strings.TrimSuffix(strings.Repeat(`["1.0","1.00"],`, 500), ",")
		for i := range int64(200) {
			lines = append(lines, depthLine(int(i), "AUSDT", i+1, i+1, bids))
		}
		path := record(t, lines...)
		s := newServer(t, binancetest.Config{Network: binancetest.InMemory(), SendBuffer: 200_000, Playback: &binancetest.Playback{Path: path}})
		c := dial(t, s, "/ws/ausdt@depth@100ms")
		time.Sleep(time.Minute)
		select {
		case <-s.Played():
			t.Error("played without a reader")
		default:
		}
		for i := range int64(200) {
			equal(t, "U", c.next().First, i+1)
		}
		played(t, s)
		equal(t, "violations", s.Stats().SlowConsumers, 0)
	})
}
