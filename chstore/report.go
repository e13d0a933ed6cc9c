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

// A CheckName names one check of Check.
type CheckName string

// The checks.
const (
	CheckMissingInstrument CheckName = "missing"      // nothing is stored of an instrument that was asked for
	CheckMissingUpdates    CheckName = "update_holes" // updates are missing, by their ids
	CheckMissingTrades     CheckName = "trade_holes"  // trades are missing, by their ids
	CheckDuplicates        CheckName = "duplicates"   // rows have the same key
	CheckCrossed           CheckName = "crossed"      // a ticker, a snapshot, or a book after an update is crossed, or has an empty side
	CheckSilence           CheckName = "silence"      // nothing came, since its first record, while another instrument of the market moved
	CheckSkew              CheckName = "skew"         // received before it was sent
	CheckSnapshots         CheckName = "snapshots"    // a snapshot is not what the updates before it make of the one before
	CheckOverdue           CheckName = "overdue"      // rows are there long after their TTL
	CheckParts             CheckName = "parts"        // a partition has too many parts
	CheckDetached          CheckName = "detached"     // parts are set aside, by someone or by a server that found them broken
	CheckSchema            CheckName = "schema"       // tables are not as Config has them: Plan tells the changes
)

// A Report is what Check found.
type Report struct {
	From        time.Time `json:"from,omitzero"` // zero: no bound
	To          time.Time `json:"to,omitzero"`
	Instruments int       `json:"instruments"`
	Rows        uint64    `json:"rows"`
	Checks      int       `json:"checks"` // done
	Findings    []Finding `json:"findings"`
}

// A Finding is what one check found of one instrument, or of one table.
type Finding struct {
	Check      CheckName              `json:"check"`
	Table      string                 `json:"table,omitempty"` // without the prefix
	Instrument marketprism.Instrument `json:"instrument,omitzero"`
	Partition  string                 `json:"partition,omitempty"`
	Count      uint64                 `json:"count"`          // of holes, rows, spans, parts or statements
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

// sort puts findings in an order that does not depend on the server.
func (r *Report) sort() {
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Check, b.Check), cmp.Compare(a.Table, b.Table),
			cmp.Compare(a.Instrument.String(), b.Instrument.String()), cmp.Compare(a.Partition, b.Partition))
	})
}
