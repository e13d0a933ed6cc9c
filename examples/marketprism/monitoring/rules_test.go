package monitoring

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestAlertTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, a := range Alerts() {
		if seen[a.Name] {
			t.Errorf("%s occurs twice", a.Name)
		}
		seen[a.Name] = true
		if strings.Contains(a.PromQL(), "{0}") || strings.Contains(a.PromQL(), "{1}") {
			t.Errorf("%s: a limit is missing in %s", a.Name, a.PromQL())
		}
		if len(a.Fire) == 0 || len(a.Quiet) < len(a.Limits)-1 || len(a.Quiet) == 0 {
			t.Errorf("%s has no series that fire, or too few that are quiet", a.Name)
		}
		if a.Says == "" {
			t.Errorf("%s: the unit test does not say what arrives", a.Name)
		}
		for name := range a.labels() {
			if regexp.MustCompile(`\bby \([^)]*\b` + name + `\b|\b` + name + `=`).MatchString(a.PromQL()) {
				t.Errorf("%s: the rule puts its label %s in the place of that of its series", a.Name, name)
			}
		}
		if a.Severity != critical && a.Severity != warning || a.Summary == "" {
			t.Errorf("%s: severity %q, summary %q", a.Name, a.Severity, a.Summary)
		}
	}
	if len(seen) < 61 {
		t.Errorf("only %d alerts", len(seen))
	}
	if a := Alerts()[0]; a.PromQL() != "marketprism_collector_connection_status == 0" || a.For != 5*minute {
		t.Errorf("the alert of the original system is %s for %v", a.PromQL(), a.For)
	}
}

// Every alert has a section in the runbooks, and every section is of an alert.
func TestRunbooks(t *testing.T) {
	text, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	var headings, alerts []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "### "); ok {
			headings = append(headings, name)
		}
	}
	for _, a := range append(Alerts(), watchdog()) {
		alerts = append(alerts, a.Name)
	}
	for _, name := range alerts {
		if !slices.Contains(headings, name) {
			t.Errorf("no section of %s", name)
		}
	}
	for _, name := range headings {
		if !slices.Contains(alerts, name) {
			t.Errorf("section %s is of no alert", name)
		}
	}
}

func TestPromtoolRules(t *testing.T) {
	promtool := tool(t, "promtool")
	mustRun(t, promtool, "check", "rules", "prometheus/rules/recording.yml", "prometheus/rules/alerts.yml", "prometheus/rules/budgets.yml")
	slow(t)
	for name := range UnitTests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mustRun(t, promtool, "test", "rules", "prometheus/rules/tests/"+name)
		})
	}
}

// With a limit halved or doubled, without its for, or without one of its conditions, at least one unit test of the alert
// must fail.
func TestMutations(t *testing.T) {
	promtool := tool(t, "promtool")
	slow(t)
	var tried atomic.Int64
	t.Run("alerts", func(t *testing.T) {
		for _, a := range Alerts() {
			t.Run(a.Name, func(t *testing.T) {
				t.Parallel()
				tried.Add(int64(len(a.mutants())))
				a.killMutants(t, promtool)
			})
		}
	})
	t.Logf("%d mutants of %d alerts", tried.Load(), len(Alerts()))
}

// killMutants has promtool test all mutants at once: each has a name of its own, and they share the series.
func (a *Alert) killMutants(t *testing.T, promtool string) {
	mutants := a.mutants()
	var rules []Alert
	var tests testFile
	for i, m := range mutants {
		original := *a
		original.Name = mutantName(a, i)
		m.alert.Name = original.Name
		rules = append(rules, m.alert)
		file := unitTests([]Alert{original}, "recording.yml", "alerts.yml")
		if i == 0 {
			tests = file
			continue
		}
		for n := range tests.Tests { // the same series for each
			tests.Tests[n].Alerts = append(tests.Tests[n].Alerts, file.Tests[n].Alerts...)
			tests.Tests[n].Checks = append(tests.Tests[n].Checks, file.Tests[n].Checks...)
		}
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		need(t, os.WriteFile(path, data, 0o600))
		return path
	}
	write("recording.yml", encode(ruleFile{[]ruleGroup{recordingRules(recordingGroup, "15s", a.recordings())}}))
	write("alerts.yml", encode(alertRules(rules)))
	out, err := run(t, promtool, "test", "rules", write("tests.yml", encode(tests)))
	if err == nil {
		t.Fatalf("no test fails with any of %d mutants", len(mutants))
	}
	failures := strings.Split(out, "\n\n")
	for i, m := range mutants {
		name := mutantName(a, i)
		if !slices.ContainsFunc(failures, func(text string) bool {
			ofMutant := strings.Contains(text, "alertname: "+name+",") || strings.Contains(text, `alertname=\"`+name+`\"`)
			return ofMutant && strings.Contains(text, "got:")
		}) {
			t.Errorf("mutant %d, %s: no test fails, or it is no rule:\n%s", i, m.what, out)
		}
	}
}

func mutantName(a *Alert, i int) string { return fmt.Sprintf("%sMutant%d", a.Name, i) }

// recordings returns the recording rules that an alert builds on, what they build on before them.
func (a *Alert) recordings() (all []Recording) {
	text := a.PromQL()
	for _, r := range slices.Backward(slices.Concat(Recordings(), BudgetRecordings())) {
		if strings.Contains(text, r.Name) {
			all = append(all, r)
			text += r.Expr
		}
	}
	slices.Reverse(all)
	return all
}
