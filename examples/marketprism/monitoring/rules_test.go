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

// killMutants has promtool test all mutants at once, each with a file of its own.
func (a *Alert) killMutants(t *testing.T, promtool string) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		need(t, os.WriteFile(path, data, 0o600))
		return path
	}
	write("recording.yml", encode(ruleFile{[]ruleGroup{recordingRules(recordingGroup, "15s", a.recordings())}}))
	args := []string{"test", "rules"}
	for i, m := range a.mutants() {
		rules := fmt.Sprintf("alerts_%d.yml", i)
		write(rules, encode(alertRules([]Alert{m.alert})))
		args = append(args, write(fmt.Sprintf("tests_%d.yml", i), encode(unitTests([]Alert{*a}, "recording.yml", rules))))
	}
	out, err := run(t, promtool, args...)
	if err == nil {
		t.Fatalf("no test fails with any of %d mutants", len(args)-2)
	}
	results := strings.Split(out, "Unit Testing:")[1:]
	if len(results) != len(a.mutants()) {
		t.Fatalf("%d results of %d mutants:\n%s", len(results), len(a.mutants()), out)
	}
	for i, m := range a.mutants() {
		switch {
		case !strings.Contains(results[i], "FAILED"):
			t.Errorf("mutant %d, %s: no test fails", i, m.what)
		case !strings.Contains(results[i], "got:"):
			t.Errorf("mutant %d, %s, is no rule:\n%s", i, m.what, results[i])
		}
	}
}

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
