package monitoring

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// The files as Prometheus and promtool read them.
type (
	ruleFile struct {
		Groups []ruleGroup `yaml:"groups"`
	}
	ruleGroup struct {
		Name     string `yaml:"name"`
		Interval string `yaml:"interval,omitempty"`
		Rules    []rule `yaml:"rules"`
	}
	rule struct {
		Record      string            `yaml:"record,omitempty"`
		Alert       string            `yaml:"alert,omitempty"`
		Expr        string            `yaml:"expr"`
		For         string            `yaml:"for,omitempty"`
		Labels      map[string]string `yaml:"labels,omitempty"`
		Annotations map[string]string `yaml:"annotations,omitempty"`
	}
	testFile struct {
		RuleFiles []string   `yaml:"rule_files"`
		Interval  string     `yaml:"evaluation_interval"`
		Tests     []ruleTest `yaml:"tests"`
	}
	ruleTest struct {
		Name     string       `yaml:"name"`
		Interval string       `yaml:"interval"`
		Series   []testSeries `yaml:"input_series"`
		Checks   []exprTest   `yaml:"promql_expr_test"`
	}
	testSeries struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	exprTest struct {
		Expr string   `yaml:"expr"`
		At   string   `yaml:"eval_time"`
		Want []sample `yaml:"exp_samples,omitempty"`
	}
	sample struct {
		Labels string  `yaml:"labels"`
		Value  float64 `yaml:"value"`
	}
)

const made = "# Made by package monitoring: go test ./examples/marketprism/monitoring -update writes it anew.\n"

// encode returns YAML with the note who has made it.
func encode(v any) []byte {
	var b bytes.Buffer
	b.WriteString(made)
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		panic(err) // of structs of strings
	}
	return b.Bytes()
}

// RecordingFile returns prometheus/rules/recording.yml.
func RecordingFile() []byte {
	group := ruleGroup{Name: "marketprism_recording", Interval: "15s"}
	for _, r := range Recordings() {
		group.Rules = append(group.Rules, rule{Record: r.Name, Expr: r.Expr})
	}
	return encode(ruleFile{[]ruleGroup{group}})
}

// AlertFile returns prometheus/rules/alerts.yml.
func AlertFile() []byte { return encode(alertRules(Alerts())) }

func alertRules(alerts []Alert) ruleFile {
	var file ruleFile
	for _, a := range alerts {
		name := "marketprism_" + a.Group
		if n := len(file.Groups); n == 0 || file.Groups[n-1].Name != name {
			file.Groups = append(file.Groups, ruleGroup{Name: name})
		}
		g := &file.Groups[len(file.Groups)-1]
		g.Rules = append(g.Rules, rule{
			Alert: a.Name, Expr: a.PromQL(), For: duration(a.For),
			Labels:      map[string]string{"severity": a.Severity, "component": a.Group},
			Annotations: map[string]string{"summary": a.Summary, "runbook": a.anchor(), "dashboard": "/d/" + a.Board},
		})
	}
	file.Groups = append(file.Groups, ruleGroup{Name: "marketprism_watchdog", Rules: []rule{{
		Alert: "Watchdog", Expr: "vector(1)",
		Labels:      map[string]string{"severity": "none", "component": "meta"},
		Annotations: map[string]string{"summary": "Always fires: its absence at the receiver means that alerts do not arrive", "runbook": "docs/runbooks.md#watchdog"},
	}}})
	return file
}

// duration returns a duration as Prometheus has it; "" for 0.
func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// TestFile returns prometheus/rules/tests/alerts.yml.
func TestFile() []byte {
	return encode(unitTests(Alerts(), "../recording.yml", "../alerts.yml"))
}

// unitTests returns for each alert that it fires as soon as it has to and not one evaluation before,
// and that it is quiet just inside each limit.
func unitTests(alerts []Alert, files ...string) testFile {
	file := testFile{RuleFiles: files, Interval: duration(step)}
	for _, a := range alerts {
		at := a.Since + a.For
		fires := at
		if strings.Contains(a.Expr, ":marketprism_") {
			fires += step // promtool evaluates groups in any order, and so may record after the alert has looked
		}
		file.Tests = append(file.Tests, a.test("fires", a.Fire, fires, true))
		if at > 0 {
			file.Tests = append(file.Tests, a.test("does not fire before its time", a.Fire, at-step, false))
		}
		for i, quiet := range a.Quiet {
			file.Tests = append(file.Tests, a.test(fmt.Sprintf("is quiet just inside its limits (%d)", i+1), quiet, at, false))
		}
	}
	return file
}

func (a *Alert) test(what string, series []Series, at time.Duration, fires bool) ruleTest {
	check := exprTest{Expr: fmt.Sprintf(`count(ALERTS{alertname="%s",alertstate="firing"})`, a.Name), At: at.String()}
	if at == 0 {
		check.At = "0s"
	}
	if fires {
		check.Want = []sample{{"{}", 1}}
	}
	t := ruleTest{Name: a.Name + " " + what, Interval: duration(step), Checks: []exprTest{check}}
	for _, s := range series {
		t.Series = append(t.Series, testSeries{s.Name, s.Values})
	}
	return t
}

// Files returns every file that this package makes, by its path below the folder of the example.
func Files() map[string][]byte {
	files := map[string][]byte{
		"monitoring/prometheus/rules/recording.yml":    RecordingFile(),
		"monitoring/prometheus/rules/alerts.yml":       AlertFile(),
		"monitoring/prometheus/rules/tests/alerts.yml": TestFile(),
	}
	for _, b := range Boards() {
		files["monitoring/grafana/dashboards/"+b.UID+".json"] = b.JSON()
	}
	files["monitoring/prometheus/prometheus.debian.yml"] = debian(prometheusConfig)
	return files
}

//go:embed prometheus/prometheus.yml
var prometheusConfig []byte

// debian returns prometheus.yml without what Prometheus 2.42, Debian's, refuses: the keys of native histograms.
func debian(config []byte) []byte {
	var b bytes.Buffer
	for line := range strings.Lines(string(config)) {
		if key := strings.TrimSpace(line); strings.HasPrefix(key, "scrape_native_histograms:") || strings.HasPrefix(key, "always_scrape_classic_histograms:") {
			continue
		}
		b.WriteString(line)
	}
	return b.Bytes()
}
