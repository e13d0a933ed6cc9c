// Package golden has one small scenario of a market, with the book after each of its records, for the tests of all
// file formats: an update that arrived before its snapshot, events out of order on the exchange's clock, an empty
// update, a gap with a trade in it, and a second snapshot.
package golden

import (
	_ "embed"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

//go:embed scenario.json
var scenario []byte

// A Book is the expected book after the record Seq.
type Book struct {
	Seq    int64  `json:"seq"`
	LastID int64  `json:"last_id"`
	Text   string `json:"text"` // of orderbook.Book.AppendText
	SHA256 string `json:"sha256"`
	CRC32C string `json:"crc32c"`
}

// Instrument is the scenario's.
func Instrument() marketprism.Instrument {
	return marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.USDM, Symbol: "BTCUSDT"}
}

type level [2]orderbook.Fixed

type record struct {
	Kind         string           `json:"kind"`
	LastID       int64            `json:"last_id"`
	FirstID      int64            `json:"first_id"`
	PrevID       int64            `json:"prev_id"`
	ID           int64            `json:"id"`
	UpdateID     int64            `json:"update_id"`
	After        int64            `json:"after"`
	Reason       string           `json:"reason"`
	Price        orderbook.Fixed  `json:"price"`
	Qty          orderbook.Fixed  `json:"qty"`
	BuyerMaker   bool             `json:"buyer_maker"`
	Bid          level            `json:"bid"`
	Ask          level            `json:"ask"`
	Bids         []level          `json:"bids"`
	Asks         []level          `json:"asks"`
	BidBound     *orderbook.Fixed `json:"bid_bound"`
	AskBound     *orderbook.Fixed `json:"ask_bound"`
	EventTime    *int64           `json:"event_time"`
	TransactTime *int64           `json:"transact_time"`
	ReceivedAt   *int64           `json:"received_at"`
}

// Load returns the records and the expected books.
func Load(t testing.TB) ([]marketprism.Record, []Book) {
	t.Helper()
	var file struct {
		Records []record `json:"records"`
		Books   []Book   `json:"books"`
	}
	require.NoError(t, json.Unmarshal(scenario, &file))
	records := make([]marketprism.Record, 0, len(file.Records))
	for _, r := range file.Records {
		records = append(records, r.record(t))
	}
	return records, file.Books
}

func (r *record) record(t testing.TB) marketprism.Record {
	out := marketprism.Record{Instrument: Instrument(), EventTime: at(r.EventTime), ReceivedAt: at(r.ReceivedAt)}
	transact := at(r.TransactTime)
	switch r.Kind {
	case "snapshot":
		out.Snapshot = &orderbook.Snapshot{
			LastID: r.LastID, EventTime: out.EventTime, TransactTime: transact, Bids: levels(r.Bids), Asks: levels(r.Asks),
			BidBound: orderbook.Bound{Price: *r.BidBound, Limited: true}, AskBound: orderbook.Bound{Price: *r.AskBound, Limited: true},
		}
	case "update":
		out.Update = &orderbook.Update{
			FirstID: r.FirstID, LastID: r.LastID, PrevLastID: r.PrevID, EventTime: out.EventTime, TransactTime: transact,
			Bids: levels(r.Bids), Asks: levels(r.Asks),
		}
	case "gap":
		reason, err := orderbook.ParseGapReason(r.Reason)
		require.NoError(t, err)
		out.Gap = &orderbook.Gap{After: r.After, Reason: reason}
	case "trade":
		out.Trade = &marketprism.Trade{ID: r.ID, Price: r.Price, Quantity: r.Qty, BuyerMaker: r.BuyerMaker, TradeTime: transact}
	case "ticker":
		out.Ticker = &marketprism.Ticker{
			UpdateID: r.UpdateID, TransactTime: transact,
			Bid: orderbook.Level{Price: r.Bid[0], Quantity: r.Bid[1]}, Ask: orderbook.Level{Price: r.Ask[0], Quantity: r.Ask[1]},
		}
	default:
		require.Fail(t, "unknown kind", r.Kind)
	}
	require.NoError(t, out.Validate())
	return out
}

func at(ns *int64) time.Time {
	if ns == nil {
		return time.Time{}
	}
	return time.Unix(0, *ns).UTC()
}

func levels(in []level) []orderbook.Level {
	var out []orderbook.Level
	for _, l := range in {
		out = append(out, orderbook.Level{Price: l[0], Quantity: l[1]})
	}
	return out
}
