package monitoring

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
		if a.Severity != critical && a.Severity != warning || a.Summary == "" {
			t.Errorf("%s: severity %q, summary %q", a.Name, a.Severity, a.Summary)
		}
	}
	if len(seen) < 51 {
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
	for _, a := range Alerts() {
		alerts = append(alerts, a.Name)
	}
	alerts = append(alerts, "Watchdog")
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
	slow(t)
	mustRun(t, promtool, "check", "rules", "prometheus/rules/recording.yml", "prometheus/rules/alerts.yml")
	mustRun(t, promtool, "test", "rules", "prometheus/rules/tests/alerts.yml")
}

// A test that cannot fail says nothing: with a limit halved or doubled, or without its for, at least
// one unit test of the alert has to fail.
func TestMutations(t *testing.T) {
	promtool := tool(t, "promtool")
	slow(t)
	var tried int
	var waiting sync.WaitGroup
	turns := make(chan struct{}, 2)
	for _, a := range Alerts() {
		for i, m := range a.mutants() {
			tried++
			dir := filepath.Join(t.TempDir(), a.Name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			write := func(name string, data []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
				return path
			}
			write("recording.yml", RecordingFile())
			write("alerts.yml", encode(alertRules([]Alert{m.alert})))
			tests := write("tests.yml", encode(unitTests([]Alert{a}, "recording.yml", "alerts.yml")))
			waiting.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				// Promtool evaluates the groups of a moment in no fixed order, so that a recorded ratio may be one
				// evaluation old: a mutant has to survive three runs to count.
				out, err := run(t, promtool, "test", "rules", tests)
				for again := 0; err == nil && again < 2; again++ {
					out, err = run(t, promtool, "test", "rules", tests)
				}
				switch {
				case err == nil:
					t.Errorf("%s, mutant %d, %s: no test fails", a.Name, i, m.what)
				case !strings.Contains(out, "FAILED"):
					t.Errorf("%s, %s: the mutant is no rule:\n%s", a.Name, m.what, out)
				}
			})
		}
	}
	waiting.Wait()
	t.Logf("%d mutants of %d alerts", tried, len(Alerts()))
}
