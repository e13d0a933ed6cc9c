package metrics

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Markdown returns the documentation of the catalogue: docs/metrics.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Metrics

Made from the catalogue in ` + "`metrics/catalogue.go`" + `; ` + "`go test ./examples/marketprism/metrics -update`" + ` writes this file anew.

Every series of a part of the pipeline exists, at 0, from the start of the process that has the part, so
that the first event is an increase. The values of a label are a closed set where they are listed; what
is in none of them is ` + "`other`" + `. Histograms are classic, with the buckets below, and native (factor 1.1).
Times are of the local clock unless the help says otherwise.

Families with the label ` + "`symbol`" + ` have a series for each symbol: four families for all symbols as long as
these are no more than 2,000, and five for chosen ones (20 unless configured). 1,300 symbols come to
less than ` + strconv.Itoa(MaxSeries) + ` series in all.
`)
	part := ""
	for _, f := range Catalogue() {
		if p := partOf(f.Name); p != part {
			part = p
			fmt.Fprintf(&b, "\n## %s\n\n| name | type | unit | labels | help |\n|---|---|---|---|---|\n", part)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", f.Name, f.Type, f.Unit, labelList(f), helpOf(f))
	}
	return b.String()
}

// MaxSeries bounds what one process with every part and 1,300 symbols exposes, the runtime's own metrics
// left out.
const MaxSeries = 7500

// partOf returns the second word of a name, which says what part of the pipeline it is about.
func partOf(name string) string {
	word, _, _ := strings.Cut(strings.TrimPrefix(name, "marketprism_"), "_")
	switch word {
	case "build", "service", "log":
		return "Service"
	case "trades", "book":
		return "Books and trades"
	case "bus", "stream", "publisher", "consumer", "dlq":
		return "Bus"
	case "archiver", "store":
		return "Archive"
	}
	return strings.ToUpper(word[:1]) + word[1:]
}

func labelList(f Family) string {
	var list []string
	for _, l := range f.Labels {
		text := "`" + l.Name + "`"
		if len(l.Values) > 1 {
			text += " (" + strings.Join(l.Values, ", ") + ")"
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

func helpOf(f Family) string {
	if f.Type != Histogram {
		return f.Help
	}
	bounds := make([]string, len(f.Buckets))
	for i, b := range f.Buckets {
		bounds[i] = strconv.FormatFloat(b, 'g', -1, 64)
	}
	return f.Help + " Buckets: " + strings.Join(bounds, ", ") + "."
}

// PromQLNames returns every name that a query may select: those of the catalogue, and for histograms
// those of their classic parts.
func PromQLNames() []string {
	var names []string
	for _, f := range Catalogue() {
		names = append(names, f.Name)
		if f.Type == Histogram {
			names = append(names, f.Name+"_bucket", f.Name+"_sum", f.Name+"_count")
		}
	}
	slices.Sort(names)
	return names
}
