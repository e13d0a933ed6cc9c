package tardis

import (
	"context"
	"errors"
	"strconv"

	"github.com/marketprism/marketprism/sink/dayfile"
)

func convertTrades(ctx context.Context, day *dayfile.Day) error {
	out, err := newTable(day, "trades", tradesHeader)
	if err != nil {
		return err
	}
	for e, err := range day.Trades() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		t := e.Record.Trade
		out.begin(t.TradeTime, e.Local)
		out.row = append(out.row, ',')
		out.row = strconv.AppendInt(out.row, t.ID, 10)
		out.text(t.Side())
		out.number(t.Price)
		out.number(t.Quantity)
		if err := out.end(); err != nil {
			return err
		}
	}
	return out.close()
}

func convertTickers(ctx context.Context, day *dayfile.Day) error {
	var out *table
	for e, err := range day.Tickers() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if out == nil {
			if out, err = newTable(day, "book_ticker", topHeader); err != nil {
				return err
			}
		}
		t := e.Record.Ticker
		out.begin(or(e.Record.EventTime, or(t.TransactTime, e.Local)), e.Local)
		out.level(t.Ask.Quantity, t.Ask.Price, t.Ask.Quantity != 0)
		out.level(t.Bid.Price, t.Bid.Quantity, t.Bid.Quantity != 0)
		if err := out.end(); err != nil {
			return err
		}
	}
	return out.close()
}
