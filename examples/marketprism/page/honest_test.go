package page_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/examples/marketprism/gate"
	"github.com/marketprism/marketprism/examples/marketprism/page"
	"github.com/marketprism/marketprism/internal/short"
)

// A hangable handler answers nothing more while hung, as a program that has hung.
type hangable struct {
	http.Handler
	hung atomic.Bool
}

func (h *hangable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.Handler.ServeHTTP(&hangableWriter{w, r, h}, r)
}

type hangableWriter struct {
	http.ResponseWriter
	r *http.Request
	h *hangable
}

func (w *hangableWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *hangableWriter) Write(b []byte) (int, error) {
	for w.h.hung.Load() {
		select {
		case <-time.After(time.Millisecond):
		case <-w.r.Context().Done():
			return 0, w.r.Context().Err()
		}
	}
	return w.ResponseWriter.Write(b)
}

const (
	noneOld    = "document.querySelectorAll('[data-old=true]').length === 0 && document.querySelectorAll('[data-old=false]').length === 6"
	allOld     = "document.querySelectorAll('[data-old=true]').length === 6 && [...document.querySelectorAll('.old')].every(e => !e.hidden)"
	claimsLive = `/\b(live|synced|up|archive)\b/.test([...document.querySelectorAll("#link, #state, #health dd, #symbols li")].map(e => e.textContent + " " + (e.dataset.state ?? "")).join(" "))`
)

// The page says what a program that starts waits for, that its data is simulated, which panels are not of the moment that is
// shown, and that the program is gone.
func TestBrowserSaysWhatIsSo(t *testing.T) {
	short.Skip(t)
	b := openBrowser(t)
	withArchive := archive(t)
	p := newPipeline(t, func(p *pipeline, cfg *page.Config) { withArchive(p, cfg); cfg.Source = "SIMULATED" })
	p.move(t)
	door := page.NewDoor(gate.Config{}, "SIMULATED")
	door.Wait("ClickHouse")
	program := &hangable{Handler: door}
	server := httptest.NewServer(program)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })

	b.do(chromedp.EmulateViewport(1440, 900), chromedp.Navigate(server.URL+"/"))
	b.until("document.getElementById('link').textContent === 'starting' && document.getElementById('notice').textContent.includes('waits for ClickHouse')")
	require.True(t, eval[bool](b, allOld))
	require.False(t, eval[bool](b, claimsLive))
	door.Open(p.page)
	b.until("document.getElementById('link').textContent === 'live' && document.getElementById('state').textContent === 'synced' && document.getElementById('notice').hidden")
	b.until(noneOld)
	require.Equal(t, "SIMULATED", b.text("source"))
	require.Contains(t, eval[string](b, "document.title"), "SIMULATED")

	// A past moment: the other panels are grey, with their own age.
	b.until("document.querySelectorAll('#trades tbody tr').length > 3 && " + painted("midchart"))
	moment := time.Now().Format("2006-01-02T15:04:05.000")
	b.do(chromedp.Evaluate[chromedp.Void](`{ const e = document.getElementById("exact"); e.step = "any"; e.value = "` + moment + `"; e.dispatchEvent(new Event("change")); }`))
	b.until("document.getElementById('state').textContent === 'archive' && document.querySelectorAll('#bids tbody tr').length === 15")
	require.Equal(t, []string{"health", "symbolpane", "historypane", "tradepane"}, eval[[]string](b, "[...document.querySelectorAll('[data-old=true]')].map(e => e.id)"))
	require.True(t, eval[bool](b, `[...document.querySelectorAll('.old:not([hidden])')].every(e => /^as of \d\d:\d\d:\d\d, [\d.]+ m?s old$/.test(e.textContent))`))
	require.Equal(t, "connected", b.text("link"), "not that it shows what is live")
	b.keep("page-past.png")

	// Outside the archive there is no book, not the last one.
	b.do(chromedp.Evaluate[chromedp.Void](`{ const e = document.getElementById("past"); e.value = 0; e.dispatchEvent(new Event("input")); }`))
	b.until("document.getElementById('notice').textContent.includes('no snapshot')")
	require.Zero(t, eval[int](b, "document.querySelectorAll('.ladders tbody tr').length"))
	require.Equal(t, "– – –", b.text("mid")+" "+b.text("spread")+" "+b.text("lastid"))
	require.False(t, eval[bool](b, painted("depth")))
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until("document.getElementById('state').textContent === 'synced' && " + noneOld)

	// A program that has hung, and one that is gone.
	gone := "document.getElementById('link').textContent === 'no word from the program' && document.getElementById('state').textContent === 'unknown' && " +
		"document.getElementById('synced').textContent.startsWith('unknown') && " + allOld
	program.hung.Store(true)
	b.until(gone)
	require.False(t, eval[bool](b, claimsLive))
	program.hung.Store(false)
	b.until("document.getElementById('link').textContent === 'live' && document.getElementById('state').textContent === 'synced' && " + noneOld)
	server.CloseClientConnections()
	server.Listener.Close()
	b.until(gone)
	require.False(t, eval[bool](b, claimsLive))
	b.keep("page-gone.png")
}

// The page says why it has no states of a symbol that is not followed.
func TestBrowserRefused(t *testing.T) {
	short.Skip(t)
	b := openBrowser(t)
	p := newPipeline(t, nil)
	b.do(chromedp.Navigate(p.url + "/#NOSUCH"))
	b.until(`document.getElementById('link').textContent === '"NOSUCH" is not followed'`)
	b.do(chromedp.Evaluate[chromedp.Void]("location.hash = 'ETHUSDT'"))
	b.until("document.getElementById('state').textContent === 'synced' && document.getElementById('symbol').textContent === 'ETHUSDT'")
}
