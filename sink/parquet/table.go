package parquet

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/internal/columnar"
)

// path returns the name of a table's file.
func path(in marketprism.Instrument, date time.Time, table string) string {
	return fmt.Sprintf("%s/exchange=%s/market=%s/symbol=%s/date=%s/part-0000.parquet",
		table, dayfile.Escape(in.Exchange), dayfile.Escape(string(in.Market)), dayfile.Escape(in.Symbol), date.Format(time.DateOnly))
}

// A tableFile is one file of a day.
type tableFile struct {
	*columnar.Table
	name string
	day  *dayfile.Day
	file *dayfile.File
}

func newTable(day *dayfile.Day, name string, maxRows int, columns ...columnar.Column) (*tableFile, error) {
	file, err := day.Create(path(day.Instrument, day.Date, name))
	if err != nil {
		return nil, err
	}
	table, err := columnar.NewTable(file, maxRows, columns...)
	if err != nil {
		return nil, err
	}
	return &tableFile{Table: table, name: name, day: day, file: file}, nil
}

// close writes the footer. more are further keys of it.
func (t *tableFile) close(more map[string]string) error {
	in := t.day.Instrument
	t.file.Rows = t.Rows
	footer := map[string]string{
		"schema": t.name + "/1", "exchange": in.Exchange, "market": string(in.Market), "symbol": in.Symbol,
		"date": t.day.Date.Format(time.DateOnly), "price_unit": "1e-8", "qty_unit": quantityUnit(in.Market),
		"time_unit": "ns since 1970-01-01 UTC", "rows": strconv.FormatInt(t.Rows, 10), "writer": "marketprism/1",
	}
	maps.Copy(footer, more)
	for _, key := range slices.Sorted(maps.Keys(footer)) {
		if err := t.SetMetadata("marketprism."+key, footer[key]); err != nil {
			return err
		}
	}
	return t.Close()
}

// quantityUnit names the unit of quantities: COIN-M futures count contracts (Binance, COIN-M Futures, Exchange Information:
// contractSize).
func quantityUnit(m marketprism.Market) string {
	if m == marketprism.COINM {
		return "1e-8 contracts"
	}
	return "1e-8 base asset"
}

// nanos returns a time for an optional column.
func nanos(t time.Time) (bool, int64) {
	if t.IsZero() {
		return false, 0
	}
	return true, t.UnixNano()
}

// clocks are the columns of time that all tables have.
type clocks struct {
	event, received, local *columnar.Value[int64]
}

func newClocks() clocks {
	return clocks{
		event:    columnar.NewValue[int64]("event_ns", columnar.Delta, true),
		received: columnar.NewValue[int64]("recv_ns", columnar.Delta, false),
		local:    columnar.NewValue[int64]("local_ns", columnar.Delta, false),
	}
}

// append appends a record's clocks. One that has no local clock is received at its event.
func (c *clocks) append(r *marketprism.Record, local time.Time) {
	c.event.AppendIf(nanos(r.EventTime))
	received := r.ReceivedAt
	if received.IsZero() {
		received = r.EventTime
	}
	c.received.Append(received.UnixNano())
	c.local.Append(local.UnixNano())
}

// spansText returns the spans of a day for the footer of its files: [[span, first id, last id, first local, last local], …].
func spansText(spans []dayfile.SpanInfo) string {
	list := make([][5]int64, 0, len(spans))
	for _, s := range spans {
		list = append(list, [...]int64{s.Span, s.FirstID, s.LastID, s.FirstLocal, s.LastLocal})
	}
	text, _ := json.Marshal(list) // numbers always can be
	return string(text)
}
