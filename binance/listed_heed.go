package binance

import (
	"github.com/marketprism/marketprism/orderbook"

	"github.com/marketprism/marketprism/internal/hook"
)

// heed takes over what the exchange says of its symbols: the status of those that are followed, and
// with AllTrading which ones these are.
func (d *DepthSyncer) heed(info *ExchangeInfo) error {
	statuses := make(map[string]string, len(info.Symbols))
	for i := range info.Symbols {
		statuses[info.Symbols[i].Symbol] = info.Symbols[i].Status
	}
	for _, y := range d.books.All() {
		d.noteStatus(y, statuses[y.instrument.Symbol])
	}
	if d.cfg.AllTrading == nil {
		return nil
	}
	added, removed := d.drift(info)
	if err := d.add(added, false); err != nil {
		return err
	}
	for _, symbol := range added {
		if y := d.books.Get(symbol); y != nil {
			d.noteStatus(y, statuses[symbol])
		}
	}
	d.drop(removed)
	d.listing.Store(true)
	d.books.Changed()
	if len(added)+len(removed) > 0 {
		hook.Call(d.client.hooks.SymbolsChanged, SymbolsInfo{Added: added, Removed: removed, Symbols: len(d.books.Keys())})
	}
	return nil
}

// drop removes symbols, those excepted that the program has removed meanwhile.
func (d *DepthSyncer) drop(symbols []string) {
	d.changing.Lock()
	defer d.changing.Unlock()
	d.remove(symbols)
}

// drift tells by how much the symbols followed are not those the filter chooses.
func (d *DepthSyncer) drift(info *ExchangeInfo) (added, removed []string) {
	d.changing.Lock()
	defer d.changing.Unlock()
	chosen := make(map[string]bool)
	for i := range info.Symbols {
		s := &info.Symbols[i]
		if !d.cfg.AllTrading.Match(s) {
			continue
		}
		chosen[s.Symbol] = true
		if d.books.Get(s.Symbol) == nil {
			added = append(added, s.Symbol)
		}
	}
	for _, y := range d.books.All() {
		if symbol := y.instrument.Symbol; !y.named && !chosen[symbol] {
			removed = append(removed, symbol)
		}
	}
	return added, removed
}

// noteStatus reports a change of a symbol's status; "" stands for one that is no longer listed. What
// the exchange does to update ids during a halt is not documented, so that a book is refreshed when
// trading begins again.
func (d *DepthSyncer) noteStatus(y *symbolBook, status string) {
	old := y.listing.Swap(&status)
	if old == nil || *old == status {
		return
	}
	hook.Call(d.client.hooks.StatusChanged, StatusInfo{Instrument: y.instrument, From: *old, To: status})
	y.RLock()
	synced := y.syncer.State() == orderbook.Synced
	y.RUnlock()
	if synced && status == statusTrading {
		d.snapshots.askRefresh(y, y.home, d.cfg.SnapshotLimit, PriorityRefresh)
	}
}

// named returns the symbols that were asked for by name.
func (d *DepthSyncer) named() (names []string) {
	d.changing.Lock()
	defer d.changing.Unlock()
	for _, y := range d.books.All() {
		if y.named {
			names = append(names, y.instrument.Symbol)
		}
	}
	return names
}
