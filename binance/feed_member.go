package binance

import (
	"context"

	"github.com/marketprism/marketprism/orderbook"
)

// add subscribes a stream of the symbol on this feed.
func (f *shard) add(y *symbolBook, suffix string, book bool) (name string) {
	name = StreamName(y.instrument.Symbol, suffix)
	st := &stream{name: name, symbol: y, book: book}
	f.names = append(f.names, name)
	f.ordered = append(f.ordered, st)
	f.streams[name] = st
	f.symbols[y.instrument.Symbol] = y
	if book {
		f.books[y.instrument.Symbol] = st
	}
	return name
}

// gather makes the streams of all members anew.
func (f *shard) gather(members []*symbolBook) {
	f.naming.Lock()
	defer f.naming.Unlock()
	f.names, f.ordered = nil, nil
	clear(f.streams)
	clear(f.symbols)
	clear(f.books)
	for _, y := range members {
		for _, suffix := range f.suffixes {
			f.add(y, suffix, suffix == f.syncer.depthSuffix)
		}
	}
}

// admit follows more symbols on the connections that are open; those that are about to be will
// subscribe all. A symbol that has come with the start of the feed, or has gone again, is left out.
func (f *shard) admit(added []*symbolBook) {
	var names []string
	f.naming.Lock()
	for _, y := range added {
		symbol := y.instrument.Symbol
		if f.symbols[symbol] != nil || f.syncer.books.Get(symbol) != y || !y.isOn(f) {
			continue
		}
		if y.home == f {
			y.lostAt = f.now
		}
		for _, suffix := range f.suffixes {
			names = append(names, f.add(y, suffix, suffix == f.syncer.depthSuffix))
		}
	}
	f.naming.Unlock()
	f.requestAll("SUBSCRIBE", names)
}

// dismiss follows a symbol no longer.
func (f *shard) dismiss(ctx context.Context, y *symbolBook) error {
	symbol := y.instrument.Symbol
	if f.symbols[symbol] != y {
		return nil
	}
	st := f.books[symbol]
	var names []string
	gone := make(map[string]bool)
	f.naming.Lock()
	for _, suffix := range f.suffixes {
		name := StreamName(symbol, suffix)
		delete(f.holding, f.streams[name])
		delete(f.streams, name)
		names, gone[name] = append(names, name), true
	}
	delete(f.symbols, symbol)
	delete(f.books, symbol)
	all := f.ordered
	f.names, f.ordered = make([]string, 0, len(all)), make([]*stream, 0, len(all))
	for _, st := range all {
		if !gone[st.name] {
			f.names, f.ordered = append(f.names, st.name), append(f.ordered, st)
		}
	}
	f.naming.Unlock()
	f.requestAll("UNSUBSCRIBE", names)
	if st == nil {
		return nil
	}
	return f.farewell(ctx, y)
}

// farewell ends a book.
func (f *shard) farewell(ctx context.Context, y *symbolBook) error {
	f.syncer.snapshots.forget(y)
	if y.syncer.State() == orderbook.Synced {
		gap := orderbook.Gap{Reason: orderbook.GapRemoved}
		out := y.change(f.now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Resync(f.now, gap) })
		out.Fetch = 0
		if err := f.obey(ctx, y, out, f.now.UTC()); err != nil {
			return err
		}
	}
	out := y.change(f.now.UTC(), func(s *orderbook.Syncer) orderbook.Output { return s.Disconnected(f.now, nil) })
	return f.obey(ctx, y, out, f.now.UTC())
}

// requestAll sends requests on every open connection.
func (f *shard) requestAll(method string, names []string) {
	if len(names) == 0 {
		return
	}
	for _, l := range f.links {
		if l != nil && l.stream != nil {
			requests, err := l.stream.plan(method, names)
			f.request(l, requests, err)
		}
	}
}
