package monitoring

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// The severities.
const (
	critical = "critical" // pages somebody
	warning  = "warning"  // is for working hours
)

// An Alert is a rule with what its tests need.
type Alert struct {
	Group    string
	Name     string
	Expr     string // with {0}, {1} in the place of the Limits
	Limits   []Limit
	For      time.Duration
	Severity string
	Summary  string
	Board    string // uid of the dashboard that shows it

	Fire  []Series      // the fault, just beyond the limits
	Since time.Duration // from when on the fault fulfils the expression
	On    string        // the labels of the alert that the fault causes, as in a selector
	Says  string        // its summary
	Quiet [][]Series    // health, just inside one limit each
	Step  time.Duration // between two samples and two evaluations of the unit tests; 0 means 15 s
}

// A Limit is a number that the expression compares with.
type Limit struct {
	Value float64
	Step  float64 // how far a Limit of 0 is moved by the mutation; 0 means 1
}

// Series are the samples of one series, one each Step, in promtool's notation.
type Series struct{ Name, Values string }

// step is the time between two samples and two evaluations, unless an alert has its own.
const step = 15 * time.Second

func (a *Alert) step() time.Duration { return cmp.Or(a.Step, step) }

func limits(values ...float64) (all []Limit) {
	for _, v := range values {
		all = append(all, Limit{Value: v})
	}
	return all
}

// PromQL returns the expression with its limits in place.
func (a *Alert) PromQL() string { return a.promQL(a.Limits) }

func (a *Alert) promQL(limits []Limit) string {
	expr := a.Expr
	for i, l := range limits {
		expr = strings.ReplaceAll(expr, fmt.Sprintf("{%d}", i), number(l.Value))
	}
	return expr
}

func number(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.10g", v), ".0") }

// mutants returns the alert with each limit halved and doubled, or moved up and down if it is 0,
// without its for, and without one of the conditions that have to hold together. An alert that has
// nothing of these has its comparison turned round. A test has to notice each.
func (a *Alert) mutants() (all []mutant) {
	for i, l := range a.Limits {
		low, high := l.Value*0.5, l.Value*2
		if l.Value == 0 {
			by := l.Step
			if by == 0 {
				by = 1
			}
			low, high = -by, by
		}
		for _, v := range []float64{low, high} {
			changed := append([]Limit(nil), a.Limits...)
			changed[i].Value = v
			m := *a
			m.Expr, m.Limits = a.promQL(changed), nil
			all = append(all, mutant{fmt.Sprintf("limit %s is %s", number(l.Value), number(v)), m})
		}
	}
	if a.For > 0 {
		m := *a
		m.For = 0
		all = append(all, mutant{"without for", m})
	}
	if conditions := strings.Split(a.PromQL(), " and "); len(conditions) == 2 {
		for i, alone := range conditions {
			m := *a
			m.Expr, m.Limits = strings.TrimPrefix(alone, "on (stream, consumer) "), nil
			m.Expr = strings.TrimPrefix(m.Expr, "on () ")
			all = append(all, mutant{fmt.Sprintf("condition %d alone", i+1), m})
		}
	}
	if len(all) == 0 {
		m := *a
		m.Expr = strings.Replace(a.Expr, " > ", " < ", 1)
		all = append(all, mutant{"turned round", m})
	}
	return all
}

type mutant struct {
	what  string
	alert Alert
}
