package parquet

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow-go/v18/parquet"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/internal/columnar"
)

// Read iterates over the records of an instrument from the day of from to that of to, both included, in the order in which
// they were written: book, trades and tickers merged by seq. dir is the folder of the tables. Each record is its own and may be
// kept. It ends at the first error: that of a file, or fs.ErrNotExist if there is no file of the instrument on those days.
//
// What a Format of this package wrote comes back with equal keys, times and numbers. Origin is not in the files.
func Read(dir string, in marketprism.Instrument, from, to time.Time) iter.Seq2[marketprism.Record, error] {
	return func(yield func(marketprism.Record, error) bool) {
		found := false
		for date := midnight(from); !date.After(to); date = date.AddDate(0, 0, 1) {
			more, err := readDay(dir, in, date, yield)
			switch {
			case err == nil:
				found = true
				if !more {
					return
				}
			case !errors.Is(err, fs.ErrNotExist):
				yield(marketprism.Record{}, err)
				return
			}
		}
		if !found {
			yield(marketprism.Record{}, fmt.Errorf("parquet: %v has no files from %s to %s in %s: %w",
				in, from.UTC().Format(time.DateOnly), to.UTC().Format(time.DateOnly), dir, fs.ErrNotExist))
		}
	}
}

func midnight(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// readDay yields the records of a day, and reports whether more are wanted. The error is fs.ErrNotExist if it has no files.
func readDay(dir string, in marketprism.Instrument, date time.Time, yield func(marketprism.Record, error) bool) (bool, error) {
	var tables []*tableReader
	defer func() {
		for _, t := range tables {
			t.close()
		}
	}()
	for _, table := range [...]struct {
		name string
		read func(r *columnar.Reader, group int) ([]numbered, error)
	}{{"messages", readMessages}, {"trades", readTrades}, {"tickers", readTickers}} {
		name := filepath.Join(dir, filepath.FromSlash(path(in, date, table.name)))
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		r, err := columnar.Open(name)
		if err != nil {
			return false, err
		}
		tables = append(tables, &tableReader{file: r, read: table.read})
	}
	if tables == nil {
		return false, fs.ErrNotExist
	}
	for {
		var first *tableReader
		for _, t := range tables {
			if err := t.fill(); err != nil {
				return false, err
			}
			if len(t.rows) > 0 && (first == nil || t.rows[0].seq < first.rows[0].seq) {
				first = t
			}
		}
		if first == nil {
			return true, nil
		}
		rec := first.rows[0].record
		rec.Instrument = in
		first.rows = first.rows[1:]
		if !yield(rec, nil) {
			return false, nil
		}
	}
}

// A numbered record has its seq.
type numbered struct {
	seq    int64
	record marketprism.Record
}

// A tableReader reads one file, a row group at a time.
type tableReader struct {
	file  *columnar.Reader
	read  func(r *columnar.Reader, group int) ([]numbered, error)
	group int
	rows  []numbered
}

func (t *tableReader) fill() error {
	for len(t.rows) == 0 && t.group < t.file.Groups() {
		rows, err := t.read(t.file, t.group)
		if err != nil {
			return err
		}
		t.rows = rows
		t.group++
	}
	return nil
}

func (t *tableReader) close() { t.file.Close() }

// columns reads columns of a row group, and keeps the first error.
type columns struct {
	file  *columnar.Reader
	group int
	err   error
}

func read[T any](c *columns, name string) columnar.Cells[T] {
	if c.err != nil {
		return columnar.Cells[T]{}
	}
	cells, err := columnar.Read[T](c.file, c.group, name)
	c.err = err
	return cells
}

func (c *columns) levels(name string) [][]orderbook.Level {
	if c.err != nil {
		return nil
	}
	lists, err := columnar.ReadLevels(c.file, c.group, name)
	c.err = err
	return lists
}

// at returns the time of a cell; the zero time if it is null.
func at(c *columnar.Cells[int64], row int) time.Time {
	if !c.Has(row) {
		return time.Time{}
	}
	return time.Unix(0, c.Values[row]).UTC()
}

// number returns the value of a cell; 0 if it is null.
func number(c *columnar.Cells[int64], row int) int64 {
	if !c.Has(row) {
		return 0
	}
	return c.Values[row]
}

func bound(c *columnar.Cells[int64], row int) orderbook.Bound {
	return orderbook.Bound{Price: orderbook.Fixed(number(c, row)), Limited: c.Has(row)}
}

func readMessages(file *columnar.Reader, group int) ([]numbered, error) {
	c := &columns{file: file, group: group}
	seq, kind := read[int64](c, "seq"), read[parquet.ByteArray](c, "kind")
	event, transact, received := read[int64](c, "event_ns"), read[int64](c, "transact_ns"), read[int64](c, "recv_ns")
	first, last, previous := read[int64](c, "first_id"), read[int64](c, "last_id"), read[int64](c, "prev_id")
	bids, asks := c.levels("bids"), c.levels("asks")
	bidBound, askBound := read[int64](c, "bid_bound_e8"), read[int64](c, "ask_bound_e8")
	after, reason, cause := read[int64](c, "gap_after"), read[parquet.ByteArray](c, "gap_reason"), read[parquet.ByteArray](c, "gap_cause")
	if c.err != nil {
		return nil, c.err
	}
	rows := make([]numbered, 0, len(seq.Values))
	for i := range seq.Values {
		rec := marketprism.Record{EventTime: at(&event, i), ReceivedAt: at(&received, i)}
		switch string(kind.Values[i]) {
		case "update":
			rec.Update = &orderbook.Update{
				FirstID: first.Values[i], LastID: last.Values[i], PrevLastID: number(&previous, i),
				EventTime: rec.EventTime, TransactTime: at(&transact, i), Bids: bids[i], Asks: asks[i],
			}
		case "snapshot":
			rec.Snapshot = &orderbook.Snapshot{
				LastID: last.Values[i], EventTime: rec.EventTime, TransactTime: at(&transact, i), Bids: bids[i], Asks: asks[i],
				BidBound: bound(&bidBound, i), AskBound: bound(&askBound, i),
			}
		default:
			r, err := orderbook.ParseGapReason(string(reason.Values[i]))
			if err != nil {
				return nil, fmt.Errorf("parquet: seq %d: %w: %q", seq.Values[i], err, reason.Values[i])
			}
			rec.Gap = &orderbook.Gap{After: number(&after, i), Reason: r}
			if cause.Has(i) {
				rec.Gap.Err = orderbook.Cause(cause.Values[i])
			}
		}
		rows = append(rows, numbered{seq.Values[i], rec})
	}
	return rows, nil
}

func readTrades(file *columnar.Reader, group int) ([]numbered, error) {
	c := &columns{file: file, group: group}
	seq, id, aggregate := read[int64](c, "seq"), read[int64](c, "trade_id"), read[bool](c, "aggregate")
	first, last := read[int64](c, "first_trade_id"), read[int64](c, "last_trade_id")
	side, bestMatch := read[parquet.ByteArray](c, "side"), read[bool](c, "best_match")
	price, quantity := read[int64](c, "price_e8"), read[int64](c, "qty_e8")
	event, traded, received := read[int64](c, "event_ns"), read[int64](c, "trade_ns"), read[int64](c, "recv_ns")
	if c.err != nil {
		return nil, c.err
	}
	rows := make([]numbered, 0, len(seq.Values))
	for i := range seq.Values {
		rows = append(rows, numbered{seq.Values[i], marketprism.Record{
			EventTime: at(&event, i), ReceivedAt: at(&received, i),
			Trade: &marketprism.Trade{
				ID: id.Values[i], Aggregate: aggregate.Values[i], FirstID: number(&first, i), LastID: number(&last, i),
				Price: orderbook.Fixed(price.Values[i]), Quantity: orderbook.Fixed(quantity.Values[i]),
				BuyerMaker: string(side.Values[i]) == "sell", BestMatch: bestMatch.Has(i) && bestMatch.Values[i], TradeTime: at(&traded, i),
			},
		}})
	}
	return rows, nil
}

func readTickers(file *columnar.Reader, group int) ([]numbered, error) {
	c := &columns{file: file, group: group}
	seq, id := read[int64](c, "seq"), read[int64](c, "update_id")
	var sides [4]columnar.Cells[int64]
	for i, name := range [...]string{"bid_price_e8", "bid_qty_e8", "ask_price_e8", "ask_qty_e8"} {
		sides[i] = read[int64](c, name)
	}
	event, transact, received := read[int64](c, "event_ns"), read[int64](c, "transact_ns"), read[int64](c, "recv_ns")
	if c.err != nil {
		return nil, c.err
	}
	fixed := func(side, row int) orderbook.Fixed { return orderbook.Fixed(sides[side].Values[row]) }
	rows := make([]numbered, 0, len(seq.Values))
	for i := range seq.Values {
		rows = append(rows, numbered{seq.Values[i], marketprism.Record{
			EventTime: at(&event, i), ReceivedAt: at(&received, i),
			Ticker: &marketprism.Ticker{
				UpdateID: id.Values[i], TransactTime: at(&transact, i),
				Bid: orderbook.Level{Price: fixed(0, i), Quantity: fixed(1, i)}, Ask: orderbook.Level{Price: fixed(2, i), Quantity: fixed(3, i)},
			},
		}})
	}
	return rows, nil
}
