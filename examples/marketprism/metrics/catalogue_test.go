package metrics

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

// What prometheus.io/docs/practices/naming asks for, and what the catalogue promises of itself.
func TestCatalogue(t *testing.T) {
	names := make(map[string]bool)
	for _, f := range Catalogue() {
		if names[f.Name] {
			t.Errorf("%s occurs twice", f.Name)
		}
		names[f.Name] = true
		if !regexp.MustCompile(`^marketprism_[a-z0-9_]+$`).MatchString(f.Name) {
			t.Errorf("%s: not a name of ours", f.Name)
		}
		if !strings.HasSuffix(f.Help, ".") || strings.Contains(f.Help, "|") {
			t.Errorf("%s: help %q", f.Name, f.Help)
		}
		base := strings.TrimSuffix(f.Name, "_total")
		if (f.Type == Counter) != (base != f.Name) {
			t.Errorf("%s: counters, and only they, end in _total", f.Name)
		}
		if f.Unit != "" && !strings.HasSuffix(base, "_"+f.Unit) {
			t.Errorf("%s does not end in its unit %s", f.Name, f.Unit)
		}
		if f.Unit == "" && regexp.MustCompile(`_(seconds|bytes|ratio)$`).MatchString(base) {
			t.Errorf("%s has no unit in the catalogue", f.Name)
		}
		if (f.Type == Histogram) != (len(f.Buckets) > 0) || !slices.IsSorted(f.Buckets) {
			t.Errorf("%s: buckets %v", f.Name, f.Buckets)
		}
		if f.Type == Histogram && f.PerSymbol() {
			t.Errorf("%s: a histogram for each symbol is thousands of series", f.Name)
		}
		checkLabels(t, f)
	}
	if len(names) < 80 {
		t.Errorf("only %d families", len(names))
	}
}

func checkLabels(t *testing.T, f Family) {
	open := []string{"market", "symbol", "stream", "consumer", "service", "archiver", "disk", "volume", "version", "revision", "goversion"}
	for _, l := range f.Labels {
		if l.Name == "job" || l.Name == "instance" || l.Name == "le" {
			t.Errorf("%s: the label %s belongs to Prometheus", f.Name, l.Name)
		}
		if (l.Values == nil) != slices.Contains(open, l.Name) {
			t.Errorf("%s: label %s must be a closed set unless the configuration decides it", f.Name, l.Name)
		}
		if len(slices.Compact(slices.Sorted(slices.Values(l.Values)))) != len(l.Values) {
			t.Errorf("%s: label %s has a value twice", f.Name, l.Name)
		}
	}
}

func TestMarkdown(t *testing.T) {
	const file = "../docs/metrics.md"
	if *update {
		if err := os.WriteFile(file, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Markdown() {
		t.Errorf("%s is not what the catalogue says: go test ./examples/marketprism/metrics -update", file)
	}
}
