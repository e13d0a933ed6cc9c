package binance

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"time"
)

// A subscription is one stream of a shard, on each of its connections.
type subscription struct {
	name    string
	book    *symbolBook
	depth   bool // it is the symbol's depth stream
	arbiter arbiter
	lag     tickerLag // of a depth stream
	refusal refusalState
}

// A refusalState is that of a stream whose name the exchange refuses; zero if it does not.
type refusalState struct {
	count   int       // refusals in a row
	retryAt time.Time // zero while it is asked for again
}

// isAggregate reports whether the stream is of aggregate trades.
func (sub *subscription) isAggregate() bool { return strings.HasSuffix(sub.name, aggTradeSuffix) }

// A streamSet is the subscriptions of a shard. The shard's goroutine alone changes it.
type streamSet struct {
	suffixes []string // of each symbol's streams
	depth    string   // the one of depth streams

	names   []string        // in order of subscription; requests share the array, so its elements never change
	ordered []*subscription // in the same order

	mu     sync.RWMutex // held for writing while the shard changes the maps, which the readers of its connections use
	byName map[string]*subscription
	books  map[string]*symbolBook   // by symbol
	depths map[string]*subscription // depth streams, by symbol
}

// reset makes the subscriptions of the books.
func (ss *streamSet) reset(books []*symbolBook) {
	ss.mu.Lock()
	ss.names, ss.ordered = nil, nil
	ss.byName, ss.books, ss.depths = make(map[string]*subscription), make(map[string]*symbolBook), make(map[string]*subscription)
	ss.mu.Unlock()
	ss.add(books)
}

// add subscribes the streams of the books and returns their names.
func (ss *streamSet) add(books []*symbolBook) (names []string) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, b := range books {
		symbol := b.instrument.Symbol
		ss.books[symbol] = b
		for _, suffix := range ss.suffixes {
			sub := &subscription{name: StreamName(symbol, suffix), book: b, depth: suffix == ss.depth}
			names = append(names, sub.name)
			ss.ordered = append(ss.ordered, sub)
			ss.byName[sub.name] = sub
			if sub.depth {
				ss.depths[symbol] = sub
			}
		}
	}
	ss.names = append(ss.names, names...)
	return names
}

// accepted returns the names but those that the exchange refuses.
func (ss *streamSet) accepted() []string {
	var names []string
	for _, sub := range ss.ordered {
		if sub.refusal.count == 0 {
			names = append(names, sub.name)
		}
	}
	return names
}

// remove ends the subscriptions of a symbol and returns them.
func (ss *streamSet) remove(symbol string) (removed []*subscription) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, suffix := range ss.suffixes {
		name := StreamName(symbol, suffix)
		removed = append(removed, ss.byName[name])
		delete(ss.byName, name)
	}
	delete(ss.books, symbol)
	delete(ss.depths, symbol)
	all := ss.ordered
	ss.names, ss.ordered = make([]string, 0, len(all)), make([]*subscription, 0, len(all))
	for _, sub := range all {
		if !slices.Contains(removed, sub) {
			ss.names, ss.ordered = append(ss.names, sub.name), append(ss.ordered, sub)
		}
	}
	return removed
}

// size returns the number of streams. It is safe for concurrent use.
func (ss *streamSet) size() int {
	ss.mu.RLock()
	defer ss.mu.RUnlock()
	return len(ss.byName)
}

// ofDroppedFrame is ofFrame for the reader of a connection.
func (ss *streamSet) ofDroppedFrame(frame []byte) *subscription {
	ss.mu.RLock()
	defer ss.mu.RUnlock()
	return ss.ofFrame(frame)
}

// ofFrame returns the subscription of a combined frame without decoding it; nil if it is not known. The
// exchange writes the name first: {"stream":"btcusdt@depth@100ms","data":…
func (ss *streamSet) ofFrame(frame []byte) *subscription {
	if isSBE(frame) {
		return ss.byName[sbeStream(frame)]
	}
	rest, ok := bytes.CutPrefix(frame, []byte(`{"stream":"`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 {
		return nil
	}
	return ss.byName[string(rest[:end])]
}
