package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/plain"
)

// A finding is what the comparison of one book with the archive has found.
type finding struct {
	instrument string // printable
	result     result
	text       string // for result unsynced the cause
}

// A result is that of one comparison.
type result int

const (
	equal      result = iota // the archive's book is the live one
	different                // it is not, or could not be read
	unsynced                 // the live book never was synced, so there is nothing to compare
	uncompared               // the time was up
)

// findings are those of all followed books, by instrument.
type findings []finding

// verify rebuilds every live book from the archive, at the time of its last change, and compares both. unsynced names the
// followed instruments without a live book, with the cause.
func verify(ctx context.Context, live liveBooks, causes map[marketprism.Instrument]string, store *chstore.Store) findings {
	var all findings
	for _, instrument := range sortedInstruments(live, causes) {
		f := finding{instrument: plain.Cell(instrument.String())} // a symbol is text of the exchange
		if cause, missing := causes[instrument]; missing {
			f.result, f.text = unsynced, cause
		} else {
			f.result, f.text = compare(ctx, instrument, live[instrument], store)
		}
		all = append(all, f)
	}
	return all
}

func compare(ctx context.Context, instrument marketprism.Instrument, b *liveBook, store *chstore.Store) (result, string) {
	archived, err := store.BookAt(ctx, instrument, b.at)
	switch {
	case err != nil && ctx.Err() != nil:
		return uncompared, "no time was left to compare it"
	case err != nil:
		return different, "archive: " + plain.Text(err.Error())
	case archived.LastID() != b.LastID() || hash(archived) != hash(&b.Book):
		return different, fmt.Sprintf("DIFFERENT: live %d %x, archive %d %x",
			b.LastID(), short(hash(&b.Book)), archived.LastID(), short(hash(archived)))
	}
	return equal, fmt.Sprintf("equal at update id %d: %x, %d bids, %d asks", b.LastID(), short(hash(&b.Book)), b.BidCount(), b.AskCount())
}

func short(h [32]byte) []byte { return h[:8] }

func sortedInstruments(live liveBooks, causes map[marketprism.Instrument]string) []marketprism.Instrument {
	var insts []marketprism.Instrument
	for inst := range live {
		insts = append(insts, inst)
	}
	for inst := range causes {
		if live[inst] == nil {
			insts = append(insts, inst)
		}
	}
	slices.SortFunc(insts, func(a, b marketprism.Instrument) int { return strings.Compare(a.String(), b.String()) })
	return insts
}

// of returns the findings with a result, nil if there are none.
func (fs findings) of(r result) (found findings) {
	for _, f := range fs {
		if f.result == r {
			found = append(found, f)
		}
	}
	return found
}

// report prints every finding. It returns an error that names the books that are not verified, or says that there is none.
func (fs findings) report(out io.Writer) error {
	for _, f := range fs {
		text := f.text
		if f.result == unsynced {
			text = "never synced: " + f.text
		}
		fmt.Fprintf(out, "%-24s %s\n", f.instrument, text)
	}
	if err := fs.err(); err != nil {
		return err
	}
	fmt.Fprintf(out, "verified: each of %d books rebuilt from ClickHouse is equal to the live one\n", len(fs))
	return nil
}

// conclude prints one line about a run that was interrupted, or returns it as an error: ErrInterrupted if that was before
// every book was synced and compared.
func (fs findings) conclude(t *tally, out io.Writer) error {
	if fs.of(different) != nil {
		return fs.err()
	}
	same, synced := len(fs.of(equal)), len(fs)-len(fs.of(unsynced))
	switch {
	case synced == 0:
		return fmt.Errorf("%w before a book was synced", ErrInterrupted)
	case same < len(fs):
		return fmt.Errorf("%w: %d of %d books were synced, and %d of them were compared with ClickHouse and are equal", ErrInterrupted, synced, len(fs), same)
	}
	fmt.Fprintf(out, "interrupted: %d records received and %d stored; verified: each of %d books rebuilt from ClickHouse is equal to the live one\n",
		t.total(received), t.total(stored), len(fs))
	return nil
}

var errNoBooks = errors.New("nothing is verified: no book was followed")

// maxNamed bounds the books that an error names.
const maxNamed = 5

func (fs findings) err() error {
	if len(fs) == 0 {
		return errNoBooks
	}
	missing := fs.of(unsynced)
	if len(missing) == len(fs) {
		return fmt.Errorf("nothing is verified: none of %d books was ever synced: %s: %s", len(fs), fs[0].instrument, fs[0].text)
	}
	var err error
	if wrong := fs.of(different); wrong != nil {
		err = fmt.Errorf("book from the archive is not the live book: %s; marketprism check on the same archive looks for the reason", wrong.names())
	}
	if missing != nil {
		err = errors.Join(err, fmt.Errorf("not verified, since never synced: %s: %s", missing.names(), missing[0].text))
	}
	if late := fs.of(uncompared); late != nil {
		err = errors.Join(err, fmt.Errorf("not verified, since the time was up: %s; --drain sets it", late.names()))
	}
	return err
}

func (fs findings) names() string {
	var names []string
	for i, f := range fs {
		if i == maxNamed {
			return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), len(fs)-i)
		}
		names = append(names, f.instrument[strings.LastIndexByte(f.instrument, ':')+1:])
	}
	return strings.Join(names, ", ")
}

// interruptedVerify bounds the comparison after an interrupt: who presses Ctrl-C does not want to wait.
const interruptedVerify = time.Second

// printTally prints the number of records of each kind at each stage. Retries and duplicates count once.
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
	if n := t.closing.Load(); n > 0 {
		fmt.Fprintf(out, "%d of the gaps mark the end of the run, one a book\n", n)
	}
}
