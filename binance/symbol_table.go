package binance

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// A symbolTable holds the symbols that a DepthSyncer follows. Readers never wait: each change makes a
// new set.
type symbolTable struct {
	changing sync.Mutex
	set      atomic.Pointer[symbolSet]
}

// A symbolSet is never changed.
type symbolSet struct {
	byName map[string]*symbolBook
	names  []string // in the order they were added
}

func newSymbolTable() *symbolTable {
	t := &symbolTable{}
	t.set.Store(&symbolSet{})
	return t
}

// get returns a symbol; nil if it is not followed.
func (t *symbolTable) get(symbol string) *symbolBook { return t.set.Load().byName[symbol] }

// find is get with an error, ErrUnknownSymbol.
func (t *symbolTable) find(symbol string) (*symbolBook, error) {
	if y := t.get(symbol); y != nil {
		return y, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknownSymbol, symbol)
}

// names returns the symbols, to be read only.
func (t *symbolTable) names() []string { return t.set.Load().names }

// all returns what is known of the symbols.
func (t *symbolTable) all() []*symbolBook {
	set := t.set.Load()
	all := make([]*symbolBook, len(set.names))
	for i, name := range set.names {
		all[i] = set.byName[name]
	}
	return all
}

func (t *symbolTable) add(added ...*symbolBook) {
	t.changing.Lock()
	defer t.changing.Unlock()
	old := t.set.Load()
	next := &symbolSet{byName: make(map[string]*symbolBook, len(old.byName)+len(added)), names: slices.Clip(old.names)}
	maps.Copy(next.byName, old.byName)
	for _, y := range added {
		next.byName[y.instrument.Symbol] = y
		next.names = append(next.names, y.instrument.Symbol)
	}
	t.set.Store(next)
}

func (t *symbolTable) remove(symbols ...string) {
	t.changing.Lock()
	defer t.changing.Unlock()
	old := t.set.Load()
	next := &symbolSet{byName: maps.Clone(old.byName)}
	for _, symbol := range symbols {
		delete(next.byName, symbol)
	}
	for _, symbol := range old.names {
		if next.byName[symbol] != nil {
			next.names = append(next.names, symbol)
		}
	}
	t.set.Store(next)
}
