package orderbook_test

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

func TestZeroBookIsEmpty(t *testing.T) {
	var b orderbook.Book
	if err := newOracleBook().differs(&b); err != nil {
		t.Error(err)
	}
	if _, ok := b.BestBid(); ok {
		t.Error("an empty book has a best bid")
	}
	if _, ok := b.BestAsk(); ok {
		t.Error("an empty book has a best ask")
	}
	if b.Crossed() || !b.EventTime().IsZero() {
		t.Error("an empty book is crossed, or has a time")
	}
	if text, _ := b.AppendText(nil); string(text) != "-\n-\n" {
		t.Errorf("text = %q", text)
	}
	b.Apply(&orderbook.Update{LastID: 1, Bids: levels(9, 0), Asks: levels(9, 0, 11, 1)})
	if text, _ := b.AppendText(nil); string(text) != "-\n11 1\n-\n" {
		t.Errorf("after an update: text = %q", text)
	}
}

// randomUpdate changes a few of the prices 1 to span on each side. A third of the changes remove,
// often a level that does not exist; prices repeat; levels come in no order, or sorted as from a venue.
func randomUpdate(r *rand.Rand, id int64, span int64) *orderbook.Update {
	u := &orderbook.Update{FirstID: id, LastID: id}
	for _, side := range []*[]orderbook.Level{&u.Bids, &u.Asks} {
		for range r.IntN(6) {
			*side = append(*side, levels(1+r.Int64N(span), max(0, r.Int64N(9)-2))...)
		}
		switch r.IntN(3) {
		case 0:
			slices.SortStableFunc(*side, func(a, b orderbook.Level) int { return int(a.Price - b.Price) })
		case 1:
			slices.SortStableFunc(*side, func(a, b orderbook.Level) int { return int(b.Price - a.Price) })
		}
	}
	return u
}

func TestBookMatchesOracle(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		span := []int64{1, 3, 10, 100, 2000}[seed%5]
		var b orderbook.Book
		want := newOracleBook()
		for id := range int64(400) {
			if r.IntN(150) == 0 {
				s := want.snapshot(r.IntN(20))
				b.Reset(s)
				want.reset(s)
			}
			u := randomUpdate(r, id, span)
			b.Apply(u)
			want.apply(u)
			if err := want.differs(&b); err != nil {
				t.Fatalf("seed %d, update %d %+v: %v", seed, id, u, err)
			}
		}
		checkReads(t, &b, want)
	}
}

// checkReads compares every way to read a book with the oracle.
func checkReads(t *testing.T, b *orderbook.Book, want *oracleBook) {
	t.Helper()
	all := want.snapshot(0)
	if got := b.Snapshot(); !slices.Equal(got.Bids, all.Bids) || !slices.Equal(got.Asks, all.Asks) || got.LastID != all.LastID {
		t.Fatalf("Snapshot = %+v, want %+v", got, all)
	}
	for _, n := range []int{-1, 0, 1, 2, 5, len(all.Bids), len(all.Bids) + 1, 1 << 30} {
		bids, asks := all.Bids, all.Asks
		if n >= 0 {
			bids, asks = bids[:min(n, len(bids))], asks[:min(n, len(asks))]
		}
		if got := b.AppendBids(nil, n); !slices.Equal(got, bids) {
			t.Fatalf("AppendBids(%d) = %v, want %v", n, got, bids)
		}
		if got := b.AppendAsks(levels(1, 1), n); !slices.Equal(got[1:], asks) || got[0] != levels(1, 1)[0] {
			t.Fatalf("AppendAsks(%d) = %v, want %v", n, got, asks)
		}
		if got := take(b.Bids(), n); !slices.Equal(got, bids) {
			t.Fatalf("%d of Bids = %v, want %v", n, got, bids)
		}
	}
	if bid, ok := b.BestBid(); ok != (len(all.Bids) > 0) || ok && bid != all.Bids[0] {
		t.Fatalf("BestBid = %v, %t", bid, ok)
	}
	if ask, ok := b.BestAsk(); ok != (len(all.Asks) > 0) || ok && ask != all.Asks[0] {
		t.Fatalf("BestAsk = %v, %t", ask, ok)
	}
	crossed := len(all.Bids) > 0 && len(all.Asks) > 0 && all.Bids[0].Price >= all.Asks[0].Price
	if b.Crossed() != crossed {
		t.Fatalf("Crossed = %t", b.Crossed())
	}
}

// take reads the first n of seq and breaks off; all if n is negative.
func take(seq func(func(orderbook.Level) bool), n int) []orderbook.Level {
	var out []orderbook.Level
	for level := range seq {
		if len(out) == n {
			break
		}
		out = append(out, level)
	}
	return out
}

func TestResetTakesAnyOrder(t *testing.T) {
	at := time.Unix(5, 6)
	sorted := &orderbook.Snapshot{LastID: 8, EventTime: at, Bids: levels(5, 1, 4, 2, 3, 3), Asks: levels(6, 4, 7, 5)}
	tests := map[string]*orderbook.Snapshot{
		"best first":         sorted,
		"best last":          {LastID: 8, EventTime: at, Bids: levels(3, 3, 4, 2, 5, 1), Asks: levels(7, 5, 6, 4)},
		"mixed":              {LastID: 8, EventTime: at, Bids: levels(4, 2, 5, 1, 3, 3), Asks: levels(7, 5, 6, 4)},
		"empty levels":       {LastID: 8, EventTime: at, Bids: levels(5, 1, 4, 2, 3, 3, 2, 0), Asks: levels(1, 0, 6, 4, 7, 5)},
		"the last one holds": {LastID: 8, EventTime: at, Bids: levels(5, 1, 4, 9, 4, 2, 3, 3), Asks: levels(6, 1, 6, 4, 7, 5)},
	}
	for name, s := range tests {
		var b orderbook.Book
		b.Apply(&orderbook.Update{LastID: 3, Bids: levels(99, 1), Asks: levels(1, 1)}) // must not survive
		b.Reset(s)
		got := b.Snapshot()
		if got.LastID != 8 || got.EventTime != at || !slices.Equal(got.Bids, sorted.Bids) || !slices.Equal(got.Asks, sorted.Asks) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestBookCopiesAreIndependent(t *testing.T) {
	var b orderbook.Book
	snap := &orderbook.Snapshot{LastID: 8, Bids: levels(5, 1, 4, 2), Asks: levels(6, 4, 7, 5)}
	b.Reset(snap)
	snap.Bids[0].Quantity = 77 // Reset keeps nothing of its argument
	want := newOracleBook()
	want.reset(&orderbook.Snapshot{LastID: 8, Bids: levels(5, 1, 4, 2), Asks: levels(6, 4, 7, 5)})

	copied, cloned := b.Snapshot(), b.Clone()
	u := &orderbook.Update{LastID: 9, Bids: levels(5, 8, 4, 0, 3, 1), Asks: levels(5, 3, 6, 0)}
	b.Apply(u)
	u.Bids[0].Quantity = 77 // nor does Apply
	if err := want.differs(cloned); err != nil {
		t.Errorf("the clone changed with the book: %v", err)
	}
	if !slices.Equal(copied.Bids, levels(5, 1, 4, 2)) || !slices.Equal(copied.Asks, levels(6, 4, 7, 5)) || copied.LastID != 8 {
		t.Errorf("the snapshot changed with the book: %+v", copied)
	}
	cloned.Apply(&orderbook.Update{LastID: 10, Bids: levels(1, 1), Asks: levels(50, 1)})
	copied.Bids[0], copied.Asks[0] = orderbook.Level{}, orderbook.Level{}
	want.apply(&orderbook.Update{LastID: 9, Bids: levels(5, 8, 4, 0, 3, 1), Asks: levels(5, 3, 6, 0)})
	if err := want.differs(&b); err != nil {
		t.Errorf("the book changed with its copies: %v", err)
	}
}

func TestExtremePrices(t *testing.T) {
	ends := []orderbook.Level{
		{Price: orderbook.MaxFixed, Quantity: orderbook.MaxFixed}, {Price: 1, Quantity: 1}, {Price: 0, Quantity: 2},
		{Price: -1, Quantity: 3}, {Price: orderbook.MinFixed, Quantity: 4},
	}
	var b orderbook.Book
	for _, level := range ends {
		b.Apply(&orderbook.Update{LastID: 1, Bids: []orderbook.Level{level}, Asks: []orderbook.Level{level}})
	}
	if got := b.AppendBids(nil, -1); !slices.Equal(got, ends) {
		t.Errorf("bids %v", got)
	}
	slices.Reverse(ends)
	if got := b.AppendAsks(nil, -1); !slices.Equal(got, ends) {
		t.Errorf("asks %v", got)
	}
}

// Other processes and programs compare books by the text form, so it is fixed.
func TestAppendTextIsStable(t *testing.T) {
	var b orderbook.Book
	b.Reset(&orderbook.Snapshot{
		Bids: []orderbook.Level{{Price: 150_000_000, Quantity: 1}, {Price: 10_000_000, Quantity: 1000 * orderbook.One}},
		Asks: []orderbook.Level{{Price: 160_000_000, Quantity: orderbook.MaxFixed}},
	})
	text, err := b.AppendText([]byte("> "))
	const want = "1.5 0.00000001\n0.1 1000\n-\n1.6 92233720368.54775807\n-\n"
	if err != nil || string(text) != "> "+want {
		t.Fatalf("text = %q, %v", text, err)
	}
	sum := sha256.Sum256([]byte(want))
	if got := hex.EncodeToString(sum[:4]); got != "7710d6a1" {
		t.Errorf("hash begins with %s", got)
	}
}

func TestBookAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var b orderbook.Book
	updates := make([]*orderbook.Update, 2000)
	for i := range updates {
		updates[i] = randomUpdate(r, int64(i), 500)
		b.Apply(updates[i])
	}
	snap, top := b.Snapshot(), make([]orderbook.Level, 0, 20)
	at := 0
	for name, f := range map[string]func(){
		"Apply":   func() { b.Apply(updates[at%len(updates)]); at++ },
		"Reset":   func() { b.Reset(&snap) },
		"BestBid": func() { b.BestBid() },
		"Append":  func() { top = b.AppendAsks(b.AppendBids(top[:0], 10), 10) },
		"Asks": func() {
			for range b.Asks() {
				at++
			}
		},
	} {
		if n := testing.AllocsPerRun(len(updates), f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// FuzzBook reads bytes as changes of a book, two a level, and compares the Book with the oracle.
func FuzzBook(f *testing.F) {
	f.Add([]byte{0x01, 0x05, 0x81, 0x05, 0x02, 0x05, 0x01, 0x00})
	f.Add([]byte("best first: 9876543210, worst first: 0123456789"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b orderbook.Book
		want := newOracleBook()
		u := &orderbook.Update{}
		for i := 0; i+1 < len(data); i += 2 {
			price, quantity := data[i], data[i+1]
			level := orderbook.Level{Price: orderbook.Fixed(price & 0x3f), Quantity: orderbook.Fixed(quantity & 0x0f)}
			if price&0x80 == 0 {
				u.Bids = append(u.Bids, level)
			} else {
				u.Asks = append(u.Asks, level)
			}
			switch {
			case quantity&0xf0 == 0xf0: // the same levels as a snapshot, in any order
				s := &orderbook.Snapshot{LastID: int64(i), Bids: u.Bids, Asks: u.Asks}
				b.Reset(s)
				want.reset(s)
			case price&0x40 == 0:
				continue
			default:
				u.LastID = int64(i)
				b.Apply(u)
				want.apply(u)
			}
			u = &orderbook.Update{}
			if err := want.differs(&b); err != nil {
				t.Fatalf("at byte %d: %v", i, err)
			}
		}
		checkReads(t, &b, want)
	})
}

// go vet reports a program that copies a Book, or what contains one.
func TestVetReportsCopiesOfABook(t *testing.T) {
	short.Skip(t)
	out, err := exec.Command("go", "vet", "./testdata/copies").CombinedOutput()
	if err == nil {
		t.Fatal("nothing was reported")
	}
	for _, line := range []string{"copies.go:11", "copies.go:12", "copies.go:13"} {
		if !strings.Contains(string(out), line) {
			t.Errorf("no report of %s:\n%s", line, out)
		}
	}
	if n := strings.Count(string(out), "lock by value") + strings.Count(string(out), "lock value"); n != 3 {
		t.Errorf("%d reports, want 3:\n%s", n, out)
	}
}
