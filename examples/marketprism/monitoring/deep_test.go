package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// deepTool returns the path of a program that has to be built first, which make monitoring-deep does.
func deepTool(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Skipf("%s names no program: make monitoring-deep builds it", variable)
	}
	return path
}

// A loki is a Loki that runs by the configuration that is delivered, at other places.
type loki struct{ url string }

func startLoki(t *testing.T, ctx context.Context, program string) *loki {
	t.Helper()
	text, err := os.ReadFile("loki/loki.yml")
	need(t, err)
	rules, err := filepath.Abs("loki/rules")
	need(t, err)
	addr, grpc := freePort(t), freePort(t)
	port := func(addr string) string { _, port, _ := net.SplitHostPort(addr); return port }
	config := strings.NewReplacer(
		"/var/lib/loki", t.TempDir(), "/etc/loki/rules", rules, "0.0.0.0", "127.0.0.1",
		"http_listen_port: 3100", "http_listen_port: "+port(addr), "grpc_listen_port: 9096", "grpc_listen_port: "+port(grpc),
	).Replace(string(text))
	file := filepath.Join(t.TempDir(), "loki.yml")
	need(t, os.WriteFile(file, []byte(config), 0o600))
	mustRun(t, program, "-config.file="+file, "-verify-config")
	daemon(t, ctx, program, "-config.file="+file)
	l := &loki{"http://" + addr}
	until(t, ctx, "Loki is ready", func() bool { return answers(l.url + "/ready") })
	return l
}

// ask asks Loki and decodes its answer, false while it has none.
func (l *loki) ask(path string, query url.Values, into any) bool {
	response, err := http.Get(l.url + path + "?" + query.Encode()) //nolint:noctx // on loopback
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK && json.NewDecoder(response.Body).Decode(into) == nil
}

// count returns how many lines a query finds in the last hour.
func (l *loki) count(query string) (n int) {
	var answer struct {
		Data struct {
			Result []struct{ Values [][]any }
		}
	}
	now := time.Now()
	if !l.ask("/loki/api/v1/query_range", url.Values{
		"query": {query}, "limit": {"5000"}, "start": {fmt.Sprint(now.Add(-time.Hour).UnixNano())}, "end": {fmt.Sprint(now.Add(time.Minute).UnixNano())},
	}, &answer) {
		return -1
	}
	for _, stream := range answer.Data.Result {
		n += len(stream.Values)
	}
	return n
}

// What the program logs goes through the OpenTelemetry collector into Loki, by the configurations that are
// delivered, and is found there by the keys that people search for; Loki has the rules and runs them.
func TestLogsInLoki(t *testing.T) {
	lokiProgram, collector := deepTool(t, "LOKI"), deepTool(t, "OTELCOL")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	l := startLoki(t, ctx, lokiProgram)

	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	until(t, ctx, "Loki tells its rules", func() bool {
		return l.ask("/prometheus/api/v1/rules", nil, &rules) && len(rules.Data.Groups) > 0
	})
	names := ""
	for _, r := range rules.Data.Groups[0].Rules {
		names += r.Name + " "
		if r.Health == "err" {
			t.Errorf("%s: %s", r.Name, r.LastError)
		}
	}
	if names != "LogPanic ErrorLogBurst " {
		t.Errorf("Loki has the rules %q", names)
	}

	logs := t.TempDir()
	text, err := os.ReadFile("otelcol/otelcol.yaml")
	need(t, err)
	config := filepath.Join(t.TempDir(), "otelcol.yaml")
	need(t, os.WriteFile(config, []byte(strings.NewReplacer("/var/log/marketprism", logs, "http://loki:3100", l.url).Replace(string(text))), 0o600))
	mustRun(t, collector, "validate", "--config="+config)
	daemon(t, ctx, collector, "--config="+config)

	program := filepath.Join(t.TempDir(), "marketprism")
	mustRun(t, "go", "build", "-buildvcs=false", "-o", program, "..")
	out := mustRun(t, program, "run", "--for", "3s", "--symbols", "BTCUSDT,ETHUSDT", "--health-listen", "", "--page-listen", "", "--log-level", "debug")
	var written, books int
	var lines strings.Builder
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "{") {
			lines.WriteString(line)
			written++
			if strings.Contains(line, `"component":"collector"`) && strings.Contains(line, `"symbol":"BTCUSDT"`) {
				books++
			}
		}
	}
	if books == 0 {
		t.Fatalf("nothing of BTCUSDT in %d lines", written)
	}
	need(t, os.WriteFile(filepath.Join(logs, "marketprism.log"), []byte(lines.String()), 0o600))

	all := `{service_name="marketprism"}`
	until(t, ctx, fmt.Sprintf("Loki has all %d lines", written), func() bool { return l.count(all) == written })
	if n := l.count(all + ` | component="collector" | symbol="BTCUSDT"`); n != books {
		t.Errorf("%d of %d lines are found by component and symbol", n, books)
	}
	if n := l.count(all + ` | detected_level="info"`); n < 1 {
		t.Errorf("%d lines by level", n)
	}
	var labels struct{ Data []string }
	if !l.ask("/loki/api/v1/labels", nil, &labels) || len(labels.Data) > 3 {
		t.Errorf("index labels: %v", labels.Data)
	}
}
