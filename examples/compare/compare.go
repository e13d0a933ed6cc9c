// Package compare compares rebuilt order books with what the exchange says of them: its best prices and its snapshots.
package compare

import "fmt"

// A Result says how one book compares with the exchange.
type Result struct {
	Gaps                                   int  // after which the book went on
	Ended                                  bool // by a gap, such as that of the end of a run
	Snapshots, SnapshotsEqual              int  // compared with the book at their id, and equal to it
	Tickers, TickersCompared, TickersEqual int
}

// A Total is the sum of the results of several books.
type Total struct {
	Books           int `json:"books"`
	BooksEqual      int `json:"booksEqual"`      // without a gap, and equal wherever they were compared
	BooksUncompared int `json:"booksUncompared"` // without a gap, and with nothing to compare
	BooksEnded      int `json:"booksEnded"`      // by a gap, such as that of the end of a run
	Gaps            int `json:"gaps"`            // after which a book went on
	Snapshots       int `json:"snapshots"`       // compared
	SnapshotsEqual  int `json:"snapshotsEqual"`
	Tickers         int `json:"tickers"` // all, of which few have the id of a book
	TickersCompared int `json:"tickersCompared"`
	TickersEqual    int `json:"tickersEqual"`
}

// Add adds the result of a book.
func (t *Total) Add(r Result) {
	t.Books++
	switch {
	case r.Gaps > 0 || r.Snapshots != r.SnapshotsEqual || r.TickersCompared != r.TickersEqual:
	case r.Snapshots == 0 && r.TickersCompared == 0:
		t.BooksUncompared++
	default:
		t.BooksEqual++
	}
	if r.Ended {
		t.BooksEnded++
	}
	t.Gaps += r.Gaps
	t.Snapshots += r.Snapshots
	t.SnapshotsEqual += r.SnapshotsEqual
	t.Tickers += r.Tickers
	t.TickersCompared += r.TickersCompared
	t.TickersEqual += r.TickersEqual
}

// OK reports whether there are books and none differs or has a gap.
func (t *Total) OK() bool { return t.Books > 0 && t.BooksEqual+t.BooksUncompared == t.Books }

// String returns the total as a line for people.
func (t *Total) String() string {
	if t.Books == 0 {
		return "no books"
	}
	text := fmt.Sprintf("%d of %d books equal", t.BooksEqual, t.Books)
	if t.BooksUncompared > 0 {
		text += fmt.Sprintf(", %d with nothing to compare", t.BooksUncompared)
	}
	text += fmt.Sprintf("; %d gaps", t.Gaps)
	if t.BooksEnded > 0 {
		text += fmt.Sprintf(", %d at the end", t.BooksEnded)
	}
	text += "; "
	if t.Snapshots > 0 {
		text += fmt.Sprintf("%d of %d snapshots equal; ", t.SnapshotsEqual, t.Snapshots)
	}
	return text + fmt.Sprintf("%d tickers, %d compared, %d equal", t.Tickers, t.TickersCompared, t.TickersEqual)
}
