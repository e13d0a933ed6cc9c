package chstore

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/marketprism/marketprism"
)

// A CheckName is one check of Check.
type CheckName string

// The checks.
const (
	CheckMissingInstrument CheckName = "missing"      // nothing is stored of an instrument of the query
	CheckMissingUpdates    CheckName = "update_holes" // updates are missing, by their ids
	CheckMissingTrades     CheckName = "trade_holes"  // trades are missing, by their ids
	CheckDuplicates        CheckName = "duplicates"   // rows have the same key
	CheckCrossed           CheckName = "crossed"      // a ticker, a snapshot, or a book after an update is crossed, or has an empty side
	CheckSilence           CheckName = "silence"      // no record, after its first one, while another instrument of the market had some
	CheckSkew              CheckName = "skew"         // received before it was sent
	CheckSnapshots         CheckName = "snapshots"    // a snapshot differs from the book that the updates make of the snapshot before
	CheckOverdue           CheckName = "overdue"      // rows are stored long after their TTL
	CheckParts             CheckName = "parts"        // a partition has too many parts
	CheckDetached          CheckName = "detached"     // parts are set aside, by hand or by a server that found them broken
	CheckSchema            CheckName = "schema"       // tables differ from Config: Plan returns the changes
)

// A Report is the result of Check.
type Report struct {
	From        time.Time `json:"from,omitzero"` // zero: no bound
	To          time.Time `json:"to,omitzero"`
	Instruments int       `json:"instruments"`
	Rows        uint64    `json:"rows"`
	Checks      int       `json:"checks"` // that ran
	Findings    []Finding `json:"findings"`
}

// A Finding is the result of one check for one instrument, or for one table.
type Finding struct {
	Check      CheckName              `json:"check"`
	Table      string                 `json:"table,omitempty"` // without the prefix
	Instrument marketprism.Instrument `json:"instrument,omitzero"`
	Partition  string                 `json:"partition,omitempty"`
	Count      uint64                 `json:"count"`          // of missing ranges, rows, spans, parts or statements
	First      time.Time              `json:"first,omitzero"` // Record.Time of the first
	Detail     string                 `json:"detail"`
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// String returns the report as a table for people, a line for each finding.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d instruments, %d rows, %d checks: ", r.Instruments, r.Rows, r.Checks)
	if r.OK() {
		b.WriteString("OK\n")
		return b.String()
	}
	fmt.Fprintf(&b, "%d findings\n", len(r.Findings))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHECK\tWHERE\tCOUNT\tFIRST\tDETAIL")
	for _, f := range r.Findings {
		var where []string
		if f.Instrument != (marketprism.Instrument{}) {
			where = append(where, f.Instrument.String())
		}
		for _, s := range []string{f.Table, f.Partition} {
			if s != "" {
				where = append(where, s)
			}
		}
		first := ""
		if !f.First.IsZero() {
			first = f.First.Format(time.RFC3339Nano)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", f.Check, strings.Join(where, " "), f.Count, first, f.Detail)
	}
	w.Flush()
	return b.String()
}

func (r *Report) add(f Finding) { r.Findings = append(r.Findings, f) }

// sort sorts the findings, whose order would depend on the server.
func (r *Report) sort() {
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Check, b.Check), cmp.Compare(a.Table, b.Table),
			cmp.Compare(a.Instrument.String(), b.Instrument.String()), cmp.Compare(a.Partition, b.Partition))
	})
}
