package monitoring

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism/examples/marketprism/metrics"
)

// A webhook keeps the notifications of Alertmanager: for each alert the states in order.
type webhook struct {
	mu     sync.Mutex
	states map[string][]string // by path and alert name
}

func (w *webhook) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var message struct {
		Alerts []struct {
			Status string
			Labels map[string]string
		}
	}
	body, _ := io.ReadAll(r.Body)
	if json.Unmarshal(body, &message) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range message.Alerts {
		key := r.URL.Path + " " + a.Labels["alertname"]
		w.states[key] = append(w.states[key], a.Status)
	}
}

func (w *webhook) last(key string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.states[key]); n > 0 {
		return w.states[key][n-1]
	}
	return ""
}

// startAlertmanager starts Debian's Alertmanager with the committed configuration, waits shortened, and
// returns its address.
func startAlertmanager(t *testing.T, ctx context.Context, hook *webhook) string {
	receiver := httptest.NewServer(hook)
	t.Cleanup(receiver.Close)
	config, err := os.ReadFile("alertmanager/alertmanager.yml")
	need(t, err)
	text := strings.ReplaceAll(string(config), "http://127.0.0.1:9087", receiver.URL)
	text = regexp.MustCompile(`group_(wait|interval): \w+`).ReplaceAllString(text, "group_$1: 1s")
	dir, addr := t.TempDir(), freePort(t)
	need(t, os.WriteFile(filepath.Join(dir, "alertmanager.yml"), []byte(text), 0o600))
	daemon(t, ctx, tool(t, "prometheus-alertmanager"), "--config.file="+filepath.Join(dir, "alertmanager.yml"),
		"--storage.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--cluster.listen-address=")
	until(t, ctx, "Alertmanager is ready", func() bool { return answers("http://" + addr + "/-/ready") })
	return addr
}

// startPrometheus starts Debian's Prometheus with the committed rules and the configuration made for
// it: addresses are those of the test, intervals a second, and the for of one alert 2 s.
func startPrometheus(t *testing.T, ctx context.Context, pipeline, alertmanager string) string {
	dir, addr := t.TempDir(), freePort(t)
	config, err := os.ReadFile("prometheus/prometheus.debian.yml")
	need(t, err)
	text := regexp.MustCompile(`(scrape|evaluation)_interval: 15s`).ReplaceAllString(string(config), "${1}_interval: 1s")
	text = strings.NewReplacer("alertmanager:9093", alertmanager, "localhost:9090", addr).Replace(text)
	alerts := slices.DeleteFunc(append(Alerts(), watchdog()), isOfBudget)
	alerts[0].For = 2 * time.Second
	for name, data := range map[string][]byte{
		"prometheus.yml": []byte(text), "rules/recording.yml": bytes.ReplaceAll(RecordingFile(), []byte("interval: 15s"), []byte("interval: 1s")),
		"rules/alerts.yml": encode(alertRules(alerts)), "rules/budgets.yml": bytes.ReplaceAll(BudgetFile(), []byte("interval: 1m"), []byte("interval: 1s")), "targets/marketprism.yml": fmt.Appendf(nil, "- targets: [%q]\n", pipeline),
	} {
		path := filepath.Join(dir, name)
		need(t, os.MkdirAll(filepath.Dir(path), 0o755))
		need(t, os.WriteFile(path, data, 0o600))
	}
	mustRun(t, tool(t, "promtool"), "check", "config", filepath.Join(dir, "prometheus.yml"))
	daemon(t, ctx, tool(t, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--rules.alert.resend-delay=1s")
	until(t, ctx, "Prometheus is ready", func() bool { return answers("http://" + addr + "/-/ready") })
	return addr
}

// query returns how many series a query gives. Its error is what Prometheus says of the query.
func query(addr, expr string) (int, error) {
	response, err := http.Get("http://" + addr + "/api/v1/query?query=" + url.QueryEscape(expr)) //nolint:noctx // on loopback
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	return len(answer.Data.Result), nil
}

// The whole chain with real parts: what is wrong at the exchange arrives at a webhook, and so does its
// end; and every query of every dashboard and rule is answered from the running pipeline.
func TestChain(t *testing.T) {
	slow(t)
	for _, name := range []string{"prometheus", "prometheus-alertmanager", "promtool"} {
		tool(t, name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute) // beside other tests, and the program is built first
	defer cancel()
	hook := &webhook{states: make(map[string][]string)}
	exchange, pipeline := startPipeline(t, ctx)
	alertmanager := startAlertmanager(t, ctx, hook)
	prometheus := startPrometheus(t, ctx, pipeline, alertmanager)

	t.Run("queries", func(t *testing.T) { everyQueryIsAnswered(t, ctx, prometheus) })
	t.Run("catalogue", func(t *testing.T) { exportsCatalogue(t, pipeline) })
	t.Run("watchdog", func(t *testing.T) {
		until(t, ctx, "the watchdog pings", func() bool { return hook.last("/deadman Watchdog") == "firing" })
	})
	t.Run("outage", func(t *testing.T) {
		if state := hook.last("/page ExchangeConnectionDown"); state != "" {
			t.Fatalf("ExchangeConnectionDown is %s before the exchange is cut off", state)
		}
		exchange.RejectStreams(1<<20, http.StatusServiceUnavailable)
		exchange.Disconnect(1001, "cut off")
		until(t, ctx, "ExchangeConnectionDown arrives", func() bool { return hook.last("/page ExchangeConnectionDown") == "firing" })
		exchange.RejectStreams(0, 0)
		until(t, ctx, "ExchangeConnectionDown resolves", func() bool { return hook.last("/page ExchangeConnectionDown") == "resolved" })
	})
	t.Run("inhibition", func(t *testing.T) { inhibits(t, ctx, alertmanager) })
}

// exportsCatalogue looks for every metric of the catalogue in what the program exports.
func exportsCatalogue(t *testing.T, pipeline string) {
	response, err := http.Get("http://" + pipeline + "/metrics") //nolint:noctx // on loopback
	need(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	need(t, err)
	for _, f := range metrics.Catalogue() {
		if !bytes.Contains(text, []byte("# TYPE "+f.Name+" ")) {
			t.Errorf("the program does not export %s", f.Name)
		}
	}
}

// everyQueryIsAnswered waits until each query gives at least one series. Those on what is not part of
// this chain, the host's exporter and Loki, are only parsed.
func everyQueryIsAnswered(t *testing.T, ctx context.Context, prometheus string) {
	queries := make(map[string]bool)
	for _, b := range Boards() {
		for _, p := range b.Panels {
			for _, q := range p.Queries {
				if p.Kind != "logs" {
					queries[concrete(q.Expr)] = true
				}
			}
		}
	}
	for _, r := range slices.Concat(Recordings(), BudgetRecordings()) {
		queries[r.Expr] = true
	}
	selector := regexp.MustCompile(`([a-z_]+:)?marketprism_[a-z0-9_]+(:[a-z0-9_]+)?(\{[^}]*\})?`)
	for _, a := range Alerts() {
		if _, err := query(prometheus, a.PromQL()); err != nil {
			t.Error(err)
		}
		for _, s := range selector.FindAllString(a.PromQL(), -1) {
			queries[s] = true
		}
	}
	elsewhere := regexp.MustCompile(`\b(node|loki)_`)
	waiting, stop := context.WithTimeout(ctx, 3*time.Minute) // the sizes of tables are measured once a minute
	defer stop()
	var asked, parsed int
	for expr := range queries {
		n, err := query(prometheus, expr)
		if err != nil {
			t.Error(err)
			continue
		}
		if elsewhere.MatchString(expr) {
			parsed++
			continue
		}
		asked++
		for n == 0 && waiting.Err() == nil {
			n = again(waiting, prometheus, expr)
		}
		if n == 0 {
			t.Errorf("no series for %s", expr)
		}
	}
	t.Logf("%d queries answered, %d parsed only", asked, parsed)
}

// again asks once more after a moment.
func again(ctx context.Context, prometheus, expr string) int {
	timer := time.NewTimer(250 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	n, _ := query(prometheus, expr) // an error is no series either
	return n
}

// concrete puts values in the place of Grafana's variables.
func concrete(expr string) string {
	return strings.NewReplacer("$__rate_interval", "20s", "$__range", "1m", "$job", ".*", "$instance", ".*", "$exchange", ".*", "$market", ".*").Replace(expr)
}

// inhibits posts an outage and one of its consequences to Alertmanager: the second must be muted.
func inhibits(t *testing.T, ctx context.Context, alertmanager string) {
	const both = `[{"labels":{"alertname":"ExchangeConnectionDown","severity":"critical","exchange":"e","market":"m"}},
		{"labels":{"alertname":"ExchangeFeedStale","severity":"critical","exchange":"e","market":"m"}},
		{"labels":{"alertname":"ExchangeFeedStale","severity":"critical","exchange":"e","market":"other"}}]`
	response, err := http.Post("http://"+alertmanager+"/api/v2/alerts", "application/json", strings.NewReader(both)) //nolint:noctx // on loopback
	need(t, err)
	response.Body.Close()
	muted := func(market string) int {
		response, err := http.Get("http://" + alertmanager + `/api/v2/alerts?filter=` + url.QueryEscape(`market="`+market+`"`) + `&filter=` + url.QueryEscape(`alertname="ExchangeFeedStale"`)) //nolint:noctx // on loopback
		need(t, err)
		defer response.Body.Close()
		var alerts []struct {
			Status struct{ InhibitedBy []string }
		}
		need(t, json.NewDecoder(response.Body).Decode(&alerts))
		if len(alerts) != 1 {
			return -1
		}
		return len(alerts[0].Status.InhibitedBy)
	}
	until(t, ctx, "the consequence of an outage is muted", func() bool { return muted("m") == 1 })
	if n := muted("other"); n != 0 {
		t.Errorf("an alert of another market is muted: %d", n)
	}
}
