package pipeline

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
)

// verify rebuilds every live book from the archive, at the moment of its last change, and prints
// whether the two are the same. It returns an error that names those that are not.
func verify(ctx context.Context, live liveBooks, store *chstore.Store, out io.Writer) error {
	var different []string
	for _, inst := range sortedInstruments(live) {
		b := live[inst]
		if !b.known {
			fmt.Fprintf(out, "%-24s never had a snapshot, nothing to compare\n", inst)
			different = append(different, inst.Symbol)
			continue
		}
		archived, err := store.BookAt(ctx, inst, b.at)
		switch {
		case err != nil:
			fmt.Fprintf(out, "%-24s archive: %v\n", inst, err)
		case archived.LastID() != b.LastID() || hash(archived) != hash(&b.Book):
			fmt.Fprintf(out, "%-24s DIFFERENT: live %d %x, archive %d %x\n", inst,
				b.LastID(), short(hash(&b.Book)), archived.LastID(), short(hash(archived)))
		default:
			fmt.Fprintf(out, "%-24s equal at update id %d: %x, %d bids, %d asks\n", inst,
				b.LastID(), short(hash(&b.Book)), b.BidCount(), b.AskCount())
			continue
		}
		different = append(different, inst.Symbol)
	}
	if different != nil {
		return fmt.Errorf("book from the archive is not the live book: %s; marketprism check on the same archive looks for the reason", strings.Join(different, ", "))
	}
	fmt.Fprintf(out, "verified: each of %d books rebuilt from ClickHouse is equal to the live one\n", len(live))
	return nil
}

func short(h [32]byte) []byte { return h[:8] }

func sortedInstruments(live liveBooks) []marketprism.Instrument {
	insts := make([]marketprism.Instrument, 0, len(live))
	for inst := range live {
		insts = append(insts, inst)
	}
	slices.SortFunc(insts, func(a, b marketprism.Instrument) int { return strings.Compare(a.String(), b.String()) })
	return insts
}

// printTally prints how many records of each kind passed each stage. Retries and duplicates are
// counted once.
func printTally(t *tally, out io.Writer) {
	fmt.Fprintf(out, "%-10s", "kind")
	for s := range stages {
		fmt.Fprintf(out, "%12v", s)
	}
	fmt.Fprintln(out)
	for _, k := range marketprism.Kinds() {
		fmt.Fprintf(out, "%-10v", k)
		for s := range stages {
			fmt.Fprintf(out, "%12d", t.count(s, k))
		}
		fmt.Fprintln(out)
	}
}
