package page_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/marketprism/page"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// screenshots is the folder for pictures of the page; git ignores it.
const screenshots = "../../../bin"

// A browser is one tab of a headless Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no Chromium on PATH, and CI may not leave the page's test out")
		}
		t.Skip("there is no Chromium on PATH: install the package chromium to test the page in a browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.Flag("no-sandbox", true), chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	return &browser{t: t, ctx: ctx}
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, steps...))
}

// eval returns the value of a script's expression in the page.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return v
}

func (b *browser) text(id string) string {
	b.t.Helper()
	return eval[string](b, "document.getElementById('"+id+"').textContent")
}

// until blocks until an expression is true in the page.
func (b *browser) until(expression string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return eval[bool](b, expression) }, 20*time.Second, 20*time.Millisecond, expression)
}

func (b *browser) keep(name string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	require.NoError(b.t, os.MkdirAll(screenshots, 0o755))
	file := filepath.Join(screenshots, name)
	require.NoError(b.t, os.WriteFile(file, picture, 0o644))
	b.t.Logf("a picture of the page is at %s", file)
}

// ladder reads a ladder from the page: price and quantity of each row, from the top of the page down.
func (b *browser) ladder(side string) [][2]string {
	b.t.Helper()
	return eval[[][2]string](b, "[...document.querySelectorAll('#"+side+" tbody tr')].map(r => [r.cells[0].textContent, r.cells[1].textContent])")
}

// shows compares the page's ladder with the library's best 15 levels.
func (b *browser) shows(book *orderbook.Book) {
	b.t.Helper()
	require.Equal(b.t, strconv.FormatInt(book.LastID(), 10), b.text("lastid"))
	require.Equal(b.t, side(book.AppendBids(nil, 15)), b.ladder("bids"))
	asks := side(book.AppendAsks(nil, 15)) // best at the bottom, next to the bids
	for i, j := 0, len(asks)-1; i < j; i, j = i+1, j-1 {
		asks[i], asks[j] = asks[j], asks[i]
	}
	require.Equal(b.t, asks, b.ladder("asks"))
}

// TestBrowser uses the page in a browser: with the keyboard, on a phone, in dark mode.
func TestBrowser(t *testing.T) {
	short.Skip(t)
	b := openBrowser(t)
	var store page.Archive
	withArchive := archive(t)
	p := newPipeline(t, func(p *pipeline, cfg *page.Config) { withArchive(p, cfg); store = cfg.Archive })
	p.move(t)
	b.do(chromedp.EmulateViewport(1440, 900), chromedp.Navigate(p.url+"/"))

	// The page changes, and at rest it equals the library's book.
	b.until("document.getElementById('link').dataset.state === 'good' && document.querySelectorAll('#symbols li').length === 2")
	seen := b.text("lastid")
	b.until("document.getElementById('lastid').textContent !== '" + seen + "' && document.querySelectorAll('#trades tbody tr').length > 3")
	b.do(chromedp.KeyEvent(kb.ArrowDown)) // arrow down: the next symbol
	b.until("document.getElementById('symbol').textContent === 'ETHUSDT' && location.hash === '#ETHUSDT'")
	time1 := time.Now()
	b.until("document.querySelectorAll('#bids tbody tr').length === 15")
	p.atRest(t, b, "ETHUSDT", b.shows)
	require.Equal(t, "1 of 1", b.text("health-exchange"))
	require.Equal(t, "12,345", b.text("health-stored"))
	b.until(painted("depth") + "&&" + painted("midchart") + "&&" + painted("spreadchart"))
	b.keep("page-light.png")

	// The slider shows a past book, Escape the live one.
	b.do(chromedp.Evaluate[chromedp.Void](`{ const e = document.getElementById("exact");
		e.step = "any"; e.value = "` + time1.Format("2006-01-02T15:04:05.000") + `"; e.dispatchEvent(new Event("change")); }`))
	b.until("document.getElementById('state').textContent === 'archive' && document.getElementById('lastid').textContent !== '–'")
	past, err := store.BookAt(t.Context(), instrument("ETHUSDT"), time1.Truncate(time.Millisecond))
	require.NoError(t, err)
	b.shows(past)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until("document.getElementById('state').textContent === 'synced'")
	b.do(chromedp.Evaluate[chromedp.Void](`{ const e = document.getElementById("past"); e.value = 0; e.dispatchEvent(new Event("input")); }`))
	b.until("document.getElementById('notice').textContent.includes('no snapshot') && document.body.dataset.stale === 'true'")
	b.do(chromedp.Click("#live"))
	b.until("document.getElementById('state').textContent === 'synced'")

	// A phone in dark mode: nothing is wider than the screen.
	b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	b.dark()
	b.until("document.documentElement.scrollWidth <= innerWidth && getComputedStyle(document.body).backgroundColor === 'rgb(18, 21, 27)'")
	b.keep("page-phone-dark.png")
	b.do(chromedp.EmulateViewport(1440, 900))
	b.keep("page-dark.png")

	// The page shows at once that its connection is cut, and that it is back.
	p.exchange.RejectStreams(1_000_000, http.StatusServiceUnavailable)
	p.exchange.Disconnect(1001, "going away")
	b.until("document.getElementById('state').dataset.state === 'bad' && document.getElementById('health-exchange').textContent === '0 of 1'" +
		" && document.getElementById('link').dataset.state === 'bad' && document.getElementById('link').textContent === 'no word from the exchange'" +
		" && document.querySelectorAll('#symbols li[data-state=synced]').length === 0 && !document.getElementById('notice').hidden")
	b.keep("page-cut.png")
	p.exchange.RejectStreams(0, 0)
	b.until("document.getElementById('state').textContent === 'synced' && document.getElementById('health-exchange').textContent === '1 of 1' && document.getElementById('link').textContent === 'live'")
	require.Empty(t, eval[[]string](b, "performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin))"), "something came from elsewhere")
}

// atRest stops the exchange, waits until the page shows the symbol's last state, and calls check.
func (p *pipeline) atRest(t *testing.T, b *browser, symbol string, check func(*orderbook.Book)) {
	t.Helper()
	p.moving.Lock()
	defer p.moving.Unlock()
	p.exchange.Tick()
	want, err := p.exchange.Book(symbol)
	require.NoError(t, err)
	b.until("document.getElementById('lastid').textContent === '" + strconv.FormatInt(want.LastID, 10) + "'")
	require.NoError(t, p.books.View(symbol, func(book *orderbook.Book, _ binance.Status) { check(book) }))
}

// painted is an expression that reports whether a canvas has more than one colour.
func painted(canvas string) string {
	return `(() => { const c = document.getElementById("` + canvas + `"); if (!c.width) return false;
		const d = new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer);
		return d.some(x => x !== d[0]); })()`
}

// dark sets the system's preference for dark mode.
func (b *browser) dark() {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
	})
	require.NoError(b.t, err)
}
