package monitoring

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/examples/marketprism/metrics"
)

// What a linter of dashboards asks for.
func TestBoards(t *testing.T) {
	uids := make(map[string]bool)
	for _, b := range Boards() {
		if uids[b.UID] || b.Title == "" {
			t.Errorf("board %q: uid used twice, or no title", b.UID)
		}
		uids[b.UID] = true
		for _, p := range b.Panels {
			at := b.UID + ": " + p.Title
			if p.Title == "" || p.Unit == "" || !strings.HasSuffix(p.Help, ".") && p.Kind != "logs" || len(p.Queries) == 0 {
				t.Errorf("%s: want a title, a unit, a description and a query", at)
			}
			for _, q := range p.Queries {
				checkQuery(t, at, p.Kind, q.Expr)
			}
		}
		checkJSON(t, b)
	}
	if len(uids) != 9 {
		t.Errorf("%d dashboards, want 9", len(uids))
	}
	for _, a := range Alerts() {
		if !uids[strings.TrimPrefix(a.Board, "marketprism-")] {
			t.Errorf("%s links to the dashboard %s, which does not exist", a.Name, a.Board)
		}
	}
}

// Counters only under rate or increase, windows by variable, and names that exist.
func checkQuery(t *testing.T, at, kind, expr string) {
	t.Helper()
	if kind == "logs" {
		if !strings.HasPrefix(expr, `{service_name="marketprism"}`) {
			t.Errorf("%s: %s reads all logs", at, expr)
		}
		return
	}
	for _, m := range regexp.MustCompile(`rate\([^\[]*\[([^\]]*)\]`).FindAllStringSubmatch(expr, -1) {
		if m[1] != "$__rate_interval" && m[1] != "30d" {
			t.Errorf("%s: rate over %s, want $__rate_interval, or 30d of an objective", at, m[1])
		}
	}
	counter := regexp.MustCompile(`(rate|increase)\(marketprism_\w+(_total|_bucket|_sum|_count)\b`)
	if left := counter.ReplaceAllString(expr, ""); regexp.MustCompile(`(^|[^:\w])marketprism_\w+(_total|_bucket|_sum|_count)\b`).MatchString(left) {
		t.Errorf("%s: a counter without rate or increase in %s", at, expr)
	}
	for _, name := range regexp.MustCompile(`marketprism_\w+`).FindAllString(expr, -1) {
		if !known(name) && !strings.Contains(expr, ":"+name) {
			t.Errorf("%s: there is no metric %s", at, name)
		}
	}
}

func known(name string) bool {
	for _, n := range metrics.PromQLNames() {
		if n == name {
			return true
		}
	}
	return false
}

// checkJSON looks at what Grafana gets: unique ids, panels that do not overlap, no data source by name.
func checkJSON(t *testing.T, b Board) {
	t.Helper()
	var board struct {
		UID      string
		Editable bool
		Panels   []struct {
			ID      int
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Datasource struct{ UID string } }
		}
	}
	if err := json.Unmarshal(b.JSON(), &board); err != nil {
		t.Fatal(err)
	}
	if board.Editable || board.UID != "marketprism-"+b.UID {
		t.Errorf("%s is editable, or has the uid %s", b.UID, board.UID)
	}
	taken := make(map[string]int)
	for _, p := range board.Panels {
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				at := fmt.Sprint(x, " ", y)
				if x >= 24 || taken[at] != 0 {
					t.Fatalf("%s: panels %d and %d overlap, or one sticks out", b.UID, taken[at], p.ID)
				}
				taken[at] = p.ID
			}
		}
		for _, q := range p.Targets {
			if !strings.HasPrefix(q.Datasource.UID, "${") {
				t.Errorf("%s, panel %d: data source %s by name", b.UID, p.ID, q.Datasource.UID)
			}
		}
	}
}
