package monitoring

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// UnitTests returns the files below prometheus/rules/tests by their names: one for each step of time,
// since windows of days in steps of seconds take minutes.
func UnitTests() map[string][]byte {
	all := make(map[string][]Alert)
	for _, a := range append(Alerts(), watchdog()) {
		name := "alerts"
		if isOfBudget(a) {
			name = "budgets"
		}
		name += "_" + duration(a.step()) + ".yml"
		all[name] = append(all[name], a)
	}
	files := make(map[string][]byte)
	for name, alerts := range all {
		rules, _, _ := strings.Cut(name, "_")
		files[name] = encode(unitTests(alerts, "../recording.yml", "../"+rules+".yml"))
	}
	return files
}

// unitTests returns for each alert, all of one step, that it fires as soon as it has to and what it says
// then, that it is pending one evaluation before, and that it is quiet just inside each limit.
func unitTests(alerts []Alert, files ...string) testFile {
	file := testFile{RuleFiles: files, Interval: duration(alerts[0].step()), Order: []string{recordingGroup, budgetGroup}}
	for _, a := range alerts {
		if group := groupOf(a); !slices.Contains(file.Order, group) {
			file.Order = append(file.Order, group)
		}
		at := a.Since + a.For
		file.Tests = append(file.Tests, a.test("fires", a.Fire, at, a.firing()))
		if at > 0 {
			before := a.test("does not fire before its time", a.Fire, at-a.step())
			if a.For > 0 {
				before.Checks = []exprTest{{a.count("pending"), moment(at - a.step()), []sample{{"{}", 1}}}}
			}
			file.Tests = append(file.Tests, before)
		}
		for i, quiet := range a.Quiet {
			file.Tests = append(file.Tests, a.test(fmt.Sprintf("is quiet just inside its limits (%d)", i+1), quiet, at))
		}
	}
	return file
}

func groupOf(a Alert) string { return "marketprism_" + a.Group }

func (a *Alert) count(state string) string {
	return fmt.Sprintf(`count(ALERTS{alertname="%s",alertstate="%s"})`, a.Name, state)
}

// firing is the alert as it arrives once Fire has made it fire.
func (a *Alert) firing() firingAlert {
	labels := a.labels()
	for _, pair := range strings.Split(a.On, ",") {
		if name, value, found := strings.Cut(pair, "="); found {
			labels[name] = strings.Trim(value, `"`)
		}
	}
	return firingAlert{labels, a.annotations(a.Says)}
}

func (a *Alert) test(what string, series []Series, at time.Duration, want ...firingAlert) ruleTest {
	t := ruleTest{Name: a.Name + " " + what, Interval: duration(a.step()), Alerts: []alertTest{{moment(at), a.Name, want}}}
	for _, s := range series {
		t.Series = append(t.Series, testSeries{s.Name, s.Values})
	}
	return t
}

// moment returns a time of a test as promtool reads it.
func moment(at time.Duration) string {
	if at == 0 {
		return "0s"
	}
	return duration(at)
}
