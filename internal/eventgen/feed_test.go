package eventgen

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/marketprism/marketprism/orderbook"
)

func TestFeedIsRealistic(t *testing.T) {
	f := New(Config{Levels: 1000, Events: 2000, Seed: 1})
	var book orderbook.Book
	book.Reset(&f.Snapshot)
	if book.BidCount() != 1000 || book.AskCount() != 1000 {
		t.Fatalf("snapshot has %d bids and %d asks", book.BidCount(), book.AskCount())
	}
	var levels, deletes, inserts, size int
	id := f.Snapshot.LastID
	for i, frame := range f.CombinedFrames() {
		u := &f.Updates[i]
		if u.FirstID != id+1 || u.LastID < u.FirstID {
			t.Fatalf("update %d covers %d to %d after %d", i, u.FirstID, u.LastID, id)
		}
		id = u.LastID
		if n := len(u.Bids) + len(u.Asks); n < minChanges || n > maxChanges {
			t.Fatalf("update %d has %d levels", i, n)
		}
		for _, l := range append(u.Bids, u.Asks...) {
			levels++
			if l.Quantity == 0 {
				deletes++
			}
		}
		before := book.BidCount() + book.AskCount()
		book.Apply(u)
		inserts += book.BidCount() + book.AskCount() - before
		size += len(frame)
		if book.Crossed() {
			t.Fatalf("book crossed after update %d", i)
		}
	}
	inserts += deletes
	mean := float64(size) / float64(len(f.Updates))
	t.Logf("%.0f bytes, %.1f levels an event, %.1f%% deletes, %.1f%% inserts; at the end %d bids, %d asks", mean,
		float64(levels)/2000, 100*float64(deletes)/float64(levels), 100*float64(inserts)/float64(levels), book.BidCount(), book.AskCount())
	if mean < 1300 || mean > 1500 {
		t.Errorf("mean size %.0f, want about 1400", mean)
	}
	if part := float64(deletes) / float64(levels); part < 0.30 || part > 0.36 {
		t.Errorf("%.2f of the levels are deletes, want a third", part)
	}
	for _, n := range []int{book.BidCount(), book.AskCount()} {
		if n < 950 || n > 1050 {
			t.Errorf("a side has %d levels in the end, want about 1000", n)
		}
	}
}

func TestEqualSeedsGiveEqualFeeds(t *testing.T) {
	cfg := Config{Levels: 50, Events: 20, Seed: 7}
	a, b := New(cfg), New(cfg)
	if !reflect.DeepEqual(a, b) || !bytes.Equal(a.RawFrames()[3], b.RawFrames()[3]) {
		t.Error("two feeds of one seed differ")
	}
	cfg.Seed++
	if reflect.DeepEqual(a, New(cfg)) {
		t.Error("feeds of two seeds are equal")
	}
}

func TestJSONEqualsFeed(t *testing.T) {
	f := New(Config{Levels: 20, Events: 5})
	type levels [][2]orderbook.Fixed
	check := func(got levels, want []orderbook.Level) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%d levels, want %d", len(got), len(want))
		}
		for i, l := range want {
			if got[i] != [2]orderbook.Fixed{l.Price, l.Quantity} {
				t.Fatalf("level %d is %v, want %v", i, got[i], l)
			}
		}
	}
	var snapshot struct {
		LastUpdateID int64
		Bids, Asks   levels
	}
	if err := json.Unmarshal(f.SnapshotJSON(), &snapshot); err != nil {
		t.Fatal(err)
	}
	if snapshot.LastUpdateID != f.Snapshot.LastID {
		t.Errorf("lastUpdateId %d, want %d", snapshot.LastUpdateID, f.Snapshot.LastID)
	}
	check(snapshot.Bids, f.Snapshot.Bids)
	check(snapshot.Asks, f.Snapshot.Asks)

	raw := f.RawFrames()
	for i, frame := range f.CombinedFrames() {
		var combined struct {
			Stream string
			Data   json.RawMessage
		}
		if err := json.Unmarshal(frame, &combined); err != nil {
			t.Fatal(err)
		}
		if combined.Stream != "btcusdt@depth@100ms" || !bytes.Equal(combined.Data, raw[i]) {
			t.Fatalf("frame %d is %s", i, frame)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw[i], &fields); err != nil {
			t.Fatal(err)
		}
		var bids, asks levels
		if err := json.Unmarshal(fields["b"], &bids); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(fields["a"], &asks); err != nil {
			t.Fatal(err)
		}
		check(bids, f.Updates[i].Bids)
		check(asks, f.Updates[i].Asks)
	}
}
