package binance

import "testing"

// A symbol that the program removes while AllTrading does is none the worse, and keeps nobody from going on.
func TestRemovalOfASymbolThatIsGone(t *testing.T) {
	c, err := NewClient(Config{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDepthSyncer(c, DepthConfig{AllTrading: &SymbolFilter{}})
	if err != nil {
		t.Fatal(err)
	}
	on := ExchangeInfo{Symbols: []SymbolInfo{{Symbol: "OLD", Status: "TRADING"}, {Symbol: "OLDER", Status: "TRADING"}}}
	if err := d.applyListing(&on); err != nil {
		t.Fatal(err)
	}
	_, removed := d.diffSymbols(&ExchangeInfo{})
	if err := d.Remove("OLD"); err != nil { // between the two steps of applyListing
		t.Fatal(err)
	}
	d.changing.Lock()
	d.remove(removed)
	d.changing.Unlock()
	if left := d.books.Keys(); len(removed) != 2 || len(left) != 0 {
		t.Errorf("%v were to go, %v are left", removed, left)
	}
}
