package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/examples/marketprism/gate"
)

// A Door is an http.Handler that serves the page of a program that has just started. Until Open it says what the program
// waits for; then it gives requests to the Page, to which pages that are open go over. It is safe for concurrent use.
type Door struct {
	source  string
	handler http.Handler

	waiting atomic.Pointer[string]
	once    sync.Once
	page    *Page // once opened is closed
	opened  chan struct{}
}

// NewDoor returns a closed Door. source is Config.Source.
func NewDoor(cfg gate.Config, source string) *Door {
	d := &Door{source: source, opened: make(chan struct{})}
	d.Wait("the program to start")
	mux := http.NewServeMux()
	mux.Handle("GET /", static())
	mux.HandleFunc("GET /api/live", d.serveWaiting)
	mux.HandleFunc("GET /api/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the program is starting", http.StatusServiceUnavailable)
	})
	d.handler = gate.New(cfg, mux)
	return d
}

// Wait sets what the program waits for.
func (d *Door) Wait(what string) { d.waiting.Store(&what) }

// Open makes the Door give requests to p. Further calls have no effect.
func (d *Door) Open(p *Page) {
	d.once.Do(func() {
		d.page = p
		close(d.opened)
	})
}

// ServeHTTP answers GET and HEAD requests that pass the gate.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-d.opened:
		d.page.ServeHTTP(w, r)
	default:
		w.Header().Set("Content-Security-Policy", policy)
		d.handler.ServeHTTP(w, r)
	}
}

// waitRefresh is the interval of a waitState.
const waitRefresh = 250 * time.Millisecond

// A waitState is sent to a viewer in place of a liveState.
type waitState struct {
	Time    time.Time `json:"time"` // local clock of the server
	Source  string    `json:"source,omitempty"`
	Waiting string    `json:"waiting"` // what the program waits for
}

// serveWaiting sends what the program waits for, and once the Door is open the states of its Page.
func (d *Door) serveWaiting(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the server's is for requests
	tick := time.NewTicker(waitRefresh)
	defer tick.Stop()
	for {
		text, err := json.Marshal(waitState{time.Now().UTC(), d.source, *d.waiting.Load()})
		if err != nil {
			return // a text and a time can be represented
		}
		_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second)) // a server without deadlines falls back to the kernel's
		if _, err := fmt.Fprintf(w, stateFormat, text); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-d.opened:
			if symbol := r.FormValue("symbol"); symbol == "" || d.page.follows(symbol) {
				d.page.serveLive(w, r)
			}
			return // asked again, it is refused with the reason
		case <-r.Context().Done():
			return
		}
	}
}
