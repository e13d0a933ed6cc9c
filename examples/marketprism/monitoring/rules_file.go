package monitoring

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
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
	// The form of promtool test rules, see Prometheus, "Unit testing for rules".
	testFile struct {
		RuleFiles []string   `yaml:"rule_files"`
		Interval  string     `yaml:"evaluation_interval"`
		Order     []string   `yaml:"group_eval_order"` // or promtool takes any
		Tests     []ruleTest `yaml:"tests"`
	}
	ruleTest struct {
		Name     string       `yaml:"name"`
		Interval string       `yaml:"interval"`
		Series   []testSeries `yaml:"input_series"`
		Alerts   []alertTest  `yaml:"alert_rule_test"`
		Checks   []exprTest   `yaml:"promql_expr_test,omitempty"`
	}
	testSeries struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	alertTest struct {
		At   string        `yaml:"eval_time"`
		Name string        `yaml:"alertname"`
		Want []firingAlert `yaml:"exp_alerts,omitempty"`
	}
	firingAlert struct {
		Labels      map[string]string `yaml:"exp_labels"`
		Annotations map[string]string `yaml:"exp_annotations"`
	}
	exprTest struct {
		Expr string   `yaml:"expr"`
		At   string   `yaml:"eval_time"`
		Want []sample `yaml:"exp_samples"`
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

// The groups of recording rules, which come before those of the alerts.
const (
	recordingGroup = "marketprism_recording"
	budgetGroup    = "marketprism_recording_budgets"
)

// RecordingFile returns prometheus/rules/recording.yml.
func RecordingFile() []byte {
	return encode(ruleFile{[]ruleGroup{recordingRules(recordingGroup, "15s", Recordings())}})
}

func recordingRules(name, interval string, rules []Recording) ruleGroup {
	group := ruleGroup{Name: name, Interval: interval}
	for _, r := range rules {
		group.Rules = append(group.Rules, rule{Record: r.Name, Expr: r.Expr})
	}
	return group
}

// AlertFile returns prometheus/rules/alerts.yml.
func AlertFile() []byte {
	return encode(alertRules(slices.DeleteFunc(append(Alerts(), watchdog()), isOfBudget)))
}

// BudgetFile returns prometheus/rules/budgets.yml: the alerts of the service levels and what they need.
func BudgetFile() []byte {
	file := alertRules(slices.DeleteFunc(Alerts(), func(a Alert) bool { return !isOfBudget(a) }))
	file.Groups = append([]ruleGroup{recordingRules(budgetGroup, "1m", BudgetRecordings())}, file.Groups...)
	return encode(file)
}

func isOfBudget(a Alert) bool { return a.Group == "slo" }

func alertRules(alerts []Alert) ruleFile {
	var file ruleFile
	for _, a := range alerts {
		name := groupOf(a)
		if n := len(file.Groups); n == 0 || file.Groups[n-1].Name != name {
			file.Groups = append(file.Groups, ruleGroup{Name: name})
		}
		g := &file.Groups[len(file.Groups)-1]
		g.Rules = append(g.Rules, rule{Alert: a.Name, Expr: a.PromQL(), For: duration(a.For), Labels: a.labels(), Annotations: a.annotations(a.Summary)})
	}
	return file
}

// duration returns a duration as Prometheus has it; "" for 0.
func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// Files returns every file that this package makes, by its path below the folder of the example.
func Files() map[string][]byte {
	files := map[string][]byte{
		"monitoring/prometheus/rules/recording.yml": RecordingFile(),
		"monitoring/prometheus/rules/alerts.yml":    AlertFile(),
		"monitoring/prometheus/rules/budgets.yml":   BudgetFile(),
	}
	for name, tests := range UnitTests() {
		files["monitoring/prometheus/rules/tests/"+name] = tests
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
