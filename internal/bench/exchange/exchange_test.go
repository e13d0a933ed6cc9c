package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// A symbol's events are contiguous, and its snapshot always equals an earlier one with the events applied, also
// after the loop has restarted.
func TestSymbolEventsAndSnapshotsAgree(t *testing.T) {
	y := newSymbol(3, newLoop(100, 1))
	var d binance.Decoder
	var m binance.Message
	var book orderbook.Book
	at := func() (snap orderbook.Snapshot) {
		t.Helper()
		body := y.snapshot(5000)
		if !json.Valid(body) {
			t.Fatalf("no JSON: %s", body)
		}
		if _, err := d.DecodeSnapshot(body, &snap); err != nil {
			t.Fatal(err)
		}
		return snap
	}
	start := at()
	book.Reset(&start)
	for i := range 3 * loopEvents {
		head, tail := y.next(nil)
		frame := append(fmt.Append(head, time.Now().UnixMicro()), tail...)
		if err := d.Decode(frame, &m); err != nil {
			t.Fatalf("%v: %s", err, frame)
		}
		if m.Type != binance.MessageDepth || m.Symbol != y.name || m.Stream != y.stream || m.Update.FirstID != book.LastID()+1 {
			t.Fatalf("after %d: %+v", book.LastID(), m)
		}
		book.Apply(&m.Update)
		if i%50 != 0 {
			continue
		}
		want, have := at(), book.Snapshot()
		if have.LastID != want.LastID || !slices.Equal(have.Bids, want.Bids) || !slices.Equal(have.Asks, want.Asks) {
			t.Fatalf("after %d events the book at %d is not the snapshot at %d", i+1, have.LastID, want.LastID)
		}
	}
}
