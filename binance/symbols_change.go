package binance

import (
	"context"
	"errors"
	"slices"
)

var errEmptySymbol = errors.New("binance: symbol is empty")

// Add follows more symbols, on the connections that have room, and on new ones. One that is followed
// already is left as it is. While Run runs, the exchange is asked first whether it lists them, unless
// DepthConfig.SkipSymbolCheck is set: the error is then an *UnknownSymbolsError, or one of
// Client.ExchangeInfo. Ready tells when their books are known.
func (d *DepthSyncer) Add(ctx context.Context, symbols ...string) error {
	if slices.Contains(symbols, "") {
		return errEmptySymbol
	}
	if d.books.Running() && !d.cfg.SkipSymbolCheck {
		info, err := d.client.ExchangeInfo(ctx)
		if err != nil {
			return err
		}
		if err := d.unlisted(info, symbols); err != nil {
			return err
		}
	}
	return d.add(symbols, true)
}

// add follows symbols; named ones stay whatever the filter says.
func (d *DepthSyncer) add(symbols []string, named bool) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	var added []*symbolBook
	seen := make(map[string]bool, len(symbols))
	for _, symbol := range symbols {
		if y := d.books.Get(symbol); y != nil {
			y.named = y.named || named
			continue
		}
		if seen[symbol] {
			continue
		}
		seen[symbol] = true
		y, err := d.follow(symbol)
		if err != nil {
			return err
		}
		y.named = named
		added = append(added, y)
	}
	if len(added) == 0 {
		return nil
	}
	opened := d.place(added)
	d.books.Add(added...)
	for _, f := range d.allShards() {
		switch {
		case !slices.Contains(opened, f):
			f.tasks.post(func(context.Context) error { f.admit(added); return nil })
		case d.launch != nil:
			d.launch(f)
		}
	}
	return nil
}

// Remove follows symbols no longer. A book that is known ends with a Gap of the reason GapRemoved. The error is ErrUnknownSymbol, and then
// nothing is removed. With DepthConfig.AllTrading a symbol that fits comes back with the next poll.
func (d *DepthSyncer) Remove(symbols ...string) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	for _, symbol := range symbols {
		if _, err := d.books.Find(symbol); err != nil {
			return err
		}
	}
	d.remove(symbols)
	return nil
}

// remove is Remove with d.changing held. Symbols that are not followed are left out.
func (d *DepthSyncer) remove(symbols []string) {
	var removed []*symbolBook
	for _, symbol := range symbols {
		if y := d.books.Get(symbol); y != nil && !slices.Contains(removed, y) {
			removed = append(removed, y)
		}
	}
	d.books.Remove(symbols...)
	for _, f := range d.allShards() {
		f.members = slices.DeleteFunc(f.members, func(y *symbolBook) bool { return slices.Contains(removed, y) })
	}
	for _, y := range removed {
		y.end()
		for _, f := range y.feeds {
			f.tasks.post(func(ctx context.Context) error { return f.dismiss(ctx, y) })
		}
	}
	d.books.Changed()
}
